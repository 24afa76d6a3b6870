"""`DELETE /orders/{id}`: the wish to cancel is committed first; everything else follows from it."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from ordertrail.api.database_problems import database_errors_as_problems
from ordertrail.api.openapi import CANCEL_ORDER
from ordertrail.api.order_json import order_json
from ordertrail.api.problems import ProblemError
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import TERMINAL_AT_EXCHANGE, Outcome
from ordertrail.storage.doubt_rows import DoubtRows
from ordertrail.storage.order_rows import Rows


def cancel_router(
    rows: Rows, doubts: DoubtRows, wake_up: Callable[[], None], encode: Callable[[Any], bytes]
) -> APIRouter:
    """The route; `wake_up` wakes the reconciler, which does the canceling."""
    router = APIRouter()

    @router.delete("/orders/{order_id}", **CANCEL_ORDER)
    async def cancel_order(order_id: str) -> Response:
        if "\x00" in order_id or len(order_id) > 255 or not order_id.isascii():
            raise ProblemError("order-not-found")
        with database_errors_as_problems():
            stored = await rows.read(order_id)
            if stored is None:
                raise ProblemError("order-not-found")
            if _is_over(stored):
                raise ProblemError("not-cancelable", order_id=order_id, order_status=stored.status)
            await doubts.request_cancel(order_id)
            stored = await rows.read(order_id)
        wake_up()
        assert stored is not None
        return Response(encode(order_json(stored)), 202, media_type="application/json")

    return router


def _is_over(stored: StoredOrder) -> bool:
    return stored.status in TERMINAL_AT_EXCHANGE or (stored.outcome is Outcome.NOT_PLACED and not stored.is_forbidden)
