"""The mistakes that somebody could make on the way of execution reports; beside those of `canaries.py`."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from ordertrail.domain import execution as execution_module
from ordertrail.domain import settling
from ordertrail.domain.trail import OrderStatus
from ordertrail.executions import compare as compare_module
from ordertrail.executions import compared_page
from ordertrail.executions.applying import Applying, _Part
from ordertrail.executions.feed import Feed
from ordertrail.executions.gap_watch import GapWatch
from ordertrail.executions.raw_reports import frame_of, split_reports
from ordertrail.executions.sources import BrokerSource, batches_of
from ordertrail.queues.queue import Position
from ordertrail.storage.postgres import doubt_statements, feed_statements
from tests.simulation import execution_twins
from tests.simulation.broker import Broker
from tests.simulation.canaries import canary
from tests.simulation.mistakes import made, patch
from tests.simulation.table_rows import ORDER_COLUMNS, Tables, insert_row, plain
from tests.simulation.tables import STATEMENTS

KILLS = ("feed or processor killed",) * 3
WAY = {"queue": "chained", "exec_ids": "order"}
# Nothing goes wrong but what a canary's events say.
UNCUT: dict[str, Any] = {"network": {}, "database": {}, "broker": {}, "failpoints": {}, "socket": {}}
INBOX = {"queue": "inbox", "exec_ids": "order"}


@canary(**WAY, events=(*KILLS, "compacted", "compacted", "database away"))
def acknowledged_before_the_commit() -> Iterator[None]:
    async def work_once(self: BrokerSource, *, reports_max: int) -> int | None:
        delivery = await self._queue.take(reports_max=reports_max, wait_seconds=1.0)
        if delivery is None:
            return None
        await made(delivery.acknowledge())
        for frames in batches_of(delivery.frames, reports_max=reports_max):
            await self._applying.apply(frames, delivery.extend)
        return sum(frame.count for frame in delivery.frames)

    with patch.object(BrokerSource, "work_once", work_once):
        yield


@canary(**WAY, events=(*KILLS, "broker wiped"), broker={"lost_answer": 0.25})
def repeats_left_to_the_queues_deduplication() -> Iterator[None]:
    """A processor that adds to positions whatever it is delivered, for the queue drops what it had two minutes ago."""
    original = execution_twins._insert_executions

    def insert(tables: Tables, now: datetime, known: Any, *rest: Any) -> int:
        count = original(tables, now, known, *rest)
        for order in known.values():
            again = [each for each in order.reports if each not in order.inserted]
            if again:
                made()
            order.inserted.extend(again)
        return count

    with patch.object(execution_twins, "_insert_executions", insert):
        yield


@canary(**INBOX, socket={"gap": 0.25, "shuffle": 0.25})
def the_last_write_wins() -> Iterator[None]:
    """What came last is taken for the latest, whatever its place in the exchange's log is."""
    places: dict[Any, int] = {}

    def position(row: Any) -> Any:
        made()
        return (places.setdefault((row.order_id, row.session, row.exec_id), len(places)),)

    def fold(executions: Any, *, quantity: int) -> Any:
        rows = list(executions)
        places.clear()
        for row in rows:
            position(row)
        return original(rows, quantity=quantity)

    from tests.simulation import execution_evidence  # noqa: PLC0415 - it is who reads

    original = execution_module.fold_executions
    with (
        patch.object(execution_module, "_position", position),
        patch.object(execution_evidence, "fold_executions", fold),
    ):
        yield


@canary(**WAY, events=(*KILLS, "compacted", "compacted", "exchange away"), socket={"cut": 0.25})
def resumed_from_the_head() -> Iterator[None]:
    """A feed that begins where the exchange is now, as a socket without a position does."""
    original = Feed._open

    async def open_(self: Feed, promised: Any) -> Any:
        opened = await original(self, promised)
        if opened is None or opened[0].head <= opened[1].reached:
            return opened
        following, start = opened
        head = following.head
        await following.close()
        made()
        after = await self._venue.follow(after=head, epoch=following.epoch, timeout_seconds=1.0)
        if not hasattr(after, "receive"):
            return None
        return after, replace(start, after=Position(following.epoch, head), reached=head)

    with patch.object(Feed, "_open", open_):
        yield


@canary(**WAY, events=("broker wiped",) * 3 + ("database away",) * 2)
def coverage_kept_as_a_first_and_a_last() -> Iterator[None]:
    original = execution_twins._coverage

    def coverage(tables: Tables, now: datetime, venue: str, epoch: str) -> Any:
        ranges = original(tables, now, venue, epoch)
        if len(ranges) > 1 or (ranges and ranges[0]["first"] > 1):
            return made([{"first": 1, "last": ranges[-1]["last"]}])
        return ranges

    name, _ = STATEMENTS[feed_statements.COVERAGE]
    with patch.dict(STATEMENTS, {feed_statements.COVERAGE: (name, coverage)}):
        yield


@canary(**WAY, events=(*KILLS, "database away", "feed or processor stopped"), database={"error": 0.25, "hangs": 0.1})
def a_frame_given_up_after_some_deliveries() -> Iterator[None]:
    original = Broker.take

    def take(self: Broker, reports_max: int) -> Any:
        self.deliveries_max = 2
        if any(kept.deliveries >= 2 and kept.visible_at <= self._now() for kept in self.frames.values()):
            made()
        return original(self, reports_max)

    with patch.object(Broker, "take", take):
        yield


