"""What a comparison with the venue reads of executions, and what is kept of it."""

from dataclasses import replace
from datetime import timedelta

from ordertrail.storage.comparison_rows import FIRST_KEY, ComparedRange, Comparison, ExecutionKey
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import recorded
from tests.conformance.databases import DatabaseSubject
from tests.support.executions import EPOCH, VENUE, frame, report


async def arranged(database: DatabaseSubject, rows: Rows) -> tuple[str, ComparedRange]:
    """An order with reports 1, 3 and 5, a report of nobody's order at 4; and what is to be compared."""
    [order] = await recorded(rows)
    reports = [report(seq, client_order_id=order.id, exec_id=f"x{seq}") for seq in (1, 3, 5)]
    await database.executions.apply_reports([frame(*reports, report(4, client_order_id="nobody"))])
    known = await database.comparisons.epoch_session(VENUE, EPOCH)
    assert known is not None
    # Whose transaction began in the same moment may be counted or not.
    return order.id, ComparedRange(VENUE, EPOCH, known[0], 1, 4, known[1] + timedelta(seconds=1))


async def test_epoch_of_which_nothing_was_applied_has_no_session(database: DatabaseSubject, rows: Rows) -> None:
    await arranged(database, rows)

    assert await database.comparisons.epoch_session(VENUE, "another") is None
    assert await database.comparisons.epoch_session("another", EPOCH) is None


async def test_rows_are_found_by_exec_id_and_by_place(database: DatabaseSubject, rows: Rows) -> None:
    order_id, compared = await arranged(database, rows)

    kept = await database.comparisons.kept(compared, order_ids=[order_id], exec_ids=["x5"], first=1, last=2)
    others = await database.comparisons.kept(compared, order_ids=["nobody"], exec_ids=["x5"], first=1, last=9)
    later = replace(compared, begun_at=compared.begun_at - timedelta(days=1))
    uncounted = await database.comparisons.kept(later, order_ids=[order_id], exec_ids=[], first=3, last=3)

    assert sorted((row.exec_id, row.seq, row.is_counted) for row in kept) == [("x1", 1, True), ("x5", 5, False)]
    assert others == []
    assert [(row.exec_id, row.is_counted) for row in uncounted] == [("x3", False)]


async def test_rows_of_the_range_are_counted_until_there_are_no_more(database: DatabaseSubject, rows: Rows) -> None:
    order_id, compared = await arranged(database, rows)

    last = ExecutionKey(order_id, compared.session, "x5")
    assert await database.comparisons.count_kept(compared, FIRST_KEY) == (2, last)
    assert await database.comparisons.count_kept(compared, replace(last, exec_id="x1")) == (1, last)
    assert await database.comparisons.count_kept(compared, last) == (0, None)


async def test_parked_reports_are_found_by_their_places(database: DatabaseSubject, rows: Rows) -> None:
    _, compared = await arranged(database, rows)

    assert await database.comparisons.parked_seqs(compared, [3, 4, 5]) == {4}
    assert await database.comparisons.parked_seqs(replace(compared, epoch="another"), [4]) == set()


async def test_newest_comparison_of_a_venue_is_read_as_it_was_kept(database: DatabaseSubject) -> None:
    first = Comparison("compared", EPOCH, 9, 9, 0, 0, 0, {"from_seq": 1})
    newest = replace(first, missing=2, different=1, unknown=3, details={"examples": {"missing": [{"seq": 4}]}})
    for comparison in (first, newest, replace(first, venue="another")):
        await database.comparisons.keep_comparison(comparison)

    found = await database.comparisons.newest_comparison("compared")

    assert found is not None
    assert found.compared_at is not None
    assert replace(found, compared_at=None) == newest
    assert await database.comparisons.newest_comparison("nobody") is None
