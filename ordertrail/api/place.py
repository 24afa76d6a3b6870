"""`POST /orders` as a bare ASGI endpoint of the application: what it costs beyond an echo is the order's own work.

Placing runs in a task of its own: nothing stops when the client hangs up, and the in-flight orders can be awaited
when the process stops. A server that has the whole request at hand needs no other task (`take`).
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, assert_never

import uuid_utils

from ordertrail.api.parse_order import parse_order
from ordertrail.api.place_responses import RETRY_AFTER_SECONDS, PlaceResponses, WholeResponse, response_to_problem
from ordertrail.api.prefer import WAIT_SECONDS_MAX, Preferences, parse_prefer
from ordertrail.api.problems import ProblemError
from ordertrail.domain.errors import InvalidOrder
from ordertrail.domain.order import Order
from ordertrail.domain.switch import Switch
from ordertrail.domain.trail import Outcome
from ordertrail.events.waiting import OrderWaiting
from ordertrail.placement.admission import Shed
from ordertrail.placement.order_intake import OrderIntake
from ordertrail.placement.place_order import Failed, Placed, Placement, Placing, Queued, Repeated
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.buffered import BufferedCounter, BufferedHistogram
from ordertrail.runtime.telemetry.logs import get_logger, info
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# None: the placing was cancelled, and nothing can be said.
Respond = Callable[[WholeResponse | None], None]

_log = get_logger()

# Keys that are looked up at once where no new order is taken: what is turned away must not become a storm of reads.
KEY_LOOKUPS_MAX = 4
_RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}
_TURNED_AWAY = "The order was turned away before anything was recorded or sent. Cancelling and reading go on."


_NO_PREFERENCES = Preferences(respond_async=False, wait_seconds=None)


class _Head(NamedTuple):
    """What the headers say that matters here."""

    key: str | None
    has_two_keys: bool
    traceparent: bytes | None
    preferences: Preferences = _NO_PREFERENCES


class _Lookup(NamedTuple):
    """A request that brings no order which would be taken now, unless its key has one.

    `if_new`: its answer where no order has the key; `if_unread`: where that cannot be read.
    """

    order: Order
    trace_id: str
    if_new: ProblemError
    if_unread: ProblemError
    prefers_async: bool
    respond: Respond


class _InFlight(NamedTuple):
    """An order that is being placed, and who waits for what comes of it."""

    order: Order
    trace_id: str
    start: float
    prefers_async: bool
    respond: Respond


class PlaceOrder:
    """The endpoint, and the orders that are being placed through it."""

    def __init__(
        self,
        placing: Placing,
        intake: OrderIntake,
        waiting: OrderWaiting,
        clock: Clock,
        *,
        shed: Callable[[int], Shed | None],
        switch: Callable[[], Switch] = Switch,
        body_bytes_max: int,
        seconds_after_send_by: float,
        place_by_of: Callable[[Order, datetime], datetime | None],
        new_id: Callable[[], str] = lambda: str(uuid_utils.uuid7()),
    ) -> None:
        self._placing = placing
        self._intake = intake
        self._waiting = waiting
        self._clock = clock
        self._shed = shed
        self._switch = switch
        self._body_bytes_max = body_bytes_max
        self._responses = PlaceResponses(seconds_after_send_by=seconds_after_send_by, place_by_of=place_by_of)
        self._new_id = new_id
        self._in_flight: dict[asyncio.Task[Placement], _InFlight] = {}
        self._lookups: dict[asyncio.Task[Repeated | None], _Lookup] = {}
        self._status_counters = {
            status: BufferedCounter(metrics.REQUESTS.labels(str(status)))
            for status in (201, 202, 408, 409, 413, 415, 422, 500, 503)
        }
        self._seconds = {outcome: BufferedHistogram(metrics.PLACEMENT_SECONDS.labels(outcome)) for outcome in Outcome}

    def in_flight(self) -> list[str]:
        """The ids of the orders that are being placed now."""
        return [each.order.id for each in self._in_flight.values()]

    async def drain(self) -> None:
        """Wait until every order that was taken has its rows, and every key its answer."""
        while under_way := [*self._in_flight, *self._lookups]:
            await asyncio.wait(under_way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered: asyncio.Future[WholeResponse] = asyncio.get_running_loop().create_future()

        def respond(answer: WholeResponse | None) -> None:
            # A server that cancels this request cancels this future, and not the placing.
            if not answered.done():
                if answer is None:
                    answered.cancel()
                else:
                    answered.set_result(answer)

        try:
            head = self._read_head(scope["headers"])
            body = await self._body(receive)
        except ProblemError as problem:
            self._respond(response_to_problem(problem, has_key=False), respond)
        except _ClientGone:
            return
        else:
            self._take(head, body, respond)
        answer = await answered
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    def take(self, headers: Sequence[tuple[bytes, bytes]], body: bytes, respond: Respond) -> None:
        """Take a request that is whole; `respond` is called once, at once or when its order has been placed."""
        try:
            head = self._read_head(headers)
        except ProblemError as problem:
            self._respond(response_to_problem(problem, has_key=False), respond)
        else:
            self._take(head, body, respond)

    def _read_head(self, headers: Sequence[tuple[bytes, bytes]]) -> _Head:
        content_type = key = traceparent = None
        keys = 0
        preferences = _NO_PREFERENCES
        for name, value in headers:
            if name == b"content-type":
                content_type = value
            elif name == b"idempotency-key":
                key = value.decode("latin-1")
                keys += 1
            elif name == b"traceparent":
                traceparent = value
            elif name == b"prefer":
                preferences = parse_prefer(headers)
            elif name == b"content-length" and value.isdigit() and int(value) > self._body_bytes_max:
                raise ProblemError("payload-too-large", headers={"Connection": "close"})
        if content_type != b"application/json" and not _is_json(content_type):
            raise ProblemError("unsupported-media-type", headers={"Connection": "close"})
        return _Head(key, keys > 1, traceparent, preferences)

    def _take(self, head: _Head, body: bytes, respond: Respond) -> None:
        try:
            order = self._read_order(head, body)
        except InvalidOrder as error:
            self._refuse_invalid(error, head, respond)
            return
        except ProblemError as problem:
            self._respond(response_to_problem(problem, has_key=head.key is not None), respond)
            return
        except Exception as error:  # noqa: BLE001 - a mistake of ours before there was an order; it gets an answer
            bug = ProblemError("internal-error", headers=_RETRY_AFTER)
            self._respond(response_to_problem(bug, has_key=head.key is not None), respond)
            metrics.INVARIANTS_BROKEN.labels("request_raised").inc()
            _log.error("a request raised", exc_info=error)
            return
        prefers_async = head.preferences.respond_async
        shed = self._shed(len(self._in_flight))
        if shed is None and prefers_async and self._intake.is_full:
            shed = Shed.QUEUE_FULL
        if shed is not None:
            detail = f"{self._switch().sentence} {_TURNED_AWAY}" if shed is Shed.HALTED else None
            turned_away = ProblemError(_problem_type_of(shed), detail=detail, headers=_RETRY_AFTER)
            self._answer_if_known(order, head, respond, if_new=turned_away, if_unread=turned_away)
            return
        start = self._clock.monotonic()
        placing = self._queue(order, head.preferences.wait_seconds) if prefers_async else self._placing.place(order)
        task = asyncio.get_running_loop().create_task(placing)
        trace_id = _trace_id(order.id, head.traceparent)
        self._in_flight[task] = _InFlight(order, trace_id, start, prefers_async, respond)
        task.add_done_callback(self._placed)

    async def _queue(self, order: Order, wait_seconds: float | None) -> Placement:
        """Have workers place it; what came of it, where that comes within the time that the client would wait."""
        placement = await self._intake.enqueue(order)
        if not wait_seconds or not isinstance(placement, Queued):
            return placement
        return await self._waiting.read_until(
            order.id,
            partial(self._intake.repeat, order.id),
            _is_decided,
            seconds=min(wait_seconds, WAIT_SECONDS_MAX),
        )

    def _read_order(self, head: _Head, body: bytes) -> Order:
        if len(body) > self._body_bytes_max:
            raise ProblemError("payload-too-large", headers={"Connection": "close"})
        if head.has_two_keys:
            raise ProblemError(
                "invalid-request",
                errors=[{"pointer": "/headers/Idempotency-Key", "detail": "stands in the request twice"}],
            )
        return parse_order(body, order_id=self._new_id(), key=head.key, clock=self._clock)

    def _refuse_invalid(self, error: InvalidOrder, head: _Head, respond: Respond) -> None:
        invalid = ProblemError(
            "invalid-request",
            detail="The order is not valid: " + str(error),
            errors=[{"pointer": p.pointer, "detail": p.detail} for p in error.problems],
        )
        if error.expired is None:
            self._respond(response_to_problem(invalid, has_key=head.key is not None), respond)
            return
        unread = ProblemError("database-unavailable", headers=_RETRY_AFTER)
        self._answer_if_known(error.expired, head, respond, if_new=invalid, if_unread=unread)

    def _answer_if_known(
        self, order: Order, head: _Head, respond: Respond, *, if_new: ProblemError, if_unread: ProblemError
    ) -> None:
        """A repeat is answered with the present truth though no new order would be taken.

        It costs reads of the database only where an order would be turned away, and few of them at once: a client that
        is told to wait comes back.
        """
        key = order.client_order_id
        if key is None or len(self._lookups) >= KEY_LOOKUPS_MAX:
            problem = if_new if key is None else if_unread
            self._respond(response_to_problem(problem, has_key=key is not None), respond)
            return
        task = asyncio.get_running_loop().create_task(self._placing.find(key))
        self._lookups[task] = _Lookup(
            order, _trace_id(order.id, head.traceparent), if_new, if_unread, head.preferences.respond_async, respond
        )
        task.add_done_callback(self._lookup_ended)

    def _lookup_ended(self, task: "asyncio.Task[Repeated | None]") -> None:
        lookup = self._lookups.pop(task)
        if task.cancelled():
            lookup.respond(None)
            return
        try:
            found = task.result()
            if found is None:
                answer = response_to_problem(lookup.if_new, has_key=True)
            else:
                answer = self._responses.to(lookup.order, found, lookup.trace_id, prefers_async=lookup.prefers_async)
        except ProblemError as problem:
            answer = response_to_problem(problem, has_key=True)
        except (StatementFailed, StatementOutcomeUnknown):
            answer = response_to_problem(lookup.if_unread, has_key=True)
        except Exception:  # noqa: BLE001 - whatever it was, the client gets an answer
            metrics.INVARIANTS_BROKEN.labels("request_raised").inc()
            _log.exception("a request raised")
            answer = response_to_problem(lookup.if_unread, has_key=True)
        self._respond(answer, lookup.respond)

    def _placed(self, task: "asyncio.Task[Placement]") -> None:
        taken = self._in_flight.pop(task)
        if task.cancelled():
            taken.respond(None)
            return
        order, trace_id = taken.order, taken.trace_id
        seconds = self._clock.monotonic() - taken.start
        placement = bug = None
        try:
            placement = task.result()
            answer = self._responses.to(order, placement, trace_id, prefers_async=taken.prefers_async)
        except ProblemError as problem:
            answer = response_to_problem(problem, has_key=order.client_order_id is not None)
        except Exception as error:  # noqa: BLE001 - whatever it was, the client gets an answer
            bug = error
            answer = self._responses.to_bug(order, trace_id)
        # The client is answered first: nothing that is told of an order may stand between it and its answer.
        self._respond(answer, taken.respond)
        if placement is not None:
            self._observe(order, placement, trace_id, seconds)
        if bug is not None:
            metrics.INVARIANTS_BROKEN.labels("placing_raised").inc()
            _log.error("placing raised", order_id=order.id, trace_id=trace_id, exc_info=bug)

    def _observe(self, order: Order, placement: Placement, trace_id: str, seconds: float) -> None:
        if type(placement) is Placed:
            self._seconds[Outcome.PLACED].observe(seconds)
            info(
                "order placed",
                order_id=order.id,
                trace_id=trace_id,
                exchange_order_id=placement.exchange_order_id,
                seconds=round(seconds, 6),
            )
        elif type(placement) is Queued:
            info("order queued", order_id=order.id, trace_id=trace_id, seconds=round(seconds, 6))
        elif isinstance(placement, Failed):
            self._seconds[placement.outcome].observe(seconds)
            _log.warning(
                "order failed",
                order_id=order.id,
                trace_id=trace_id,
                order_status=placement.status,
                reason=placement.rows[-1].reason,
                outcome=placement.outcome,
            )

    def _respond(self, answer: WholeResponse, respond: Respond) -> None:
        try:
            respond(answer)
        finally:
            self._status_counters[answer.status].add()

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        body: bytes = message.get("body", b"")
        chunks = [body]
        size = len(body)
        while message.get("more_body", False) and size <= self._body_bytes_max:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
        return b"".join(chunks)


def _is_decided(repeated: Repeated) -> bool:
    """Whether a request that waits need wait no longer."""
    stored = repeated.stored
    return stored is not None and (stored.is_completed or stored.outcome is Outcome.NOT_PLACED)


class _ClientGone(Exception):
    """The client hung up before its request was whole: there is no order."""


def _problem_type_of(shed: Shed) -> str:
    match shed:
        case Shed.OVERLOADED:
            return "overloaded"
        case Shed.SPOOL_FULL:
            return "spool-full"
        case Shed.HALTED:
            return "halted"
        case Shed.QUEUE_FULL:
            return "queue-full"
    assert_never(shed)


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None:
        return False
    kind, _, parameters = content_type.decode("latin-1").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    return kind.strip() == "application/json" and charset in ("", "charset=utf-8", "charset=utf8")


def _trace_id(order_id: str, traceparent: bytes | None) -> str:
    """The caller's trace id (W3C Trace Context), else one made of the order's id, which is as unique."""
    if traceparent is not None:
        parts = traceparent.split(b"-")
        if len(parts) >= 4 and len(parts[1]) == 32 and parts[1] != b"0" * 32 and parts[1].isalnum():
            return parts[1].decode()
    return order_id.replace("-", "")
