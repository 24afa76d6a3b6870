"""`DELETE /orders/{id}`: the wish to cancel is committed first; everything else follows from it."""

from collections.abc import Awaitable, Callable
from typing import assert_never

import msgspec
from fastapi import APIRouter, Response

from ordertrail.api.database_problems import database_errors_as_problems
from ordertrail.api.openapi import CANCEL_ORDER
from ordertrail.api.order_json import order_json
from ordertrail.api.problems import ProblemError
from ordertrail.placement.cancel_order import Canceling, Cancellation, CancelRequested, NoSuchOrder, OrderIsOver

_encode = msgspec.json.Encoder().encode


def cancel_router(canceling: Canceling) -> APIRouter:
    """The route that cancels orders."""
    router = APIRouter()
    router.delete("/orders/{order_id}", **CANCEL_ORDER)(cancel_endpoint(canceling))
    return router


def cancel_endpoint(canceling: Canceling) -> Callable[[str], Awaitable[Response]]:
    """What answers there, by the order's id; raises ProblemError."""

    async def cancel_order(order_id: str) -> Response:
        with database_errors_as_problems():
            cancellation = await canceling.request(order_id)
        return _response(order_id, cancellation)

    return cancel_order


def _response(order_id: str, cancellation: Cancellation) -> Response:
    match cancellation:
        case NoSuchOrder():
            raise ProblemError("order-not-found")
        case OrderIsOver(status):
            raise ProblemError("not-cancelable", order_id=order_id, order_status=status)
        case CancelRequested(stored):
            return Response(_encode(order_json(stored)), 202, media_type="application/json")
    assert_never(cancellation)
