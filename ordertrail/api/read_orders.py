"""`GET /orders`, `GET /orders/{id}`, its trail and its executions, `GET /positions`: what is recorded.

Each answer is one moment of the database.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response

from ordertrail.api.cursor import AFTER_ID, Decoder, write_cursor
from ordertrail.api.database_problems import database_errors_as_problems
from ordertrail.api.execution_json import executed_order_json, execution_json, position_json
from ordertrail.api.list_query import InvalidQuery, parse_list_query, parse_page_query, refuse_parameters
from ordertrail.api.openapi_reads import LIST_EXECUTIONS, LIST_ORDERS, LIST_POSITIONS, READ_ORDER, READ_TRAIL
from ordertrail.api.order_json import order_json, rfc_3339, trail_json
from ordertrail.api.prefer import preference_applied, wait_seconds_granted
from ordertrail.api.problems import ProblemError
from ordertrail.domain.execution import Position
from ordertrail.domain.stored_order import ExecutedOrder
from ordertrail.domain.trail import Outcome
from ordertrail.events.waiting import OrderWaiting
from ordertrail.storage.execution_reads import ExecutionReads
from ordertrail.storage.order_reads import OrderReads, is_storable

_encode = msgspec.json.Encoder().encode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_Integer = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_BigInteger = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Microseconds = Annotated[
    int,
    msgspec.Meta(
        ge=(datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND,
        le=(datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND,
    ),
]
_PositionInCursor = tuple[_Integer, _BigInteger, _Microseconds, _Integer, str]
_AFTER_POSITION: Decoder[tuple[Literal[1], str, _PositionInCursor]] = Decoder(tuple[Literal[1], str, _PositionInCursor])


def read_router(reads: OrderReads, execution_reads: ExecutionReads, waiting: OrderWaiting, *, venue: str) -> APIRouter:
    """The routes that read; `venue` is the exchange that this process places orders and queries them at."""
    router = APIRouter()

    @router.get("/orders", **LIST_ORDERS)
    async def list_orders(request: Request) -> Response:
        with _as_problems():
            query = parse_list_query(request.query_params.multi_items())
            page = await reads.many(query.wanted, limit=query.limit, before_id=query.before_id)
        before_id = page.next_before_id
        return _json(
            {
                "orders": [order_json(order) for order in page.orders],
                "next_cursor": None if before_id is None else write_cursor(before_id, query.wanted),
            }
        )

    @router.get("/orders/{order_id}", **READ_ORDER)
    async def read_order(order_id: str, request: Request) -> Response:
        granted = wait_seconds_granted(request.headers.raw)
        with _as_problems():
            refuse_parameters(request.query_params.multi_items())
            if granted is None:
                order = await execution_reads.order(order_id)
            else:
                order = await waiting.read_until(
                    order_id, lambda: execution_reads.order(order_id), _is_known, seconds=granted
                )
        if order is None:
            raise ProblemError("order-not-found")
        return _json(executed_order_json(order, venue=venue), preference_applied(granted))

    @router.get("/orders/{order_id}/trail", **READ_TRAIL)
    async def read_trail(order_id: str, request: Request) -> Response:
        with _as_problems():
            refuse_parameters(request.query_params.multi_items())
            stored = await reads.one(order_id)
        if stored is None:
            raise ProblemError("order-not-found")
        return _json({"trail": trail_json(stored)})

    @router.get("/orders/{order_id}/executions", **LIST_EXECUTIONS)
    async def list_executions(order_id: str, request: Request) -> Response:
        wanted = ("executions", order_id) if is_storable(order_id) else ()
        with _as_problems():
            query = parse_page_query(request.query_params.multi_items(), wanted, _AFTER_POSITION)
            after = _from_cursor(query.after)
            executions = await execution_reads.executions(order_id, limit=query.limit + 1, after=after)
        if executions is None:
            raise ProblemError("order-not-found")
        page = executions[: query.limit]
        has_more = len(executions) > len(page)
        return _json(
            {
                "executions": [execution_json(execution) for execution in page],
                "next_cursor": write_cursor(_in_cursor(page[-1].position), wanted) if has_more else None,
            }
        )

    @router.get("/positions", **LIST_POSITIONS)
    async def list_positions(request: Request) -> Response:
        wanted = ("positions",)
        with _as_problems():
            query = parse_page_query(request.query_params.multi_items(), wanted, AFTER_ID)
            found = await execution_reads.positions(limit=query.limit + 1, after=query.after or "")
        page = found.positions[: query.limit]
        has_more = len(found.positions) > len(page)
        return _json(
            {
                "positions": [position_json(position) for position in page],
                "executions_as_of": None if found.as_of is None else rfc_3339(found.as_of),
                "next_cursor": write_cursor(page[-1].instrument, wanted) if has_more else None,
            }
        )

    return router


def _in_cursor(position: Position) -> _PositionInCursor:
    rank, seq, transact_time, session, exec_id = position
    return (rank, seq, (transact_time - _EPOCH) // _MICROSECOND, session, exec_id)


def _from_cursor(position: _PositionInCursor | None) -> Position | None:
    if position is None:
        return None
    rank, seq, microseconds, session, exec_id = position
    return (rank, seq, _EPOCH + microseconds * _MICROSECOND, session, exec_id)


@contextmanager
def _as_problems() -> Iterator[None]:
    try:
        with database_errors_as_problems():
            yield
    except InvalidQuery as error:
        raise ProblemError(
            "invalid-request",
            detail=f"The query is not valid: {error}",
            errors=[{"pointer": problem.pointer, "detail": problem.detail} for problem in error.problems],
        ) from error


def _is_known(order: ExecutedOrder | None) -> bool:
    """Whether there is nothing to wait for: one that is not there might never come."""
    return order is None or order.stored.outcome in (Outcome.PLACED, Outcome.NOT_PLACED)


def _json(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(document), headers=headers, media_type="application/json")
