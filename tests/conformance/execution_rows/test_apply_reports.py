"""Reports become rows, once each, whatever order they come in; and nothing of them is dropped."""

import itertools
from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.execution_rows import Applied
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import NOT_PLACED, UNKNOWN, hold, recorded, settled, step
from tests.conformance.databases import DatabaseSubject, Doubts, Record
from tests.support.executions import EPOCH, VENUE, frame, report

COMPLETED = OrderStatus.COMPLETED
REJECTED = {
    "exec_type": "rejected",
    "ord_status": "rejected",
    "exchange_order_id": None,
    "last_qty": 0,
    "last_px": None,
}


async def accepted(rows: Rows) -> Order:
    [order] = await recorded(rows)
    await step(rows, order.id, COMPLETED)
    return order


async def apply(database: DatabaseSubject, *reports: Any) -> Applied:
    return await database.executions.apply_reports([frame(*reports)])


async def statuses(rows: Rows, order: Order) -> set[str]:
    stored = await rows.read(order.id)
    assert stored is not None
    return {str(row.status) for row in stored.rows} - {"INITIATED", "COMPLETED"}


async def parked(database: DatabaseSubject) -> list[tuple[str, str | None, int | None]]:
    return [(row["reason"], row["field"], row["seq"]) for row in (await database.contents())["parked"]]


async def table(database: DatabaseSubject, name: str) -> list[Record]:
    return (await database.contents())[name]


async def test_a_report_is_a_row_and_a_step_of_the_trail(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)

    applied = await apply(
        database,
        report(1, client_order_id=order.id),
        report(2, client_order_id=order.id, ord_status="filled", last_qty=9, last_px=2.5, exec_id="b"),
    )

    assert (applied.reports, applied.inserted, applied.parked) == (2, 2, 0)
    assert [(row["exec_id"], row["seq"], row["last_px"]) for row in await table(database, "executions")] == [
        ("b", 2, Decimal("2.5")),
        ("x1", 1, Decimal("150.25")),
    ]
    assert await statuses(rows, order) == {"PARTIALLY_FILLED", "FILLED"}
    assert (await database.executions.coverage(VENUE, EPOCH)).ranges == ((1, 2),)
    [sums] = await table(database, "position_sums")
    assert (sums["quantities"], sums["notionals"]) == ([Decimal(10)], [Decimal("172.75")])


async def test_a_repeat_beside_a_gap_does_not_cover_it(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)
    seqs = [1, 2, 2, 4, 7, 7, 7, 9]

    await apply(database, *(report(seq, client_order_id=order.id) for seq in seqs))

    assert (await database.executions.coverage(VENUE, EPOCH)).ranges == ((1, 2), (4, 4), (7, 7), (9, 9))


async def test_a_repeat_changes_nothing(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)
    one = report(1, client_order_id=order.id)
    await apply(database, one, one)
    before = await database.contents()

    applied = await apply(database, one, one)

    assert (applied.reports, applied.inserted, applied.parked, applied.contradicting) == (2, 0, 0, ())
    after = await database.contents()
    assert {name for name in before if name != "execution_coverage" and before[name] != after[name]} == set()


@pytest.mark.parametrize(
    "change",
    [{"last_qty": 2}, {"last_px": "1"}, {"exec_type": "trade_cancel", "exec_ref_id": "y"}, {"exec_ref_id": "y"}],
)
@pytest.mark.parametrize("is_together", [True, False])
async def test_a_contradicting_repeat_is_parked(
    database: DatabaseSubject, rows: Rows, change: Record, is_together: bool
) -> None:
    order = await accepted(rows)
    one, other = report(1, client_order_id=order.id), report(2, client_order_id=order.id, exec_id="x1") | change

    applied = [await apply(database, *reports) for reports in ([[one, other]] if is_together else [[one], [other]])]

    assert (applied[-1].parked, applied[-1].contradicting) == (1, (order.id,))
    assert await parked(database) == [("contradicts", None, 2)]
    assert [row["last_qty"] for row in await table(database, "executions")] == [1]