@canary(queue="chained", exec_ids="order", events=("poisoned",) * 3)
def a_whole_frame_parked_for_one_report() -> Iterator[None]:
    """What breaks the statement is not halved, so that its neighbours are parked with it and count as applied."""

    def halves(self: Any) -> None:
        if len(self.frames) > 1 or self.frames[0].count > 1:
            made()

    async def park(self: Applying, frame: Any, why: str) -> None:
        await original(self, frame, why)
        for raw in (split_reports(frame.body) or ())[1:]:
            await original(self, frame_of(frame, [raw]), why)

    original = Applying._park
    with patch.object(_Part, "halves", halves), patch.object(Applying, "_park", park):
        yield


@canary(queue="inbox", exec_ids="order", events=("head went back",) * 2, **UNCUT)
def reports_in_others_places_passed_over() -> Iterator[None]:
    """An exchange that came back with less is followed from its head on: what it made meanwhile is never read."""

    def reached_of(self: Feed, head: int, reached: int) -> int:
        made()
        return head

    with patch.object(Feed, "_reached_of", reached_of):
        yield


@canary(queue="inbox", exec_ids="order", events=("queue wiped under way",) * 2)
def what_the_queue_took_counted_as_applied() -> Iterator[None]:
    """A feed that never asks whether what it has put into the queue has come to be rows."""

    def is_due(self: GapWatch, first: int, now: float, depth: int | None, *, is_inner: bool) -> bool:
        if original(self, first, now, depth, is_inner=is_inner):
            made()
        return False

    original = GapWatch._is_due
    with patch.object(GapWatch, "_is_due", is_due):
        yield


@canary(queue="inbox", exec_ids="order", events=("head went back",) * 2, **UNCUT)
def executions_compared_by_their_numbers() -> Iterator[None]:
    """A row in a report's place is taken for that report."""

    def compare_page(reports: Any, kept: Any) -> Any:
        result = original(reports, kept)
        return replace(result, counted=made(sum(row.is_counted for row in kept)))

    original = compared_page.compare_page
    with patch.object(compare_module, "compare_page", compare_page):
        yield


@canary(queue="inbox", exec_ids="epoch", events=("epoch",) * 4)
def repeats_known_by_the_exec_id_alone() -> Iterator[None]:
    name, run = STATEMENTS[feed_statements.BEGIN_EPOCH]

    def begin_epoch(tables: Tables, now: datetime, venue: str, epoch: str, _scope: str) -> Any:
        return made(run(tables, now, venue, epoch, "order"))

    insert = execution_twins._insert_executions

    def insert_executions(tables: Tables, now: datetime, known: Any, times: Any, epoch: str, session: int) -> int:
        ids = {exec_id for rows in tables.reports.executions.values() for _, exec_id in rows}
        for order in known.values():
            order.reports = [each for each in order.reports if each.exec_id not in ids]
        return insert(tables, now, known, times, epoch, session)

    with (
        patch.dict(STATEMENTS, {feed_statements.BEGIN_EPOCH: (name, begin_epoch)}),
        patch.object(execution_twins, "_insert_executions", insert_executions),
    ):
        yield


@canary(queue="inbox", exec_ids="order", exchange={"lost": 0.25, "reset": 0.25})
def a_processor_that_writes_completed() -> Iterator[None]:
    original = execution_twins._append_said

    def append_said(tables: Tables, now: datetime, order: Any, *, is_refused: bool) -> None:
        original(tables, now, order, is_refused=is_refused)
        if order.exchange_order_id is not None and "COMPLETED" not in tables.orders[order.id]:
            fields = {name: order.order[name] for name in ORDER_COLUMNS}
            row = {"status": "COMPLETED", "reason": "execution", "exchange_order_id": order.exchange_order_id}
            made(insert_row(tables, {**fields, **row, "created_at": plain(now)}))

    with patch.object(execution_twins, "_append_said", append_said):
        yield


@canary(queue="inbox", exec_ids="order", exchange={"refuse": 0.25, "lost": 0.1})
def a_refusal_taken_for_acceptance() -> Iterator[None]:
    def proves(exec_type: str, ord_status: str) -> bool:
        if "rejected" in {exec_type, ord_status}:
            made()
        return True

    with patch.object(execution_twins, "proves_acceptance", proves):
        yield


@canary(queue="inbox", exec_ids="order", exchange={"lost": 0.25, "reset": 0.25}, no_answer=0.5, events=("kill",) * 3)
def filled_taken_for_settled() -> Iterator[None]:
    original = settling.is_settled_by_rows
    name, run = STATEMENTS[doubt_statements.ENQUEUE_DUE_BATCHES]

    def is_settled(doubt: Any) -> bool:
        return bool(original(doubt)) or OrderStatus.FILLED in doubt.statuses

    def enqueue(tables: Tables, now: datetime, batches_max: int) -> Any:
        records = run(tables, now, batches_max)
        for order_id, doubt in tables.doubts.items():
            rows = tables.orders.get(order_id, {})
            if "FILLED" in rows and doubt.settled_at is None:
                if "COMPLETED" not in rows:
                    made()
                doubt.settled_at = now
        return records

    with (
        patch.object(settling, "is_settled_by_rows", is_settled),
        patch.dict(STATEMENTS, {doubt_statements.ENQUEUE_DUE_BATCHES: (name, enqueue)}),
    ):
        yield


@canary(queue="inbox", exec_ids="order", has_large_prices=True)
def an_average_in_floats() -> Iterator[None]:
    def average(filled: Any) -> Decimal | None:
        pairs = list(filled)
        quantity = sum(each for each, _ in pairs)
        if quantity <= 0:
            return None
        made()
        return Decimal(f"{sum(each * float(price) for each, price in pairs) / quantity:.8f}")

    with patch.object(execution_module, "average", average):
        yield
