"""What `SweepRows` promises: turns, a position that goes forward, and everything that is shown kept once."""

import pytest

from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.order_in_doubt import OrderInDoubt
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import Lease, ShownOrder, Verdict
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_rows import NewTrailRow, Rows, SpooledTrail
from tests.conformance.arrange import DUE, in_doubt, lease_due, settled
from tests.conformance.databases import RACERS, DatabaseSubject, Doubts
from tests.support.orders import an_order, new_id

VENUE = "venue"
ADA = Operator("ada", Origin.CLI)


async def taken_ids(doubts: Doubts) -> list[str]:
    return [lease.order_id for lease in await lease_due(doubts)]


# Turns


async def test_first_turn_begins_at_the_beginning(doubts: Doubts) -> None:
    assert await doubts.lease_sweep(VENUE, lease_seconds=100) == ("", 0)


async def test_turn_is_one_replicas_until_its_lease_ends(database: DatabaseSubject, doubts: Doubts) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)

    assert await doubts.lease_sweep(VENUE, lease_seconds=100) is None
    await database.let_pass(80)
    assert await doubts.lease_sweep(VENUE, lease_seconds=100) is None
    await database.let_pass(21)
    assert await doubts.lease_sweep(VENUE, lease_seconds=100) == ("", 0)
    assert await doubts.lease_sweep(VENUE, lease_seconds=100) is None


async def test_turn_that_is_refused_does_not_lengthen_the_lease(database: DatabaseSubject, doubts: Doubts) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)
    await doubts.lease_sweep(VENUE, lease_seconds=10_000)
    await database.let_pass(101)

    assert await doubts.lease_sweep(VENUE, lease_seconds=100) == ("", 0)


async def test_turns_of_one_venue_are_nothing_to_another(doubts: Doubts) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)
    await doubts.move_sweep(VENUE, "epoch", 7)

    assert await doubts.lease_sweep("other", lease_seconds=100) == ("", 0)
    await doubts.end_sweep("other", rest_seconds=0)
    assert await doubts.lease_sweep(VENUE, lease_seconds=100) is None


@pytest.mark.parametrize("rest_seconds", [0, 50, 500])
async def test_turn_that_has_ended_is_given_after_a_rest(
    database: DatabaseSubject, doubts: Doubts, rest_seconds: float
) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)
    await doubts.end_sweep(VENUE, rest_seconds=rest_seconds)

    if rest_seconds:
        await database.let_pass(rest_seconds - 20)
        assert await doubts.lease_sweep(VENUE, lease_seconds=100) is None
        await database.let_pass(21)
    assert await doubts.lease_sweep(VENUE, lease_seconds=100) == ("", 0)


async def test_one_of_many_has_the_turn(database: DatabaseSubject, doubts: Doubts) -> None:
    turns = await database.together(*(doubts.lease_sweep(VENUE, lease_seconds=100) for _ in range(RACERS)))

    assert [turn for turn in turns if turn is not None] == [("", 0)]


# Positions


async def position(doubts: Doubts) -> tuple[str, int] | None:
    await doubts.end_sweep(VENUE, rest_seconds=0)
    return await doubts.lease_sweep(VENUE, lease_seconds=100)


async def test_next_turn_begins_where_the_last_one_came_to(doubts: Doubts) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)

    await doubts.move_sweep(VENUE, "epoch", 2**40)

    assert await position(doubts) == ("epoch", 2**40)


async def test_position_never_goes_back_in_its_epoch(doubts: Doubts) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)
    await doubts.move_sweep(VENUE, "epoch", 9)

    await doubts.move_sweep(VENUE, "epoch", 8)

    assert await position(doubts) == ("epoch", 9)


async def test_other_epoch_begins_where_it_is_said_to(doubts: Doubts) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)
    await doubts.move_sweep(VENUE, "old", 9)

    await doubts.move_sweep(VENUE, "new", 3)

    assert await position(doubts) == ("new", 3)


async def test_position_of_one_venue_is_nothing_to_another(doubts: Doubts) -> None:
    for venue in (VENUE, "other"):
        await doubts.lease_sweep(venue, lease_seconds=100)

    await doubts.move_sweep("other", "epoch", 9)

    assert await position(doubts) == ("", 0)


async def test_moving_keeps_the_turn(doubts: Doubts) -> None:
    await doubts.lease_sweep(VENUE, lease_seconds=100)

    await doubts.move_sweep(VENUE, "epoch", 9)

    assert await doubts.lease_sweep(VENUE, lease_seconds=100) is None


async def test_venue_that_nobody_has_swept_has_no_position(database: DatabaseSubject, doubts: Doubts) -> None:
    await doubts.move_sweep(VENUE, "epoch", 9)
    await doubts.end_sweep(VENUE, rest_seconds=500)

    assert (await database.contents())["sweep_positions"] == []
    assert await doubts.lease_sweep(VENUE, lease_seconds=100) == ("", 0)


