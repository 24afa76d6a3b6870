"""The response of `POST /orders` to each end that placing can have."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, assert_never

import msgspec

from ordertrail.api.advice import advice_of
from ordertrail.api.failed_order import FailedOrder, answer_of, failed_order
from ordertrail.api.order_json import order_json, rfc_3339
from ordertrail.api.problems import CONTENT_TYPE, ORDER_FAILED, PROBLEMS, ProblemError, problem_body
from ordertrail.domain.order import Order
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, Outcome, fold_exchange_order_id
from ordertrail.placement.place_order import Failed, Placed, Placement, Queued, Repeated

RETRY_AFTER_SECONDS = 1

Headers = list[tuple[bytes, bytes]]

_JSON = b"application/json"
_PROBLEM_JSON = CONTENT_TYPE.encode()
_ASYNC_APPLIED = (b"preference-applied", b"respond-async")
_INITIATED, _COMPLETED = OrderStatus.INITIATED.value, OrderStatus.COMPLETED.value
_PENDING, _PLACED = Outcome.PENDING.value, Outcome.PLACED.value
_encode = msgspec.json.Encoder().encode


class WholeResponse(NamedTuple):
    """A whole answer; names of headers in lower case."""

    status: int
    headers: Headers
    body: bytes


class _OrderBody(msgspec.Struct):
    """The body of a first 201 or 202, in the order the fields are documented."""

    id: str
    created_at: str
    type: str
    side: str
    instrument: str
    limit_price: float | None
    quantity: int
    status: str
    outcome: str
    client_order_id: str | None
    exchange_order_id: str | None
    place_by: str | None


class PlaceResponses:
    """`seconds_after_send_by`: how long after its `send_by` an order may still be on its way."""

    def __init__(
        self, *, seconds_after_send_by: float, place_by_of: Callable[[Order, datetime], datetime | None]
    ) -> None:
        self._seconds_after_send_by = seconds_after_send_by
        self._place_by_of = place_by_of

    def to(self, order: Order, placement: Placement, trace_id: str, *, prefers_async: bool = False) -> WholeResponse:
        """The answer to the request that brought `order`; ProblemError where its key belongs to another.

        `prefers_async`: its client does not wait for an order that is on its way.
        """
        match placement:
            case Placed():
                return self._created(placement)
            case Failed():
                failed = failed_order(
                    placement.rows,
                    placement.outcome,
                    has_key=order.client_order_id is not None,
                    may_be_recorded=placement.may_be_recorded,
                )
                return self._failed(
                    failed,
                    order,
                    placement.status,
                    place_by=placement.place_by,
                    trace_id=trace_id,
                    exchange_order_id=fold_exchange_order_id(placement.rows),
                    retry_after_seconds=placement.retry_after_seconds,
                )
            case Repeated():
                return self._repeated(order, placement, trace_id, prefers_async=prefers_async)
            case Queued():
                return self._queued(placement)
        assert_never(placement)

    def to_bug(self, order: Order, trace_id: str) -> WholeResponse:
        """The answer where placing raised: nothing is known of the order."""
        problem = "internal-error"
        has_key = order.client_order_id is not None
        return self._failed(
            answer_of(problem, PROBLEMS[problem].title + ".", Outcome.UNKNOWN, has_key=has_key),
            order,
            OrderStatus.INITIATED,
            place_by=order.place_by,
            trace_id=trace_id,
        )

    def _created(self, placed: Placed) -> WholeResponse:
        body = self._body(placed, _COMPLETED, _PLACED, placed.exchange_order_id)
        return WholeResponse(201, _headers_of_order(body, _JSON, placed.order.id), body)

    def _queued(self, queued: Queued) -> WholeResponse:
        body = self._body(queued, _INITIATED, _PENDING, None)
        return WholeResponse(202, [*_headers_of_order(body, _JSON, queued.order.id), _ASYNC_APPLIED], body)

    def _body(self, taken: Placed | Queued, status: str, outcome: str, exchange_order_id: str | None) -> bytes:
        order = taken.order
        place_by = self._place_by_of(order, taken.created_at)
        return _encode(
            _OrderBody(
                order.id,
                rfc_3339(taken.created_at),
                order.type,
                order.side,
                order.instrument,
                None if order.limit_price is None else float(order.limit_price),
                order.quantity,
                status,
                outcome,
                order.client_order_id,
                exchange_order_id,
                None if place_by is None else rfc_3339(place_by),
            )
        )

    def _repeated(self, order: Order, repeated: Repeated, trace_id: str, *, prefers_async: bool) -> WholeResponse:
        """The present truth about the order that has the key."""
        stored = repeated.stored
        if stored is None:
            # Its order cannot be read, so nothing can be said of it.
            detail = (
                "What became of it cannot be read just now; it may be placed."
                if repeated.order_id == order.id
                else "Nothing was sent for this request; the order that has its key cannot be read just now, and may "
                "be placed."
            )
            has_key = order.client_order_id is not None
            return self._failed(
                answer_of(
                    "not-recorded", f"{PROBLEMS['not-recorded'].title}. {detail}", Outcome.UNKNOWN, has_key=has_key
                ),
                replace(order, id=repeated.order_id),
                OrderStatus.INITIATED,
                place_by=None,
                trace_id=trace_id,
            )
        if not stored.order.is_same_request(order):
            raise ProblemError(
                "key-reused", order_id=repeated.order_id, headers={"Location": f"/orders/{repeated.order_id}"}
            )
        # Placed by the exchange's word alone is not enough: 201 needs both rows.
        if stored.is_completed:
            body = _encode(order_json(stored))
            return WholeResponse(201, _headers_of_order(body, _JSON, repeated.order_id), body)
        is_on_its_way = stored.is_reported or stored.is_being_placed(seconds_after_send_by=self._seconds_after_send_by)
        if is_on_its_way and prefers_async:
            return _on_its_way(stored)
        # Nobody may repeat what has no key, so it is not told to wait for a better answer.
        has_key = stored.order.client_order_id is not None
        if has_key and is_on_its_way:
            raise ProblemError(
                "request-in-progress",
                order_id=repeated.order_id,
                headers={
                    "Location": f"/orders/{repeated.order_id}",
                    "Retry-After": str(RETRY_AFTER_SECONDS),
                },
            )
        failed = failed_order(
            stored.rows,
            stored.outcome,
            has_key=has_key,
            has_open_claim=stored.has_open_claim,
            is_forbidden=stored.is_forbidden,
        )
        return self._failed(
            failed,
            stored.order,
            stored.status,
            place_by=stored.order.place_by,
            trace_id=trace_id,
            exchange_order_id=stored.exchange_order_id,
        )

    def _failed(
        self,
        failed: FailedOrder,
        order: Order,
        status: OrderStatus,
        *,
        place_by: datetime | None,
        trace_id: str,
        exchange_order_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> WholeResponse:
        certainty = {} if failed.certainty is None else {"certainty": failed.certainty}
        body = problem_body(
            failed.problem,
            detail=failed.detail,
            message=ORDER_FAILED,
            instance=f"/orders/{order.id}",
            order_id=order.id,
            order_status=status,
            outcome=failed.outcome,
            **certainty,
            retryable=failed.is_retryable,
            advice=failed.advice,
            place_by=None if place_by is None else rfc_3339(place_by),
            client_order_id=order.client_order_id,
            exchange_order_id=exchange_order_id,
            trace_id=trace_id,
        )
        headers = _headers_of_order(body, _PROBLEM_JSON, order.id)
        if failed.is_retryable:
            seconds = max(RETRY_AFTER_SECONDS, math.ceil(retry_after_seconds or 0))
            headers.append((b"retry-after", str(seconds).encode()))
        return WholeResponse(500, headers, body)


def _on_its_way(stored: StoredOrder) -> WholeResponse:
    body = _encode(order_json(stored))
    return WholeResponse(202, [*_headers_of_order(body, _JSON, stored.order.id), _ASYNC_APPLIED], body)


def response_to_problem(problem: ProblemError, *, has_key: bool) -> WholeResponse:
    """The answer to a request that ends as a problem without an order of its own."""
    body = problem.body(advice=advice_of(problem.type, has_key=has_key))
    named = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    return WholeResponse(problem.status, _headers(body, _PROBLEM_JSON) + named, body)


def _headers(body: bytes, content_type: bytes) -> Headers:
    """The headers that every answer has."""
    return [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]


def _headers_of_order(body: bytes, content_type: bytes, order_id: str) -> Headers:
    """The same, and where to find the order."""
    return [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"location", b"/orders/" + order_id.encode()),
    ]
