"""What the random walks over both databases do with execution reports: operations drawn from a walk."""

import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol

from ordertrail.domain.order import Order
from ordertrail.queues.queue import Frame, Position
from ordertrail.storage.order_rows import Rows
from tests.conformance.databases import DatabaseSubject, Doubts

Operation = Callable[[DatabaseSubject, Rows, Doubts], Awaitable[object]]

VENUE = "v"
UNIT = 100.0
# Which only these operations write.
TABLES = {
    "execution_epochs", "executions", "execution_coverage", "position_sums", "position_revisions",
    "execution_inbox", "feeds", "parked_retries",
}  # fmt: skip
TRADED = {"exec_type": "trade", "last_qty": 1, "last_px": "1.50"}
SAID: tuple[dict[str, Any], ...] = (
    {"exec_type": "new", "ord_status": "new"},
    {**TRADED, "ord_status": "partially_filled"},
    {**TRADED, "ord_status": "partially_filled", "last_qty": 2, "cum_qty": 2},
    {**TRADED, "ord_status": "filled", "last_px": "1.5"},
    {**TRADED, "ord_status": "no_such_status", "last_px": 2.25, "cum_qty": 10**6},
    {"exec_type": "canceled", "ord_status": "canceled"},
    {"exec_type": "expired", "ord_status": "expired"},
    {"exec_type": "rejected", "ord_status": "rejected", "exchange_order_id": None, "reject_reason": "x"},
    {"exec_type": "no_such_type", "ord_status": "new"},
    {"exec_type": "trade_cancel", "ord_status": "partially_filled", "exec_ref_id": "a"},
    {**TRADED, "exec_type": "trade_correct", "ord_status": "filled", "exec_ref_id": "b", "last_qty": 0},
)
# Each in the place of a field, now and then: null, nothing at all, and what is read or not, by what the column is.
HOSTILE: tuple[Any, ...] = (
    None, ..., "", 0, -1, 7, 2**60, 10**18 + 1, 10**30, 1.5, "abc", "NaN", "Infinity", "now", "-infinity", True, "\0",
    "x" * 300, "12", "1e-30", "2026-no-time",
)  # fmt: skip
FIELDS = (
    "seq", "exec_id", "exec_type", "ord_status", "client_order_id", "exchange_order_id", "last_qty", "last_px",
    "cum_qty", "leaves_qty", "avg_px", "exec_ref_id", "reject_reason", "transact_time",
)  # fmt: skip
BODIES = (b"{}", b"[1]", b"[{}", b"[]", b"\xff", b'[{"seq": 1e400}]', b"[NaN]", b"null")


class Walk(Protocol):
    """What has been drawn so far."""

    random: Random

    def some(self, most: int) -> list[Order]: ...

    def one(self) -> Order: ...


def a_report(walk: Walk) -> dict[str, Any]:
    """Of an order of the walk, or of none; few ids, so that reports are repeated and contradicted."""
    order_id = "nobody" if walk.random.random() < 0.1 else walk.one().id
    report: dict[str, Any] = {
        "seq": walk.random.randint(1, 30),
        "exec_id": walk.random.choice("abcdefghij"),
        "client_order_id": order_id,
        "exchange_order_id": walk.random.choice(("E-1", "E-2")),
        "last_qty": 0,
        "last_px": None,
        "cum_qty": walk.random.choice((0, 1, 50)),
        "leaves_qty": 1,
        "avg_px": walk.random.choice((None, "1.5")),
        "transact_time": f"2026-01-01T00:00:{walk.random.randrange(60):02d}Z",
    } | walk.random.choice(SAID)
    if walk.random.random() < 0.15:
        field, value = walk.random.choice(FIELDS), walk.random.choice(HOSTILE)
        report.pop(field, None)
        if value is not ...:
            report[field] = value
    return report


def a_frame(walk: Walk) -> Frame:
    """Some reports of one epoch."""
    reports = [a_report(walk) for _ in range(walk.random.randint(1, 4))]
    body = json.dumps(reports).encode() if walk.random.random() < 0.97 else walk.random.choice(BODIES)
    epoch = walk.random.choice(("1", "1", "1", "2"))
    return Frame(VENUE, epoch, "order", len(reports), None, None, body)


def apply_reports(walk: Walk) -> Operation:
    first = a_frame(walk)
    frames = [first, *(each for each in (a_frame(walk), a_frame(walk)) if each.epoch == first.epoch)]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await database.executions.apply_reports(frames)

    return run


def inbox(walk: Walk) -> Operation:
    frame, seq, reports_max = a_frame(walk), walk.random.randrange(4), walk.random.choice((1, 3, 100))
    tail = walk.random.choice((None, Position("1", 3), Position(frame.epoch, 0)))
    frame = Frame(frame.venue, frame.epoch, frame.exec_id_scope, frame.count, seq, 3, frame.body)
    does_drop = walk.random.random() < 0.2

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        executions = database.executions
        is_put = await executions.put_in_inbox(frame, after=tail)
        depth, end = await executions.inbox_depth(VENUE), await executions.inbox_tail(VENUE)
        oldest = await executions.peek_inbox(VENUE, frames_max=3)
        try:
            applied: object = await executions.apply_inbox(VENUE, reports_max=reports_max)
        finally:
            if does_drop:
                await executions.drop_from_inbox([number for number, _ in oldest])
        return is_put, depth, end, [each for _, each in oldest], applied

    return run


def feed(walk: Walk) -> Operation:
    holder, seconds, is_given_up = (
        walk.random.choice("ab"),
        walk.random.choice((UNIT, 2 * UNIT)),
        walk.random.random() < 0.3,
    )

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        executions = database.executions
        lease = await executions.lease_feed(VENUE, holder=holder, lease_seconds=seconds)
        if is_given_up:
            await executions.release_feed(VENUE, holder=holder)
        coverage = [await executions.coverage(VENUE, epoch) for epoch in "12"]
        return lease, await executions.feed(VENUE), coverage, await executions.newest_epoch(VENUE)

    return run


def review(walk: Walk) -> Operation:
    raw, seq = walk.random.choice((b"a", b"b", b'{"client_order_id": "0-0001"}')), walk.random.choice((None, 40, 41))
    place, frame = walk.random.random(), Frame(VENUE, "1", "order", 1, None, None, b"")

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        executions = database.executions
        is_new = await executions.park_report(frame, raw, reason="is broken", field=None, seq=seq)
        # Afterwards whatever is to be tried again is due, by either clock.
        await database.let_pass(UNIT)
        retried = await executions.retry_parked(VENUE, limit=1000)
        parked = await database.parked.parked(limit=1000)
        replayed = await executions.replay_parked(parked[int(place * len(parked))].id) if parked else None
        await executions.compact(VENUE)
        misplaced = await executions.ensure_partitions()
        return is_new, retried, replayed and replayed[:20], misplaced >= 0

    return run


OPERATIONS: dict[Callable[[Any], Operation], int] = {apply_reports: 12, inbox: 8, feed: 3, review: 5}