# Statuses


async def test_statuses_of_orders_that_have_a_trail(rows: Rows, doubts: Doubts) -> None:
    fresh, placed, headless = an_order(), an_order(), an_order()
    await rows.insert_initiated([fresh, placed])
    await rows.insert_trail_rows([NewTrailRow(placed.id, OrderStatus.COMPLETED, None, "E-1")])
    await rows.replay([SpooledTrail(headless, (TrailRow(OrderStatus.EXCHANGE_OUTCOME_UNKNOWN, "unknown:x"),))])

    assert await doubts.statuses_of([placed.id, new_id(), headless.id, fresh.id, fresh.id]) == {
        fresh.id: frozenset({OrderStatus.INITIATED}),
        placed.id: frozenset({OrderStatus.INITIATED, OrderStatus.COMPLETED}),
        headless.id: frozenset({OrderStatus.EXCHANGE_OUTCOME_UNKNOWN}),
    }
    assert await doubts.statuses_of([]) == {}


# Sightings


async def test_observation_is_kept_once_and_stays(rows: Rows, doubts: Doubts) -> None:
    order, other = an_order(), an_order()
    await rows.insert_initiated([order, other])

    assert await doubts.keep_observations({order.id: "E-1"}) == [order.id]
    assert await doubts.keep_observations({other.id: "E-3", order.id: "E-2"}) == [other.id]
    assert await doubts.keep_observations({}) == []

    loaded = await doubts.load([order.id, other.id])
    assert {
        id_: doubt.observed_exchange_order_id for id_, doubt in loaded.items() if isinstance(doubt, OrderInDoubt)
    } == {
        order.id: "E-1",
        other.id: "E-3",
    }


async def test_observations_come_in_the_order_of_their_ids(doubts: Doubts) -> None:
    ids = [new_id() for _ in range(5)]

    assert await doubts.keep_observations(dict.fromkeys(ids[::-1], "E-1")) == sorted(ids)


async def test_observed_order_that_may_still_be_placed_is_left_to_its_request(
    database: DatabaseSubject, rows: Rows, doubts: Doubts
) -> None:
    order = an_order()
    await rows.insert_initiated([order])

    await doubts.keep_observations({order.id: "E-1"})

    assert await taken_ids(doubts) == []
    await database.let_pass(DUE)
    await doubts.enqueue_due_batches(batches_max=10)
    assert await taken_ids(doubts) == [order.id]


async def test_observation_of_an_order_that_is_not_ours_makes_no_doubt(
    database: DatabaseSubject, doubts: Doubts
) -> None:
    assert await doubts.keep_observations({"theirs": "E-1"}) == ["theirs"]
    assert (await database.contents())["doubts"] == []


@pytest.mark.parametrize(
    ("status", "reason"), [(OrderStatus.EXCHANGE_CREATION_FAILED, "refused:x"), (OrderStatus.COMPLETED, None)]
)
async def test_observed_order_with_another_row_is_reviewed_now(
    rows: Rows, doubts: Doubts, status: OrderStatus, reason: str | None
) -> None:
    order = an_order()
    await rows.insert_initiated([order])
    await rows.insert_trail_rows([NewTrailRow(order.id, status, reason)])

    await doubts.keep_observations({order.id: "E-1"})

    assert await lease_due(doubts) == [Lease(order.id, 1, 0)]


@pytest.mark.parametrize("is_settled", [True, False])
async def test_observed_order_that_was_in_doubt_is_reviewed_now(rows: Rows, doubts: Doubts, is_settled: bool) -> None:
    order = an_order()
    lease = await in_doubt(rows, doubts, order)
    await doubts.apply([Verdict(lease, (), is_settled=is_settled, next_seconds=1000, observation="")])

    await doubts.keep_observations({order.id: "E-1"})

    assert await lease_due(doubts) == [Lease(order.id, lease.fence + 2, 0)]


async def test_first_observation_takes_the_order_from_its_holder_and_no_other_does(rows: Rows, doubts: Doubts) -> None:
    order = an_order()
    before = await in_doubt(rows, doubts, order)
    await doubts.keep_observations({order.id: "E-1"})
    [after] = await lease_due(doubts)

    await doubts.keep_observations({order.id: "E-1"})

    assert [await doubts.apply([settled(lease)]) for lease in (before, after)] == [[False], [True]]


