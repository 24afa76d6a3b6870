"""Every way of an order in doubt, with the rows that it leaves: real PostgreSQL, and an exchange and time that move."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordertrail.domain.order import Order, Side
from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.domain.venue_answer import CancelAnswer, NoAnswer
from ordertrail.placement.place_order import Failed, Repeated
from ordertrail.runtime import failpoints
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.doubt_rows import AnsweredSend, ClaimedSend, Lease, Verdict, WantedSend
from ordertrail.storage.order_rows import NewTrailRow, SpooledTrail
from simulated_exchange.capabilities import PROFILES, Profile
from tests.support.reconciling import (
    AFTER_PLACE_BY,
    REVIEW,
    Installation,
    installation,
    limit_order,
    market_order,
    replica,
)
from tests.support.switch import turn

INITIATED = ("INITIATED", None)
UNKNOWN_TIMEOUT = ("EXCHANGE_OUTCOME_UNKNOWN", "unknown:timeout")
UNKNOWN_ERROR = ("EXCHANGE_OUTCOME_UNKNOWN", "unknown:http_500")
NOT_SENT = ("EXCHANGE_CREATION_FAILED", "not_sent:closed")
VERIFIED = ("COMPLETED", "verified")
RESENT = ("COMPLETED", "resent")
EVERY_PROFILE = [*PROFILES]


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _disarmed() -> Any:
    yield
    failpoints.disarm()


async def in_doubt(house: Installation, place: str, order: Order | None = None) -> Order:
    """An order of which the exchange said nothing that proves anything, not even when asked at once."""
    order = order or limit_order()
    house.fail(place, no_answer=True)
    assert isinstance(await house.place(order), Failed)
    house.fail()
    return order


async def crash_at(house: Installation, point: str, order: Order) -> None:
    """The process that places the order dies there: nothing of it happens after."""

    def die() -> None:
        raise asyncio.CancelledError

    failpoints.arm(point, die)
    with pytest.raises(asyncio.CancelledError):
        await house.place(order)
    failpoints.disarm()


# Found


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("lost", "unknown:timeout"),
        ("error_after", "unknown:http_500"),
        ("garbage", "unknown:unreadable"),
        ("reset", "unknown:connection_lost"),
    ],
)
async def test_swallowed_answer_is_found_out(house: Installation, place: str, reason: str) -> None:
    order = await in_doubt(house, place)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, ("EXCHANGE_OUTCOME_UNKNOWN", reason), VERIFIED]
    assert len(house.at_exchange(order)) == 1
    assert await house.is_settled(order.id)


async def test_what_has_been_executed_since_is_written_too(house: Installation) -> None:
    order = await in_doubt(house, "lost")
    await house.place(limit_order(side=Side.SELL, quantity=4))
    partly = await house.due()
    other = await in_doubt(house, "lost")
    await house.place(limit_order(side=Side.SELL, quantity=16))

    await house.due()

    assert partly.completed == 1
    assert await house.rows(order.id) == [INITIATED, UNKNOWN_TIMEOUT, VERIFIED, ("PARTIALLY_FILLED", "verified")]
    assert await house.rows(other.id) == [INITIATED, UNKNOWN_TIMEOUT, VERIFIED, ("FILLED", "verified")]


async def test_row_alone_is_found_by_its_batch(house: Installation) -> None:
    order = limit_order()
    await crash_at(house, "after_send", order)

    before = await house.reconcile()
    await house.pass_time(REVIEW)
    await house.reconcile()

    assert before.reviewed == 0
    assert await house.rows(order.id) == [INITIATED, VERIFIED]
    assert await house.connection.fetchval("SELECT count(*) FROM order_batches") == 0


async def test_row_alone_that_was_never_sent_is_sent(house: Installation) -> None:
    order = limit_order()
    await crash_at(house, "after_initiated", order)
    await house.pass_time(REVIEW)

    await house.reconcile()

    assert await house.rows(order.id) == [INITIATED, RESENT]
    assert await house.attempts(order.id) == [(2, "accepted", "accepted")]


async def test_placed_order_whose_row_failed_is_completed(house: Installation) -> None:
    order = limit_order()
    await crash_at(house, "before_completed", order)
    await house.service.journal.step(
        NewTrailRow(order.id, OrderStatus.DATABASE_PERSISTENCE_FAILED, "accepted", house.at_exchange(order)[0])
    )

    await house.due()

    assert await house.rows(order.id) == [INITIATED, ("DATABASE_PERSISTENCE_FAILED", "accepted"), VERIFIED]


async def test_found_rejected_is_not_placed(house: Installation) -> None:
    order = limit_order()
    await crash_at(house, "before_send", order)
    house.fail("refuse")
    await house.service.venue.place(order, send_by=float("inf"), timeout_seconds=5, accept_by=None)
    await house.pass_time(REVIEW)

    await house.reconcile()

    assert await house.rows(order.id) == [INITIATED, ("NOT_PLACED", "proved:refused:refused_on_purpose")]
    assert await house.outcome(order.id) == "not_placed"


async def test_found_but_different_is_for_a_person(house: Installation) -> None:
    order = limit_order()
    await crash_at(house, "before_send", order)
    house.arrives(replace(order, quantity=11))
    await house.pass_time(REVIEW)

    first = await house.reconcile()
    second = await house.due()

    assert await house.rows(order.id) == [INITIATED, ("UNRESOLVED", "differs_at_exchange")]
    assert (first.unresolved, second.unresolved) == (1, 0)
    assert not await house.is_settled(order.id)


# Absent


async def test_absent_order_is_resent_once_absence_counts(house: Installation) -> None:
    order = await in_doubt(house, "error_before")

    too_soon = await house.due()
    await house.pass_time(REVIEW)
    await house.due()

    assert too_soon.observations == [(order.id, "absence does not count yet")]
    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, RESENT]
    assert len(house.at_exchange(order)) == 1


@pytest.mark.parametrize(
    ("profile", "rows"),
    [
        ("durable", [("NOT_PLACED", "proved:absent")]),
        ("while_open", [("NOT_PLACED", "proved:absent")]),
        ("ten_minutes", [("NOT_PLACED", "proved:absent")]),
        ("open_only", [("UNRESOLVED", "absence_cannot_be_proved")]),
        ("promises_nothing", [("UNRESOLVED", "absence_cannot_be_proved")]),
        (Profile(honours_accept_by=False), [("NOT_PLACED", "presumed:absent")]),
    ],
)
async def test_absent_until_place_by(
    database_url: str, tmp_path: Path, profile: Profile | str, rows: list[tuple[str, str]]
) -> None:
    async with installation(database_url, tmp_path, profile) as house:
        order = await in_doubt(house, "error_before")
        await house.pass_time(AFTER_PLACE_BY)

        await house.due()

        assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, *rows]
        assert house.at_exchange(order) == []


@pytest.mark.parametrize("unique", ["while_open", "never", 30.0])
async def test_absent_order_is_not_resent_where_nothing_protects_it(
    database_url: str, tmp_path: Path, unique: Any
) -> None:
    profile = Profile(client_order_id_unique=unique, honours_accept_by=False)
    async with installation(database_url, tmp_path, profile) as house:
        order = await in_doubt(house, "error_before")
        await house.pass_time(REVIEW)

        await house.due()

        assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, ("NOT_PLACED", "presumed:absent")]
        assert await house.attempts(order.id) == []


@pytest.mark.parametrize("profile", EVERY_PROFILE)
async def test_never_sent_order_is_sent_by_every_profile(database_url: str, tmp_path: Path, profile: str) -> None:
    async with installation(database_url, tmp_path, profile) as house:
        house.fail("closed")
        order = limit_order()
        await house.place(order)
        house.fail()

        await house.due()

        assert await house.rows(order.id) == [INITIATED, NOT_SENT, RESENT]


@pytest.mark.parametrize("profile", EVERY_PROFILE)
async def test_nothing_doubles_whatever_is_swallowed(database_url: str, tmp_path: Path, profile: str) -> None:
    async with installation(database_url, tmp_path, profile) as house:
        orders = [await in_doubt(house, place) for place in ("lost", "error_before", "reset", "garbage")]
        for _ in range(4):
            house.fail("lost")
            await house.pass_time(REVIEW)
            await house.due()
        house.fail()
        await house.due()

        for order in orders:
            assert len(house.at_exchange(order)) <= 1
            placed = bool(house.at_exchange(order))
            assert (await house.outcome(order.id) == "placed") == placed


async def test_never_sent_order_is_not_placed_after_place_by_without_a_question(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail(no_answer=True)
    await house.pass_time(AFTER_PLACE_BY)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, NOT_SENT, ("NOT_PLACED", "proved:not_sent:closed")]


async def test_no_answer_changes_nothing_however_often(house: Installation) -> None:
    order = await in_doubt(house, "error_before")
    house.fail(no_answer=True)
    await house.pass_time(AFTER_PLACE_BY)

    for _ in range(20):
        await house.due()

    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR]
    assert await house.outcome(order.id) == "unknown"
    assert (await house.service.doubts.counts()).count == 1


async def test_refused_order_is_settled_and_never_sent(house: Installation) -> None:
    house.fail("refuse")
    order = limit_order()
    await house.place(order)
    house.fail()

    await house.due()

    refused = ("EXCHANGE_CREATION_FAILED", "refused:refused_on_purpose")
    assert await house.rows(order.id) == [INITIATED, refused]
    assert await house.attempts(order.id) == []


async def test_refused_resend_is_final(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail("refuse")
    await house.due()
    house.fail()

    await house.due()

    assert await house.rows(order.id) == [
        INITIATED,
        NOT_SENT,
        ("NOT_PLACED", "proved:refused:refused_on_purpose"),
    ]
    assert await house.attempts(order.id) == [(2, "refused", "refused:refused_on_purpose")]


async def test_resend_refused_while_the_first_was_accepted_is_completed(house: Installation) -> None:
    order = await in_doubt(house, "error_before")
    await house.pass_time(REVIEW)
    house.arrives(order)  # after it was asked for, before it is sent again
    house.exchange.set_capabilities(Profile())

    def arrive() -> None:
        house.fail("refuse")

    failpoints.arm("after_claim", arrive)
    house.exchange.orders.newest_by_id.pop(order.id)
    leases = house.exchange.orders.newest_by_id
    await house.due()

    assert await house.attempts(order.id) == [(2, "refused", "refused:refused_on_purpose")]
    accepted = house.exchange.orders.open[house.at_exchange(order)[0]]
    leases[order.id] = accepted
    await house.due()
    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, VERIFIED]


async def test_order_that_was_not_recorded_is_never_sent(house: Installation) -> None:
    order = limit_order()
    await crash_at(house, "after_initiated", order)
    await house.service.journal.never_sent(order)
    await house.pass_time(REVIEW)

    await house.reconcile()

    assert await house.rows(order.id) == [INITIATED, ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded")]
    assert house.at_exchange(order) == []
    assert await house.outcome(order.id) == "not_placed"


@pytest.mark.parametrize("has_place_by", [False, True])
async def test_market_order_is_sent_again_only_with_a_place_by(house: Installation, has_place_by: bool) -> None:
    place_by = datetime.now(UTC) + timedelta(seconds=60) if has_place_by else None
    order = await in_doubt(house, "error_before", market_order(place_by=place_by))
    await house.pass_time(REVIEW)

    await house.due()

    last = [RESENT] if has_place_by else [("NOT_PLACED", "proved:absent")]
    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, *last]


async def test_without_a_retry_window_only_the_first_send_is_made(database_url: str, tmp_path: Path) -> None:
    async with installation(database_url, tmp_path, retry_window_seconds=0) as house:
        house.fail("closed")
        order = limit_order()
        await house.place(order)
        house.fail()

        await house.due()

        assert await house.rows(order.id) == [INITIATED, NOT_SENT]
        assert await house.outcome(order.id) == "not_placed"


async def test_place_by_that_passes_before_the_claim_forbids_the_resend(house: Installation) -> None:
    house.fail("closed")
    order = limit_order(place_by=datetime.now(UTC) + timedelta(seconds=60))
    await house.place(order)
    house.fail()
    lease = await _take(house)
    await house.pass_time(61)

    assert await claim_of(house, lease) is None
    await house.connection.execute("UPDATE doubts SET leased_until = NULL")
    await house.due()
    assert await house.rows(order.id) == [INITIATED, NOT_SENT, ("NOT_PLACED", "proved:not_sent:closed")]


async def test_place_by_bounds_a_resend_that_is_under_way(house: Installation) -> None:
    house.fail("closed")
    order = limit_order(place_by=datetime.now(UTC) + timedelta(seconds=3))
    await house.place(order)
    lease = await _take(house)

    claim = await claim_of(house, lease)

    assert claim is not None
    assert order.place_by is not None and claim.send_by <= order.place_by
    assert claim.seconds_left < 3


async def test_resend_starts_inside_the_time_for_which_the_id_is_unique(house: Installation) -> None:
    await in_doubt(house, "error_before")
    lease = await _take(house)
    soon = datetime.now(UTC) + timedelta(seconds=2)

    late = await claim_of(house, lease, soon - timedelta(seconds=4))
    claim = await claim_of(house, lease, soon)

    assert late is None
    assert claim is not None and claim.send_by == soon


# Crashes, fences, two at once


async def claim_of(house: Installation, lease: Lease, send_by_max: datetime | None = None) -> ClaimedSend | None:
    wanted = [WantedSend(lease, send_by_max)]
    (claim,) = await house.service.doubts.claim_sends(wanted, claimed_by="t", send_seconds=5, answer_seconds=0.25)
    return claim


async def _take(house: Installation) -> Any:
    await house.connection.execute("UPDATE doubts SET next_at = clock_timestamp()")
    (lease,) = await house.service.doubts.lease(doubts_max=1, lease_seconds=60)
    return lease


async def test_claim_without_an_answer_is_in_doubt_and_counts(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail()
    assert await claim_of(house, await _take(house)) is not None
    assert await house.outcome(order.id) == "unknown"
    await house.connection.execute("UPDATE doubts SET leased_until = NULL")

    waiting = await house.due()
    await house.pass_time(REVIEW)
    await house.due()

    assert waiting.observations == [(order.id, "absence does not count yet")]
    assert await house.rows(order.id) == [INITIATED, NOT_SENT, RESENT]
    assert await house.attempts(order.id) == [(2, None, None), (3, "accepted", "accepted")]


async def test_accepted_resend_without_its_row_is_never_not_placed(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail()
    claim = await claim_of(house, await _take(house))
    assert claim is not None
    house.arrives(order)
    answered = AnsweredSend(order.id, claim.number, SendAnswer.ACCEPTED, "accepted", "x")
    await house.service.doubts.record_answers([answered])
    await house.pass_time(AFTER_PLACE_BY)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, NOT_SENT, VERIFIED]


async def test_whoever_lost_the_order_changes_nothing(house: Installation) -> None:
    order = await in_doubt(house, "lost")
    old = await _take(house)
    await house.connection.execute("UPDATE doubts SET leased_until = NULL")
    new = await _take(house)
    row = TrailRow(OrderStatus.NOT_PLACED, "presumed:absent")

    applied = await house.service.doubts.apply([Verdict(old, (row,), True, 0, "late")])

    assert applied == [False]
    assert await claim_of(house, old) is None
    assert await house.rows(order.id) == [INITIATED, UNKNOWN_TIMEOUT]
    assert await house.service.doubts.apply([Verdict(new, (), True, 0, "x")]) == [True]


async def test_two_replicas_at_once_send_once(house: Installation, database_url: str, tmp_path: Path) -> None:
    house.fail("closed")
    orders = [limit_order() for _ in range(60)]
    await asyncio.gather(*(house.place(order) for order in orders))
    house.fail()
    await house.connection.execute("UPDATE doubts SET next_at = clock_timestamp()")
    async with replica(database_url, tmp_path, house.service.venue) as other:
        one, two = await asyncio.gather(house.service.schedule.run_once(), other.schedule.run_once())

    assert one.resent + two.resent == 60
    for order in orders:
        assert (await house.rows(order.id))[2:] == [RESENT]
        assert len(house.at_exchange(order)) == 1


async def test_one_unreadable_order_stops_no_other(house: Installation) -> None:
    poison, good = await in_doubt(house, "lost"), await in_doubt(house, "lost")
    async with house.history_can_change():
        await house.connection.execute("UPDATE orders SET side = 'sideways' WHERE id = $1", poison.id)

    counts = await house.due()

    assert counts.errors == 1
    assert await house.rows(good.id) == [INITIATED, UNKNOWN_TIMEOUT, VERIFIED]
    (view,) = await house.service.doubts.oldest(limit=10)
    assert view.order_id == poison.id
    assert "sideways" in (view.last_observation or "")


# Backing off


async def test_venue_that_answers_again_resets_every_pause(house: Installation) -> None:
    orders = [await in_doubt(house, "lost") for _ in range(3)]
    house.fail(no_answer=True)
    for _ in range(6):
        await house.due()
    house.fail()
    await house.connection.execute("UPDATE doubts SET next_at = clock_timestamp() WHERE order_id = $1", orders[0].id)

    await house.reconcile()
    await house.reconcile()

    for order in orders:
        assert (await house.rows(order.id))[-1] == VERIFIED


async def test_retry_after_is_waited_for(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail("throttle")

    await house.due()

    seconds = await house.connection.fetchval(
        "SELECT extract(epoch FROM next_at - clock_timestamp())::float8 FROM doubts WHERE order_id = $1", order.id
    )
    assert 0.8 < seconds <= 1


async def test_halted_nothing_is_sent_again_and_querying_goes_on(house: Installation) -> None:
    never_sent, swallowed = limit_order(), await in_doubt(house, "lost")
    house.fail("closed")
    await house.place(never_sent)
    house.fail()
    await turn(house.service.settings.database_url.get_secret_value(), halted=True)
    await house.due()
    assert await house.rows(never_sent.id) == [INITIATED, NOT_SENT]
    assert (await house.rows(swallowed.id))[-1] == VERIFIED

    await turn(house.service.settings.database_url.get_secret_value(), halted=False)
    await house.due()
    assert await house.rows(never_sent.id) == [INITIATED, NOT_SENT, RESENT]


# Cancelling


async def cancel(house: Installation, order: Order) -> None:
    assert await house.service.doubts.request_cancel(order.id)


async def test_cancel_of_a_placed_order(house: Installation) -> None:
    order = limit_order()
    await house.place(order)
    await cancel(house, order)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, ("COMPLETED", None), ("CANCELED", "verified")]
    assert await house.is_settled(order.id)


async def test_cancel_of_an_never_sent_order_settles_it(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail()
    await cancel(house, order)
    assert await house.outcome(order.id) == "not_placed"

    await house.due()

    assert await house.rows(order.id) == [INITIATED, NOT_SENT, ("NOT_PLACED", "proved:not_sent:closed")]


async def test_cancel_of_an_order_that_may_have_arrived(house: Installation) -> None:
    order = await in_doubt(house, "lost")
    await cancel(house, order)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, UNKNOWN_TIMEOUT, VERIFIED, ("CANCELED", "verified")]


async def test_cancel_of_an_order_that_is_being_placed(house: Installation) -> None:
    order = limit_order()
    pending: list[asyncio.Task[bool]] = []
    failpoints.arm(
        "after_initiated", lambda: pending.append(asyncio.create_task(house.service.doubts.request_cancel(order.id)))
    )
    await house.place(order)
    await asyncio.gather(*pending)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, ("COMPLETED", None), ("CANCELED", "verified")]


async def test_cancel_is_repeated_until_the_exchange_takes_it(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = limit_order()
    await house.place(order)
    await cancel(house, order)

    async def no_answer(order_id: str, *, timeout_seconds: float) -> CancelAnswer:
        return NoAnswer("timeout")

    with monkeypatch.context() as patch:
        patch.setattr(house.service.venue, "cancel", no_answer)
        for _ in range(3):
            await house.due()
        assert not await house.is_settled(order.id)
    await house.due()

    assert (await house.rows(order.id))[-1] == ("CANCELED", "verified")


async def test_cancel_before_the_claim_forbids_the_resend(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail()
    lease = await _take(house)
    await cancel(house, order)

    assert await claim_of(house, lease) is None
    await house.due()
    assert house.at_exchange(order) == []


async def test_cancel_after_the_claim_waits_for_the_send_and_cancels_it(house: Installation) -> None:
    house.fail("closed")
    order = limit_order()
    await house.place(order)
    house.fail()
    pending: list[asyncio.Task[bool]] = []
    failpoints.arm(
        "after_claim", lambda: pending.append(asyncio.create_task(house.service.doubts.request_cancel(order.id)))
    )
    await house.due()
    await asyncio.gather(*pending)
    failpoints.disarm()

    await house.due()

    assert await house.rows(order.id) == [INITIATED, NOT_SENT, RESENT, ("CANCELED", "verified")]
    assert len(house.at_exchange(order)) == 1


async def test_many_cancels_race_many_resends(house: Installation) -> None:
    house.fail("closed")
    orders = [limit_order() for _ in range(40)]
    await asyncio.gather(*(house.place(order) for order in orders))
    house.fail()
    await house.connection.execute("UPDATE doubts SET next_at = clock_timestamp()")

    await asyncio.gather(house.reconcile(), *(cancel(house, order) for order in orders))
    for _ in range(2):
        await house.pass_time(REVIEW)
        await house.due()

    for order in orders:
        last, _ = (await house.rows(order.id))[-1]
        assert last == ("CANCELED" if house.at_exchange(order) else "NOT_PLACED")


async def test_repeated_cancel_does_not_keep_the_reconciler_from_its_work(house: Installation) -> None:
    order = await in_doubt(house, "lost")
    await cancel(house, order)
    lease = await _take(house)
    await cancel(house, order)

    fence = await house.connection.fetchval("SELECT fence FROM doubts WHERE order_id = $1", order.id)

    assert fence == lease.fence


# Repeated POSTs


async def test_repeated_request_races_the_reconciler_and_sends_nothing(house: Installation) -> None:
    order = await in_doubt(house, "error_before", limit_order(client_order_id="k-1"))
    await house.pass_time(REVIEW)
    await house.connection.execute("UPDATE doubts SET next_at = clock_timestamp()")
    again = [replace(order, id=limit_order().id) for _ in range(20)]

    _, *repeated = await asyncio.gather(house.reconcile(), *(house.place(each) for each in again))

    assert all(isinstance(each, Repeated) and each.order_id == order.id for each in repeated)
    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, RESENT]
    assert len(house.exchange.executions(0, 100).executions) == 1


# Late arrivals, replays


def late_arrivals() -> float:
    value = metrics.LATE_ARRIVALS._value.get()
    assert isinstance(value, float)
    return value


async def presumed_not_placed(house: Installation) -> Order:
    order = await in_doubt(house, "error_before")
    await house.pass_time(AFTER_PLACE_BY)
    await house.due()
    assert (await house.rows(order.id))[-1] == ("NOT_PLACED", "presumed:absent")
    return order


async def test_late_arrival_wins_and_raises_an_alert(database_url: str, tmp_path: Path) -> None:
    profile = Profile(client_order_id_unique="never", honours_accept_by=False)
    async with installation(database_url, tmp_path, profile) as house:
        order = await presumed_not_placed(house)
        before = late_arrivals()
        house.arrives(order)

        await house.due()
        await house.due()
        await house.due()

        assert await house.rows(order.id) == [
            INITIATED,
            UNKNOWN_ERROR,
            ("NOT_PLACED", "presumed:absent"),
            VERIFIED,
        ]
        assert await house.outcome(order.id) == "placed"
        assert late_arrivals() == before + 1


async def test_late_arrival_that_the_exchange_does_not_show_yet_is_not_forgotten(
    database_url: str, tmp_path: Path
) -> None:
    profile = Profile(honours_accept_by=False, visible_within_seconds=30.0)
    async with installation(database_url, tmp_path, profile) as house:
        order = await presumed_not_placed(house)
        house.arrives(order)
        house.exchange.orders.newest_by_id.pop(order.id)

        await house.due()
        await house.due()

        assert (await house.rows(order.id))[-1] == ("COMPLETED", "execution")


async def test_late_arrival_voids_what_a_reconciler_is_about_to_apply(database_url: str, tmp_path: Path) -> None:
    async with installation(database_url, tmp_path) as house:
        order = await in_doubt(house, "error_before")
        lease = await _take(house)
        house.arrives(order)
        await house.service.schedule._sweep.run_once()
        row = TrailRow(OrderStatus.NOT_PLACED, "proved:absent")

        assert await house.service.doubts.apply([Verdict(lease, (row,), True, 0, "")]) == [False]
        await house.due()
        assert (await house.rows(order.id))[-1] == VERIFIED


async def test_filled_order_is_known_by_its_executions_where_only_open_ones_can_be_queried(
    database_url: str, tmp_path: Path
) -> None:
    async with installation(database_url, tmp_path, "open_only") as house:
        await house.place(limit_order(side=Side.SELL))
        order = await in_doubt(house, "lost")
        await house.pass_time(REVIEW)

        await house.due()
        await house.due()

        assert (await house.rows(order.id))[-1] == ("COMPLETED", "execution")
        assert await house.outcome(order.id) == "placed"


async def test_canceled_order_is_let_go_of_where_only_open_ones_can_be_queried(
    database_url: str, tmp_path: Path
) -> None:
    async with installation(database_url, tmp_path, "open_only") as house:
        order = limit_order()
        await house.place(order)
        await cancel(house, order)

        await house.due()

        assert house.exchange.orders.newest_by_id[order.id].ord_status == "canceled"
        assert await house.rows(order.id) == [INITIATED, ("COMPLETED", None)]
        assert await house.is_settled(order.id)


async def test_replay_after_settling_changes_nothing_that_is_true(house: Installation) -> None:
    order = await in_doubt(house, "lost")
    await house.due()
    rows = (TrailRow(OrderStatus.INITIATED), TrailRow(OrderStatus.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout"))
    await house.service.rows.replay([SpooledTrail(order, rows)])

    await house.due()

    assert await house.rows(order.id) == [INITIATED, UNKNOWN_TIMEOUT, VERIFIED]


async def test_replayed_acceptance_after_not_placed_is_queried(house: Installation) -> None:
    order = await in_doubt(house, "error_before")
    await house.pass_time(AFTER_PLACE_BY)
    await house.due()
    house.arrives(order)
    rows = (
        TrailRow(OrderStatus.INITIATED),
        TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "accepted", house.at_exchange(order)[0]),
    )
    await house.service.rows.replay([SpooledTrail(order, rows)])

    await house.due()

    assert (await house.rows(order.id))[-1] == VERIFIED


async def test_replayed_refusal_voids_a_claim_that_is_about_to_be_made(house: Installation) -> None:
    order = limit_order()
    await crash_at(house, "after_initiated", order)
    await house.service.doubts.reopen([order.id])
    lease = await _take(house)
    rows = (
        TrailRow(OrderStatus.INITIATED),
        TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "not_sent:not_recorded"),
    )
    await house.service.rows.replay([SpooledTrail(order, rows)])

    assert await claim_of(house, lease) is None
    await house.pass_time(REVIEW)
    await house.due()
    assert await house.attempts(order.id) == []


async def test_replayed_trail_of_an_unknown_order_is_verified(house: Installation) -> None:
    order = limit_order()
    rows = (TrailRow(OrderStatus.INITIATED), TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "unknown:timeout"))
    house.arrives(order)
    await house.service.rows.replay([SpooledTrail(order, rows)])

    await house.reconcile()

    assert await house.rows(order.id) == [INITIATED, ("DATABASE_PERSISTENCE_FAILED", "unknown:timeout"), VERIFIED]


async def test_venue_that_has_forgotten_proves_nothing(house: Installation) -> None:
    await house.reconcile()
    order = await in_doubt(house, "error_before")
    house.exchange.executions_log.epoch = "another"
    await house.pass_time(REVIEW)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, ("UNRESOLVED", "exchange_forgot")]
    assert await house.attempts(order.id) == []


# The whole story


async def test_exchange_that_comes_back_heals_everything(house: Installation) -> None:
    house.fail("closed", no_answer=True)
    orders = [limit_order() for _ in range(10)]
    for order in orders:
        placement = await house.place(order)
        assert isinstance(placement, Failed)
        assert placement.outcome == "pending"
    for _ in range(3):
        await house.due()
    house.fail()

    await house.due()
    await house.due()

    for order in orders:
        assert await house.rows(order.id) == [INITIATED, NOT_SENT, RESENT]
        assert len(house.at_exchange(order)) == 1
    assert (await house.service.doubts.counts()).count == 0
