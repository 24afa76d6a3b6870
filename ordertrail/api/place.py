"""`POST /orders` as a bare ASGI endpoint of the application: what it costs beyond an echo is the order's own work.

Placing runs in a task of its own: nothing stops when the client hangs up, and the in-flight orders can be awaited
when the process stops.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

import msgspec
import uuid_utils

from ordertrail.api.order_json import order_json, rfc_3339
from ordertrail.api.parse_order import parse_order
from ordertrail.api.problems import (
    CONTENT_TYPE,
    ORDER_FAILED,
    PROBLEMS,
    ProblemError,
    problem_body,
    problem_type_of,
)
from ordertrail.clock import Clock
from ordertrail.domain.errors import InvalidOrder
from ordertrail.domain.order import Order
from ordertrail.domain.trail import PLACED_STATUSES, OrderStatus, Outcome, TrailRow, fold_exchange_order_id
from ordertrail.placement.place_order import Failed, Placed, Placement, Placing, Repeated
from ordertrail.rows import StoredOrder
from ordertrail.telemetry import metrics
from ordertrail.telemetry.logs import get_logger
from ordertrail.telemetry.tally import Count, Spread

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = get_logger()
_encode = msgspec.json.Encoder().encode

RETRY_AFTER_SECONDS = 1

Headers = list[tuple[bytes, bytes]]

# An extension of the ASGI scope by which our own server takes a whole answer at once:
# (send, status, headers, body) → bool, where False means that it must be sent the ordinary way.
RESPOND = "ordertrail.respond"

_NO_EXTENSIONS: dict[str, Any] = {}


class _PlacedBody(msgspec.Struct):
    """The body of a 201, in the order the fields are documented."""

    id: str
    created_at: Any
    type: str
    side: str
    instrument: str
    limit_price: float | None
    quantity: int
    status: str
    outcome: str
    client_order_id: str | None
    exchange_order_id: str
    place_by: Any


class PlaceOrder:
    """The endpoint, and the orders that are being placed through it."""

    def __init__(
        self,
        placing: Placing,
        clock: Clock,
        *,
        turn_away: Callable[[int], str | None],
        body_bytes_max: int,
        seconds_after_send_by: float,
        place_by_of: Callable[[Order, Any], Any],
        new_id: Callable[[], str] = lambda: str(uuid_utils.uuid7()),
    ) -> None:
        self._placing = placing
        self._clock = clock
        self._turn_away = turn_away
        self._body_bytes_max = body_bytes_max
        self._seconds_after_send_by = seconds_after_send_by
        self._place_by_of = place_by_of
        self._new_id = new_id
        self._in_flight: dict[asyncio.Task[Placement], tuple[str, asyncio.Future[Placement]]] = {}
        self._status_counters = {
            status: Count(metrics.REQUESTS.labels(str(status))) for status in (201, 408, 409, 413, 415, 422, 500, 503)
        }
        self._seconds = {outcome: Spread(metrics.PLACEMENT_SECONDS.labels(outcome)) for outcome in Outcome}

    def in_flight(self) -> list[str]:
        """The ids of the orders that are being placed now."""
        return [order_id for order_id, _ in self._in_flight.values()]

    async def drain(self) -> None:
        """Wait until every order that was taken has its rows."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, headers, body = await self._answer(scope, receive)
        except ProblemError as problem:
            status, headers, body = _of_problem(problem)
        except _ClientGone:
            return
        except Exception:  # noqa: BLE001 - a mistake of ours before there was an order; the client gets an answer
            metrics.INVARIANTS_BROKEN.labels("request_raised").inc()
            _log.exception("a request raised")
            status, headers, body = _of_problem(ProblemError("internal-error"))
        self._status_counters[status].add()
        respond = scope.get("extensions", _NO_EXTENSIONS).get(RESPOND)
        if respond is not None and respond(send, status, headers, body):
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Headers, bytes]:
        content_type = key = traceparent = None
        keys = 0
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"idempotency-key":
                key = value.decode("latin-1")
                keys += 1
            elif name == b"traceparent":
                traceparent = value
            elif name == b"content-length" and value.isdigit() and int(value) > self._body_bytes_max:
                raise ProblemError("payload-too-large", headers={"Connection": "close"})
        if content_type != b"application/json" and not _is_json(content_type):
            raise ProblemError("unsupported-media-type", headers={"Connection": "close"})
        body = await self._body(receive)
        order_id = self._new_id()
        try:
            if keys > 1:
                raise ProblemError(
                    "invalid-request",
                    errors=[{"pointer": "/headers/Idempotency-Key", "detail": "stands in the request twice"}],
                )
            order = parse_order(body, order_id=order_id, key=key, clock=self._clock)
        except InvalidOrder as error:
            raise ProblemError(
                "invalid-request",
                detail="The order is not valid: " + str(error),
                errors=[{"pointer": p.pointer, "detail": p.detail} for p in error.problems],
            ) from None
        reason = self._turn_away(len(self._in_flight))
        if reason is not None:
            raise ProblemError(reason, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        return await self._place(order, traceparent)

    async def _place(self, order: Order, traceparent: bytes | None) -> tuple[int, Headers, bytes]:
        start = self._clock.monotonic()
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._placing.place(order))
        answered: asyncio.Future[Placement] = loop.create_future()
        self._in_flight[task] = (order.id, answered)
        task.add_done_callback(self._placed)
        trace_id = _trace_id(order.id, traceparent)
        try:
            # Whoever cancels this request cancels this future, and not the placing.
            placement = await answered
        except Exception:  # noqa: BLE001 - whatever it was, the client gets an answer
            metrics.INVARIANTS_BROKEN.labels("placing_raised").inc()
            _log.exception("placing raised", order_id=order.id, trace_id=trace_id)
            return self._failed(
                "internal-error",
                order,
                OrderStatus.INITIATED,
                Outcome.UNKNOWN,
                place_by=order.place_by,
                detail=None,
                trace_id=trace_id,
            )
        seconds = self._clock.monotonic() - start
        if type(placement) is Placed:
            self._seconds[Outcome.PLACED].observe(seconds)
            _log.info(
                "order placed",
                order_id=order.id,
                trace_id=trace_id,
                exchange_order_id=placement.exchange_order_id,
                seconds=round(seconds, 6),
            )
            return self._created(placement)
        if isinstance(placement, Failed):
            self._seconds[placement.outcome].observe(seconds)
            reason = placement.rows[-1].reason
            _log.warning(
                "order failed",
                order_id=order.id,
                trace_id=trace_id,
                order_status=placement.status,
                reason=reason,
                outcome=placement.outcome,
            )
            return self._failed(
                problem_type_of(placement.rows),
                order,
                placement.status,
                placement.outcome,
                place_by=placement.place_by,
                detail=reason,
                trace_id=trace_id,
                exchange_order_id=fold_exchange_order_id(placement.rows),
                retry_after_seconds=placement.retry_after_seconds,
            )
        assert isinstance(placement, Repeated)
        return self._repeated(order, placement, trace_id)

    def _placed(self, task: "asyncio.Task[Placement]") -> None:
        _, answered = self._in_flight.pop(task)
        if answered.done():
            return
        if task.cancelled():
            answered.cancel()
        elif (error := task.exception()) is not None:
            answered.set_exception(error)
        else:
            answered.set_result(task.result())

    def _created(self, placed: Placed) -> tuple[int, Headers, bytes]:
        order = placed.order
        place_by = self._place_by_of(order, placed.created_at)
        body = _encode(
            _PlacedBody(
                order.id,
                rfc_3339(placed.created_at),
                order.type,
                order.side,
                order.instrument,
                None if order.limit_price is None else float(order.limit_price),
                order.quantity,
                "COMPLETED",
                "placed",
                order.client_order_id,
                placed.exchange_order_id,
                None if place_by is None else rfc_3339(place_by),
            )
        )
        return 201, _headers(body, "application/json", order.id), body

    def _repeated(self, order: Order, repeated: Repeated, trace_id: str) -> tuple[int, Headers, bytes]:
        """The present truth about the order that has the key."""
        stored = repeated.stored
        if stored is None:
            # The key is taken and its order cannot be read: nothing can be said of it, and nothing was sent.
            owner = replace(order, id=repeated.order_id)
            return self._failed(
                "not-recorded",
                owner,
                OrderStatus.INITIATED,
                Outcome.UNKNOWN,
                place_by=None,
                detail="The order that has this key cannot be read just now.",
                trace_id=trace_id,
            )
        if not stored.order.is_same_request(order):
            raise ProblemError(
                "key-reused", order_id=repeated.order_id, headers={"Location": f"/orders/{repeated.order_id}"}
            )
        # Placed by the exchange's word alone is not enough: 201 needs both rows.
        if stored.status in PLACED_STATUSES:
            body = _encode(order_json(stored))
            return 201, _headers(body, "application/json", repeated.order_id), body
        if stored.is_being_placed(seconds_after_send_by=self._seconds_after_send_by):
            raise ProblemError(
                "request-in-progress",
                order_id=repeated.order_id,
                headers={
                    "Location": f"/orders/{repeated.order_id}",
                    "Retry-After": str(RETRY_AFTER_SECONDS),
                },
            )
        return self._failed(
            problem_type_of(stored.rows),
            stored.order,
            stored.status,
            stored.outcome,
            place_by=stored.order.place_by,
            detail=_last_reason(stored),
            trace_id=trace_id,
            exchange_order_id=stored.exchange_order_id,
        )

    def _failed(
        self,
        type: str,
        order: Order,
        status: OrderStatus,
        outcome: Outcome,
        *,
        place_by: Any,
        detail: str | None,
        trace_id: str,
        exchange_order_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> tuple[int, Headers, bytes]:
        retryable = outcome is not Outcome.NOT_PLACED
        sentence = PROBLEMS[type].title + (f" ({detail})." if detail else ".")
        if retryable and order.client_order_id is None:
            sentence += " It has no key, so a repeat would be another order: read Location instead."
        body = problem_body(
            type,
            detail=sentence,
            message=ORDER_FAILED,
            instance=f"/orders/{order.id}",
            order_id=order.id,
            order_status=status,
            outcome=outcome,
            retryable=retryable,
            place_by=None if place_by is None else rfc_3339(place_by),
            client_order_id=order.client_order_id,
            exchange_order_id=exchange_order_id,
            trace_id=trace_id,
        )
        headers = _headers(body, CONTENT_TYPE, order.id)
        if retryable:
            seconds = max(RETRY_AFTER_SECONDS, math.ceil(retry_after_seconds or 0))
            headers.append((b"retry-after", str(seconds).encode()))
        return 500, headers, body

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > self._body_bytes_max:
                raise ProblemError("payload-too-large", headers={"Connection": "close"})
            return body
        chunks = [body]
        size = len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._body_bytes_max:
                raise ProblemError("payload-too-large", headers={"Connection": "close"})
        return b"".join(chunks)


class _ClientGone(Exception):
    """The client hung up before its request was whole: there is no order."""


def _of_problem(problem: ProblemError) -> tuple[int, Headers, bytes]:
    body = problem.body()
    named = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    return problem.status, _headers(body, CONTENT_TYPE) + named, body


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None:
        return False
    kind, _, parameters = content_type.decode("latin-1").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    return kind.strip() == "application/json" and charset in ("", "charset=utf-8", "charset=utf8")


def _headers(body: bytes, content_type: str, order_id: str | None = None) -> Headers:
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    if order_id is not None:
        headers.append((b"location", b"/orders/" + order_id.encode()))
    return headers


def _trace_id(order_id: str, traceparent: bytes | None) -> str:
    """The caller's trace id (W3C Trace Context), else one made of the order's id, which is as unique."""
    if traceparent is not None:
        parts = traceparent.split(b"-")
        if len(parts) >= 4 and len(parts[1]) == 32 and parts[1] != b"0" * 32 and parts[1].isalnum():
            return parts[1].decode()
    return order_id.replace("-", "")


def _last_reason(stored: StoredOrder) -> str | None:
    failing: list[TrailRow] = [row for row in stored.rows if row.reason]
    return failing[-1].reason if failing else None
