"""`GET /orders`, `GET /orders/{id}` and `GET /orders/{id}/trail`: what is recorded, as one moment of the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from ordertrail.api.cursor import write_cursor
from ordertrail.api.database_problems import database_errors_as_problems
from ordertrail.api.list_query import InvalidQuery, parse_list_query, refuse_parameters
from ordertrail.api.openapi_reads import LIST_ORDERS, READ_ORDER, READ_TRAIL
from ordertrail.api.order_json import order_json, single_order_json, trail_json
from ordertrail.api.problems import ProblemError
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.storage.order_reads import OrderReads

_encode = msgspec.json.Encoder().encode


def read_router(reads: OrderReads, *, venue: str) -> APIRouter:
    """The routes that read orders; `venue` is the exchange that this process places and queries them at."""
    router = APIRouter()

    @router.get("/orders", **LIST_ORDERS)
    async def list_orders(request: Request) -> Response:
        with _as_problems():
            query = parse_list_query(request.query_params.multi_items())
            # One more than the page holds: whether it comes says whether there is another page.
            orders = await reads.many(query.wanted, limit=query.limit + 1, before_id=query.before_id)
        page = orders[: query.limit]
        has_more = len(orders) > len(page)
        return _json(
            {
                "orders": [order_json(order) for order in page],
                "next_cursor": write_cursor(page[-1].order.id, query.wanted) if has_more else None,
            }
        )

    @router.get("/orders/{order_id}", **READ_ORDER)
    async def read_order(order_id: str, request: Request) -> Response:
        return _json(single_order_json(await _one(reads, order_id, request), venue=venue))

    @router.get("/orders/{order_id}/trail", **READ_TRAIL)
    async def read_trail(order_id: str, request: Request) -> Response:
        return _json({"trail": trail_json(await _one(reads, order_id, request))})

    return router


async def _one(reads: OrderReads, order_id: str, request: Request) -> StoredOrder:
    with _as_problems():
        refuse_parameters(request.query_params.multi_items())
        stored = await reads.one(order_id)
    if stored is None:
        raise ProblemError("order-not-found")
    return stored


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


def _json(document: dict[str, Any]) -> Response:
    return Response(_encode(document), media_type="application/json")