async def test_a_repeat_by_another_seq_contradicts_nothing(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)
    await apply(database, report(1, client_order_id=order.id))

    applied = await apply(database, report(2, client_order_id=order.id, exec_id="x1", last_px="150.250"))

    assert (applied.inserted, applied.parked) == (0, 0)


async def test_an_unknown_word_that_moves_nothing_is_a_row(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)

    applied = await apply(
        database,
        report(1, client_order_id=order.id, exec_type="suspended", ord_status="new", last_qty=0, last_px=None),
        report(2, client_order_id=order.id, ord_status="nearly"),
    )

    assert applied.inserted == 2
    assert await statuses(rows, order) == set()


async def test_rejected_needs_an_acceptance_beside_it(database: DatabaseSubject, rows: Rows) -> None:
    for order_of_arrival in itertools.permutations(("rejected", "new", "again")):
        [order] = await recorded(rows)
        said = {
            "rejected": report(1, client_order_id=order.id, **REJECTED),
            "new": report(2, client_order_id=order.id, exec_type="new", ord_status="new", last_qty=0, last_px=None),
            "again": report(1, client_order_id=order.id, **REJECTED),
        }
        for number, each in enumerate(order_of_arrival):
            await apply(database, said[each])
            is_accepted = "new" in order_of_arrival[: number + 1]
            is_refused = order_of_arrival[: number + 1] != ("new",)
            assert await statuses(rows, order) == ({"REJECTED"} if is_accepted and is_refused else set())


