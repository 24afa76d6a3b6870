"""What waits for its turn is due now; what does not wait stays as it is."""

from dataclasses import replace

from ordertrail.storage.doubt_rows import Lease
from ordertrail.storage.order_rows import Rows
from tests.conformance.arrange import UNKNOWN, held, later, lease_due, recorded, settled, step
from tests.conformance.databases import RACERS, DatabaseSubject, Doubts


async def test_waiting_order_is_due_now_as_if_never_reviewed(rows: Rows, doubts: Doubts) -> None:
    lease = await held(rows, doubts)
    await doubts.apply([later(lease, seconds=1000)])

    assert await doubts.make_due(doubts_max=10) == 1
    assert await doubts.make_due(doubts_max=10) == 0
    assert await lease_due(doubts) == [Lease(lease.order_id, lease.fence + 1, tries=0)]


async def test_what_does_not_wait_is_not_woken(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    is_settled, is_due, _is_held = [await held(rows, doubts) for _ in range(3)]
    await doubts.apply([replace(settled(is_settled), next_seconds=1000), later(is_due, seconds=0)])
    [never_reviewed] = await recorded(rows)
    await step(rows, never_reviewed.id, UNKNOWN, "unknown:timeout")
    before = await database.contents()

    assert await doubts.make_due(doubts_max=10) == 0
    assert await database.contents() == before


async def test_so_many_are_woken_at_a_time(rows: Rows, doubts: Doubts) -> None:
    leases = [await held(rows, doubts) for _ in range(5)]
    await doubts.apply([later(each, seconds=1000) for each in leases])

    assert await doubts.make_due(doubts_max=0) == 0
    assert await doubts.make_due(doubts_max=3) == 3
    assert len(await lease_due(doubts)) == 3
    assert await doubts.make_due(doubts_max=3) == 2


async def test_many_make_due_at_once_each_order_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    leases = [await held(rows, doubts) for _ in range(RACERS)]
    await doubts.apply([later(each, seconds=1000) for each in leases])

    counts = await database.together(*(doubts.make_due(doubts_max=3) for _ in range(5)))
    rest = await doubts.make_due(doubts_max=1000)

    assert sum(counts) + rest == RACERS