async def test_many_see_the_same_at_once(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> None:
    ids = [new_id() for _ in range(RACERS)]
    orders = [dict.fromkeys(ids[:: 1 if n % 2 else -1], "E-1") for n in range(6)]

    kept = await database.together(*(doubts.keep_observations(some) for some in orders))

    assert sorted(id_ for some in kept for id_ in some) == sorted(ids)


# Orphans


def shown(**exchange_order_ids: str) -> dict[str, ShownOrder]:
    return {id_: ShownOrder(exchange_order_id) for id_, exchange_order_id in exchange_order_ids.items()}


async def test_orphan_is_kept_once(doubts: Doubts) -> None:
    assert await doubts.keep_orphans(VENUE, "1", shown(b="E-1", a="E-2")) == ["b", "a"]
    assert await doubts.keep_orphans(VENUE, "1", shown(a="E-2", c="E-3", b="E-1")) == ["c"]
    assert await doubts.keep_orphans(VENUE, "1", {}) == []


@pytest.mark.parametrize(
    ("venue", "epoch", "exchange_order_id"), [("other", "1", "E-1"), (VENUE, "2", "E-1"), (VENUE, "1", "E-2")]
)
async def test_orphan_is_another_by_any_of_its_names(
    database: DatabaseSubject, doubts: Doubts, venue: str, epoch: str, exchange_order_id: str
) -> None:
    await doubts.keep_orphans(VENUE, "1", shown(a="E-1"))

    assert await doubts.keep_orphans(venue, epoch, shown(a=exchange_order_id)) == ["a"]
    assert len((await database.contents())["orphans"]) == 2


async def test_bad_orphan_leaves_nothing_of_its_batch(database: DatabaseSubject, doubts: Doubts) -> None:
    with pytest.raises(StatementFailed):
        await doubts.keep_orphans(VENUE, "1", {"a": ShownOrder("E-1"), "b\x00": ShownOrder("E-2")})
    with pytest.raises(StatementFailed):
        await doubts.keep_observations({"a": "E-1", "b": "E-\x00"})

    assert not any((await database.contents()).values())


async def test_what_an_orphan_is_is_filled_in_once_it_is_shown(doubts: Doubts) -> None:
    known = ShownOrder("E-1", "AAPL12345678", "buy", 70_000)
    await doubts.keep_orphans(VENUE, "1", shown(a="E-1"))

    assert await doubts.keep_orphans(VENUE, "1", {"a": known}) == []
    assert await doubts.keep_orphans(VENUE, "1", shown(a="E-1")) == []
    assert await doubts.keep_orphans(VENUE, "1", {"a": ShownOrder("E-1", "OTHER1234567", "sell", 1)}) == []

    [orphan] = await doubts.orphans(limit=10)
    assert (orphan.instrument, orphan.side, orphan.quantity) == ("AAPL12345678", "buy", 70_000)


async def test_orphan_is_closed_once_with_who_said_why(database: DatabaseSubject, doubts: Doubts) -> None:
    await doubts.keep_orphans(VENUE, "1", shown(a="E-1", b="E-2"))
    [first, second] = await doubts.orphans(limit=10)
    assert (await doubts.counts()).open_orphans == 2

    assert await doubts.close_orphan(first.id, operator=ADA, evidence="booked by hand")
    assert not await doubts.close_orphan(first.id, operator=ADA, evidence="again")
    assert not await doubts.close_orphan(2**40, operator=ADA, evidence="no such orphan")

    assert await doubts.orphans(limit=10) == [second]
    assert (await doubts.counts()).open_orphans == 1
    closed = await doubts.orphan(first.id)
    assert closed is not None and closed.closed_at is not None
    assert (closed.closed_by, closed.evidence) == ("ada", "booked by hand")
    assert await doubts.orphans(limit=10, is_open=False) == [closed, second]
    assert await doubts.orphans(limit=1, is_open=False) == [closed]
    [action] = await database.actions()
    assert (action["action"], action["subject"], action["reason"]) == ("close_orphan", str(first.id), "booked by hand")
    assert action["before"] == {"venue": VENUE, "client_order_id": "a", "exchange_order_id": "E-1"}


async def test_orphan_that_is_closed_stays_closed_when_it_is_shown_again(doubts: Doubts) -> None:
    await doubts.keep_orphans(VENUE, "1", shown(a="E-1"))
    [orphan] = await doubts.orphans(limit=10)
    await doubts.close_orphan(orphan.id, operator=ADA, evidence="ours")

    assert await doubts.keep_orphans(VENUE, "1", {"a": ShownOrder("E-1", "AAPL12345678", "buy", 1)}) == []
    assert await doubts.orphans(limit=10) == []
    assert await doubts.orphan(orphan.id + 1000) is None


async def test_one_of_many_closes_an_orphan(database: DatabaseSubject, doubts: Doubts) -> None:
    await doubts.keep_orphans(VENUE, "1", shown(a="E-1"))
    [orphan] = await doubts.orphans(limit=10)

    closed = await database.together(
        *(doubts.close_orphan(orphan.id, operator=ADA, evidence=f"{n}") for n in range(RACERS))
    )

    assert sorted(closed) == [False] * (RACERS - 1) + [True]
    assert len(await database.actions()) == 1
