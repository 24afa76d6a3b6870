"""The mistakes that somebody could make with orders that wait in the queue; beside those of `canaries.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import Accepted
from ordertrail.placement.order_intake import OrderIntake
from ordertrail.placement.place_order import Placing, Queued
from ordertrail.storage.order_queue_rows import FIRST_SEND, ClaimedOrder
from ordertrail.storage.postgres import doubt_statements, order_queue_statements, order_statements
from tests.simulation import tables as tables_module
from tests.simulation.canaries import canary
from tests.simulation.mistakes import made, patch
from tests.simulation.table_rows import DoubtRecord, Record, Tables, reopen_doubt
from tests.simulation.tables import STATEMENTS

QUEUED: dict[str, Any] = {"queued": 1.0}
# Nothing goes wrong but what a canary's events say.
UNCUT: dict[str, Any] = {"network": {}, "database": {}, "failpoints": {}, "exchange": {}}


@canary(**QUEUED)
def an_order_both_queued_and_sent_by_the_request() -> Iterator[None]:
    original = OrderIntake.enqueue

    async def enqueue(self: OrderIntake, order: Order) -> Any:
        placement = await original(self, order)
        if isinstance(placement, Queued):
            placing = self._placing
            send_by = placing._clock.monotonic() + placing._deadlines.send_seconds
            accept_by = placement.created_at + timedelta(seconds=placing._deadlines.accept_seconds)
            answer = await made(placing._gateway.send_and_query(order, send_by=send_by, accept_by=accept_by))
            if isinstance(answer, Accepted):
                await placing._journal.completed(order.id, answer.exchange_order_id)
        return placement

    with patch.object(OrderIntake, "enqueue", enqueue):
        yield


@canary(**QUEUED)
def a_worker_without_a_claim() -> Iterator[None]:
    """It takes orders out of the queue, and sends them."""
    _, original = STATEMENTS[order_queue_statements.CLAIM_QUEUED]

    def claim(tables: Tables, now: datetime, *arguments: Any) -> list[Record]:
        claimed = original(tables, now, *arguments)
        for order in claimed:
            made(tables.attempts.pop(order["id"]))
        return claimed

    with patch.dict(STATEMENTS, {order_queue_statements.CLAIM_QUEUED: ("claim_queued", claim)}):
        yield


@canary(**QUEUED, **{**UNCUT, "database": {"slow_answer": 0.6}}, events=("worker stopped",) * 8)
def a_claim_that_outlives_its_end() -> Iterator[None]:
    """A worker that was stopped with its claim sends when it goes on, however late that is."""
    original = Placing.send_claimed

    async def send(self: Placing, claimed: ClaimedOrder, **how: Any) -> Any:
        return await original(self, made(replace(claimed, seconds_left=claimed.seconds_left + 1000)), **how)

    with patch.object(Placing, "send_claimed", send):
        yield


@canary(**QUEUED, cancels=0.8, events=("halt", "worker killed"))
def a_cancel_that_leaves_the_order_in_the_queue() -> Iterator[None]:
    def request_cancel(tables: Tables, now: datetime, order_id: str) -> list[Record]:
        if "INITIATED" not in tables.orders.get(order_id, {}):
            return []
        if order_id not in tables.cancels:
            tables.cancels[order_id] = now
            tables.canceled_at_moment[order_id] = next(tables.moments)
            if order_id in tables.queue:
                made()
            reopen_doubt(tables, now, order_id, fence=1)
        return [{"id": order_id}]

    with patch.dict(STATEMENTS, {doubt_statements.REQUEST_CANCEL: ("request_cancel", request_cancel)}):
        yield


@canary(**QUEUED, database={"lost_answer": 0.25, "lost_request": 0.1})
def one_that_was_said_to_be_never_sent_stays_in_the_queue() -> Iterator[None]:
    """The answer to the commit that has queued it was lost; its client was told that nothing was sent."""

    def hold(tables: Tables, now: datetime, ids: Sequence[str]) -> list[Record]:
        tables_module._need_distinct(ids)
        for order_id in sorted(ids):
            if order_id in tables.queue:
                made()
            if order_id in tables.doubts:
                reopen_doubt(tables, now, order_id)
            else:
                tables.doubts[order_id] = DoubtRecord(now, now, settled_at=now)
        return []

    with patch.dict(STATEMENTS, {order_statements.HOLD: ("hold", hold)}):
        yield


@canary(**QUEUED, events=("worker stopped", "worker killed", "kill"), readers=0, queue=None, followers=0)
def a_claim_that_leaves_the_order_in_the_queue() -> Iterator[None]:
    """Two rows for one order: whoever comes next claims it as well."""
    _, original = STATEMENTS[order_queue_statements.CLAIM_QUEUED]

    def claim(tables: Tables, now: datetime, *arguments: Any) -> list[Record]:
        before = dict(tables.queue)
        claimed = original(tables, now, *arguments)
        for order in claimed:
            assert FIRST_SEND in tables.attempts[order["id"]]
            tables.queue[order["id"]] = made(before[order["id"]])
        return claimed

    with patch.dict(STATEMENTS, {order_queue_statements.CLAIM_QUEUED: ("claim_queued", claim)}):
        yield