async def test_rejected_alone_is_no_acceptance(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    [order] = await recorded(rows)
    lease = await hold(doubts, order.id)

    await apply(database, report(1, client_order_id=order.id, **REJECTED))

    assert await statuses(rows, order) == set()
    assert await table(database, "sightings") == []
    # Its doubt is due, and who had it holds it no longer.
    assert await doubts.apply([settled(lease)]) == [False]
    assert [each.order_id for each in await doubts.lease(doubts_max=10, lease_seconds=10)] == [order.id]


async def test_rejected_of_an_accepted_order_is_a_step(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)

    await apply(database, report(1, client_order_id=order.id, **REJECTED))

    assert await statuses(rows, order) == {"REJECTED"}


async def test_an_order_that_may_still_be_placed_by_its_request_is_left_to_it(
    database: DatabaseSubject, rows: Rows
) -> None:
    [order] = await recorded(rows)

    await apply(database, report(1, client_order_id=order.id))

    assert [row["order_id"] for row in await table(database, "sightings")] == [order.id]
    assert await table(database, "doubts") == []


async def test_a_doubt_is_woken_by_a_proof_of_acceptance_once(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    [order] = await recorded(rows)
    await step(rows, order.id, UNKNOWN, "unknown:timeout")
    lease = await hold(doubts, order.id)

    await apply(database, report(1, client_order_id=order.id))
    [woken] = await doubts.lease(doubts_max=10, lease_seconds=10)
    await apply(database, report(2, client_order_id=order.id), report(3, client_order_id=order.id))

    assert await doubts.apply([settled(lease)]) == [False]
    assert await doubts.apply([settled(woken, TrailRow(COMPLETED, "execution"))]) == [True]


async def test_a_late_arrival_is_reported_once(database: DatabaseSubject, rows: Rows) -> None:
    [order] = await recorded(rows)
    await step(rows, order.id, NOT_PLACED, "proved:absent")

    applied = [await apply(database, report(seq, client_order_id=order.id)) for seq in (1, 2)]

    assert [each.late for each in applied] == [(order.id,), ()]


async def test_what_alerts_are_made_of(database: DatabaseSubject, rows: Rows) -> None:
    over, ended, busted = [await accepted(rows) for _ in range(3)]
    await apply(database, report(5, client_order_id=ended.id, exec_type="canceled", ord_status="canceled", last_qty=0))

    applied = await apply(
        database,
        report(1, client_order_id=over.id, cum_qty=over.quantity + 1),
        report(4, client_order_id=ended.id),
        report(2, client_order_id=busted.id),
        report(3, client_order_id=busted.id, exec_type="trade_cancel", exec_ref_id="x2"),
    )
    late = await apply(database, report(6, client_order_id=ended.id))

    assert (applied.overfilled, applied.after_end, applied.busted) == ((over.id,), (), (busted.id,))
    assert late.after_end == (ended.id,)


UNREADABLE: tuple[tuple[str, Any], ...] = (
    *((name, None) for name in ("exec_id", "exec_type", "ord_status", "client_order_id", "exchange_order_id")),
    *((name, None) for name in ("last_qty", "last_px", "cum_qty", "leaves_qty", "transact_time")),
    ("exec_id", "x" * 256),
    ("last_qty", -1),
    ("last_qty", 0),
    ("last_qty", 2**50),
    ("last_px", "0"),
    ("last_px", "-1"),
    ("last_px", "NaN"),
    ("last_px", "1e16"),
    ("last_px", "1e-19"),
    ("cum_qty", 2**62),
    ("avg_px", "Infinity"),
    ("transact_time", "now"),
    ("exec_type", "allocated"),
)


async def test_what_can_be_judged_is_parked_beside_its_neighbours(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)
    good = report(1, client_order_id=order.id)
    bad = [report(seq, client_order_id=order.id) | {name: value} for seq, (name, value) in enumerate(UNREADABLE, 2)]
    missing = [report(len(UNREADABLE) + 2, client_order_id=order.id)]
    del missing[0]["cum_qty"]
    nowhere = report(0, client_order_id=order.id)

    applied = await apply(database, good, *bad, *missing, nowhere)

    wanted = [(name, seq) for seq, (name, _) in enumerate((*UNREADABLE, ("cum_qty", None)), 2)]
    assert (applied.inserted, applied.parked) == (1, len(wanted) + 1)
    assert sorted(await parked(database), key=str) == sorted(
        [("unreadable", name, seq) for name, seq in (*wanted, ("seq", 0))], key=str
    )
    # But for the one that says no place, they are known to be here.
    assert (await database.executions.coverage(VENUE, EPOCH)).ranges == ((1, len(UNREADABLE) + 2),)


async def test_what_breaks_the_statement_is_about_the_data_and_leaves_nothing(database: DatabaseSubject) -> None:
    for body in (
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b"[" * 20_000,
        b'[{"exec_id": "\\u0000"}]',
        b'[{"last_qty": 1e30}]',
        b'[{"last_qty": "a"}]',
        b'[{"last_px": "abc"}]',
    ):
        with pytest.raises(StatementFailed) as raised:
            await database.executions.apply_reports([frame(body=body)])

        assert raised.value.is_about_the_data, body[:20]
    contents = await database.contents()
    assert {name for name, records in contents.items() if records} <= {"execution_epochs"}


async def test_what_is_missing_between_reports_is_not_taken_for_applied(database: DatabaseSubject, rows: Rows) -> None:
    order = await accepted(rows)

    await apply(database, *(report(seq, client_order_id=order.id) for seq in (9, 1, 2, 5)))

    assert (await database.executions.coverage(VENUE, EPOCH)).ranges == ((1, 2), (5, 5), (9, 9))


async def test_exec_ids_are_unique_in_their_scope(database: DatabaseSubject, rows: Rows) -> None:
    executions = database.executions
    order = await accepted(rows)
    await executions.begin_epoch("own", "1", "epoch")
    await executions.begin_epoch("own", "2", "epoch")
    for epoch in "12":
        await apply_of(database, frame(report(1, client_order_id=order.id), epoch=epoch))

    # One session for the venue whose ids are unique for an order's life: the second is a repeat.
    assert len(await table(database, "executions")) == 1
    sessions = {(row["venue"], row["epoch"]): row["session"] for row in await table(database, "execution_epochs")}
    assert sessions[VENUE, "1"] == sessions[VENUE, "2"]
    assert len({sessions["own", "1"], sessions["own", "2"], sessions[VENUE, "1"]}) == 3
    assert (await executions.newest_epoch(VENUE), await executions.newest_epoch("none")) == ("2", None)


async def apply_of(database: DatabaseSubject, *frames: Any) -> Applied:
    return await database.executions.apply_reports(frames)
