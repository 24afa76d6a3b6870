"""Orders of which the exchange's reports come before, beside and after everything else: what they come to, and cancels.

Reports are brought by hand, so that each comes at its moment; PostgreSQL and the exchange are real.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ordertrail.api.place_responses import PlaceResponses
from ordertrail.api.problems import ProblemError
from ordertrail.domain.order import Order, Side
from ordertrail.domain.trail import OrderStatus
from ordertrail.placement.cancel_order import CancelRequested, NoSuchOrder, OrderIsOver
from ordertrail.placement.place_order import Failed, Placed, Repeated
from ordertrail.runtime import failpoints
from ordertrail.venues.simulated.translation import new_order
from simulated_exchange.faults import CancelWeights, Faults
from simulated_exchange.occurrences import Amendment, StrayTrade
from simulated_exchange.orders import Refusal
from tests.support.brought import VENUE, bring, reports_of
from tests.support.reconciling import AFTER_PLACE_BY, REVIEW, Installation, installation, limit_order

INITIATED = ("INITIATED", None)
PLAIN, EXECUTION = ("COMPLETED", None), ("COMPLETED", "execution")
FILLED, CANCELED, PARTIALLY = ((status, "execution") for status in ("FILLED", "CANCELED", "PARTIALLY_FILLED"))
UNKNOWN_ERROR = ("EXCHANGE_OUTCOME_UNKNOWN", "unknown:http_500")


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(database_url, tmp_path) as opened:
        yield opened
    failpoints.disarm()


async def feed_runs(house: Installation) -> None:
    """A feed owns the venue for the time of a test."""
    assert await house.service.executions.lease_feed(VENUE, holder="feed-1", lease_seconds=600) is not None


async def left_in_doubt(house: Installation, order: Order | None = None, *, place: str = "error_after") -> Order:
    """An order that the exchange may have, of which its request learned nothing."""
    order = order or limit_order()
    house.fail(place, no_answer=True)
    assert isinstance(await house.place(order), Failed)
    house.fail()
    return order


async def filled_by_another(house: Installation, order: Order, quantity: int = 10) -> None:
    await house.place(replace(limit_order(), side=Side.SELL, instrument=order.instrument, quantity=quantity))


def silent(house: Installation) -> None:
    """From now on the exchange answers no query."""
    house.fail(no_answer=True)


async def is_waiting(house: Installation, order: Order) -> bool:
    """Whether it is in doubt, and due after a pause."""
    return bool(
        await house.connection.fetchval(
            "SELECT settled_at IS NULL AND next_at > clock_timestamp() FROM doubts WHERE order_id = $1", order.id
        )
    )


def exchange_says(house: Installation, order: Order) -> str:
    shown = house.exchange.query(order.id)
    assert shown is not None
    return shown.ord_status


async def answer_to_repeat(house: Installation, order: Order) -> int:
    """The HTTP status of the same request again."""
    responses = PlaceResponses(seconds_after_send_by=3, place_by_of=lambda order, _: order.place_by)
    repeated = await house.place(replace(order, id="another"))
    assert isinstance(repeated, Repeated)
    try:
        return responses.to(order, repeated, "trace").status
    except ProblemError as problem:
        return problem.status


# Reports that come early


async def test_report_before_completed_settles_the_order_without_a_query(house: Installation) -> None:
    order = await left_in_doubt(house, limit_order(client_order_id="key-1"))
    await filled_by_another(house, order)
    await bring(house)
    before = await answer_to_repeat(house, order)
    silent(house)

    report = await house.due()

    assert before == 409
    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, EXECUTION, FILLED]
    assert await house.is_settled(order.id)
    assert report.answered == report.unanswered == 0
    assert await answer_to_repeat(house, order) == 201


async def test_order_whose_request_died_is_completed_by_its_reports(house: Installation) -> None:
    order = limit_order(client_order_id="key-1")

    def die() -> None:
        raise KeyboardInterrupt

    failpoints.arm("before_completed", die)
    with pytest.raises(KeyboardInterrupt):
        await house.place(order)
    failpoints.disarm()
    await filled_by_another(house, order)
    await bring(house)
    assert await house.rows(order.id) == [INITIATED, FILLED]
    silent(house)

    await house.due()

    assert await house.rows(order.id) == [INITIATED, EXECUTION, FILLED]
    assert await answer_to_repeat(house, order) == 201


async def test_report_does_not_hold_up_the_request_under_way(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = limit_order()
    completed = house.service.journal.completed

    async def after_the_report(order_id: str, exchange_order_id: str) -> None:
        if order_id == order.id:
            await bring(house)
        await completed(order_id, exchange_order_id)

    monkeypatch.setattr(house.service.journal, "completed", after_the_report)

    assert isinstance(await house.place(order), Placed)
    await house.due()

    assert await house.rows(order.id) == [INITIATED, PLAIN]
    assert await house.connection.fetchval("SELECT count(*) FROM doubts") == 0


async def test_fill_before_initiated_is_visible_is_kept_and_applied_once_it_is(house: Installation) -> None:
    order = limit_order()
    house.arrives(order)
    await filled_by_another(house, order)
    applied = await bring(house, *await reports_of(house, order.id))
    assert (applied.inserted, applied.parked) == (0, 2)
    await house.service.rows.insert_initiated([order])
    await house.connection.execute("UPDATE parked_retries SET due_at = clock_timestamp()")

    retried = await house.service.executions.retry_parked(VENUE, limit=10)
    silent(house)
    await house.due()

    assert (retried.applied, retried.orphaned) == (2, ())
    assert await house.rows(order.id) == [INITIATED, EXECUTION, FILLED]


async def test_late_arrival_is_placed_and_its_cancel_is_taken_up_again(house: Installation) -> None:
    order = await left_in_doubt(house, place="error_before")
    await house.service.canceling.request(order.id)
    await house.pass_time(AFTER_PLACE_BY)
    await house.due()
    assert (await house.rows(order.id))[-1][0] == "NOT_PLACED"
    house.arrives(order)

    applied = await bring(house)
    await house.due()

    assert applied.late == (order.id,)
    assert [status for status, _ in await house.rows(order.id)][-2:] == ["COMPLETED", "CANCELED"]
    assert exchange_says(house, order) == "canceled"


# Refusals


@pytest.mark.parametrize("is_before_the_answer", [False, True])
async def test_refusal_that_is_reported_stays_one(
    house: Installation, monkeypatch: pytest.MonkeyPatch, is_before_the_answer: bool
) -> None:
    order = limit_order(client_order_id="key-1", instrument="FAULTREFUSE0")
    step = house.service.journal.step

    async def after_the_report(row: Any) -> None:
        await bring(house)
        await step(row)

    if is_before_the_answer:
        monkeypatch.setattr(house.service.journal, "step", after_the_report)

    failed = await house.place(order)
    await bring(house)
    await house.due()
    await house.pass_time(REVIEW)
    await house.due()

    assert isinstance(failed, Failed)
    assert [status for status, _ in await house.rows(order.id)] == ["INITIATED", "EXCHANGE_CREATION_FAILED"]
    assert await house.outcome(order.id) == "not_placed"
    assert await answer_to_repeat(house, order) == 500


async def test_refusal_that_was_reported_makes_its_order_due_and_is_settled_by_a_query(house: Installation) -> None:
    order = await left_in_doubt(house, limit_order(client_order_id="key-1"), place="error_before")
    await house.reconcile()
    assert await is_waiting(house, order)
    house.exchange.place(new_order(order, None), Refusal("no_funds", "No funds."))
    await bring(house)

    await house.reconcile()

    assert await house.rows(order.id) == [INITIATED, UNKNOWN_ERROR, ("NOT_PLACED", "proved:refused:no_funds")]
    assert await answer_to_repeat(house, order) == 500


async def bring_refusal(house: Installation, order: Order, seq: int = 1, **changes: Any) -> None:
    """A report that the order was rejected, which the exchange never sent."""
    refused = {
        "seq": seq,
        "exec_id": f"refused-{seq}",
        "exec_type": "rejected",
        "ord_status": "rejected",
        "client_order_id": order.id,
        "exchange_order_id": None,
        "last_qty": 0,
        "last_px": None,
        "cum_qty": 0,
        "leaves_qty": 0,
        "avg_px": None,
        "reject_reason": "no_funds",
        "transact_time": "2026-11-27T12:00:00Z",
    }
    await bring(house, {**refused, **changes})


async def test_rejection_that_was_reported_before_completed_ends_the_order(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = limit_order()
    completed = house.service.journal.completed

    async def after_the_report(order_id: str, exchange_order_id: str) -> None:
        await bring_refusal(house, order)
        await completed(order_id, exchange_order_id)

    monkeypatch.setattr(house.service.journal, "completed", after_the_report)
    assert isinstance(await house.place(order), Placed)
    assert await house.rows(order.id) == [INITIATED, PLAIN]

    await house.due()

    assert await house.rows(order.id) == [INITIATED, PLAIN, ("REJECTED", "execution")]
    assert await house.is_settled(order.id)


# Cancels of live orders


async def live(house: Installation, **changes: Any) -> Order:
    """An order that is open, as its reports say."""
    order = limit_order(**changes)
    assert isinstance(await house.place(order), Placed)
    await bring(house)
    return order


async def test_live_order_is_canceled_and_ends_by_its_report(house: Installation) -> None:
    await feed_runs(house)
    order = await live(house)

    first = await house.service.canceling.request(order.id)
    report = await house.due()
    assert (report.canceled, report.answered, await is_waiting(house, order)) == (1, 0, True)
    await bring(house)
    again = await house.service.canceling.request(order.id)
    await house.reconcile()

    assert isinstance(first, CancelRequested)
    assert isinstance(again, CancelRequested)
    assert again.stored.status is OrderStatus.CANCELED
    assert await house.rows(order.id) == [INITIATED, PLAIN, CANCELED]
    assert await house.is_settled(order.id)


async def test_without_a_feed_a_query_says_how_a_canceled_order_ended(house: Installation) -> None:
    order = await live(house)

    await house.service.canceling.request(order.id)
    await house.due()

    assert await house.rows(order.id) == [INITIATED, PLAIN, ("CANCELED", "verified")]
    assert await house.is_settled(order.id)


@pytest.mark.parametrize("fault", ["late", "lost", "error_after", "refuse"])
async def test_cancel_is_repeated_until_the_order_is_over_and_never_in_haste(house: Installation, fault: str) -> None:
    await feed_runs(house)
    order = await live(house)
    house.exchange.set_faults(Faults(cancel=CancelWeights(**{fault: 1.0}), late_seconds=600))
    await house.service.canceling.request(order.id)

    for _ in range(5):
        await house.due()
        assert await is_waiting(house, order) or await house.is_settled(order.id)
    house.exchange.set_faults(Faults())
    await house.due()
    await bring(house)
    await house.due()

    assert exchange_says(house, order) == "canceled"
    assert (await house.rows(order.id))[-1][0] == "CANCELED"
    assert await house.is_settled(order.id)


async def test_fill_that_comes_before_the_cancel_wins(house: Installation) -> None:
    await feed_runs(house)
    order = await live(house)
    assert isinstance(await house.service.canceling.request(order.id), CancelRequested)
    await filled_by_another(house, order)
    await bring(house)

    report = await house.due()

    assert report.canceled == 0
    assert await house.service.canceling.request(order.id) == OrderIsOver(OrderStatus.FILLED)
    assert await house.rows(order.id) == [INITIATED, PLAIN, FILLED]
    assert await house.is_settled(order.id)


async def test_cancel_that_comes_too_late_waits_for_the_report_of_the_fill(house: Installation) -> None:
    await feed_runs(house)
    order = await live(house)
    await house.service.canceling.request(order.id)
    await filled_by_another(house, order)

    await house.due()
    assert await is_waiting(house, order)
    await bring(house)
    await house.reconcile()

    assert await house.rows(order.id) == [INITIATED, PLAIN, FILLED]
    assert await house.is_settled(order.id)


async def test_part_of_a_canceled_order_is_filled(house: Installation) -> None:
    await feed_runs(house)
    order = await live(house)
    await filled_by_another(house, order, 4)
    await house.service.canceling.request(order.id)
    await house.due()
    await bring(house)
    await house.reconcile()

    assert await house.rows(order.id) == [INITIATED, PLAIN, PARTIALLY, CANCELED]
    assert isinstance(await house.service.canceling.request(order.id), CancelRequested)


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_fill_after_a_cancel_is_kept_in_whichever_order_they_come(house: Installation, is_reversed: bool) -> None:
    await feed_runs(house)
    order = await live(house)
    await house.service.canceling.request(order.id)
    await house.due()
    house.exchange.trade(StrayTrade(client_order_id=order.id, last_qty=10, last_px="150.25"))
    reports = await reports_of(house, order.id)
    for report in reversed(reports) if is_reversed else reports:
        await bring(house, report)
    await house.reconcile()

    assert await house.is_settled(order.id)
    assert reports[-1]["exec_type"] == "trade"
    stored = await house.service.rows.read(order.id)
    assert stored is not None
    word = reports[-1]["ord_status"]
    cancellation = await house.service.canceling.request(order.id)
    assert isinstance(cancellation, CancelRequested if word == "canceled" else OrderIsOver)
    assert stored.status is (OrderStatus.CANCELED if word == "canceled" else OrderStatus.FILLED)


async def bust(house: Installation, order: Order, *, reinstate: bool = True) -> None:
    """The exchange takes the trade of an order back."""
    trade = next(each for each in await reports_of(house, order.id) if each["exec_type"] == "trade")
    house.exchange.amend(Amendment(exec_id=trade["exec_id"], exec_type="trade_cancel", reinstate=reinstate))


async def test_filled_order_that_is_open_again_is_canceled(house: Installation) -> None:
    await feed_runs(house)
    order = await live(house)
    await filled_by_another(house, order)
    await bring(house)
    assert await house.service.canceling.request(order.id) == OrderIsOver(OrderStatus.FILLED)
    await bust(house, order)
    await bring(house)

    requested = await house.service.canceling.request(order.id)
    await house.due()
    await bring(house)
    await house.reconcile()

    assert isinstance(requested, CancelRequested)
    assert exchange_says(house, order) == "canceled"
    assert await house.rows(order.id) == [INITIATED, PLAIN, CANCELED, FILLED]
    assert await house.is_settled(order.id)
    assert isinstance(await house.service.canceling.request(order.id), CancelRequested)


@pytest.mark.parametrize("is_bust_first", [False, True])
async def test_order_that_was_to_be_canceled_and_is_open_again_is_canceled_after_all(
    house: Installation, is_bust_first: bool
) -> None:
    await feed_runs(house)
    order = await live(house)
    await house.service.canceling.request(order.id)
    await filled_by_another(house, order)
    if not is_bust_first:
        await bring(house)
        await house.reconcile()
        assert await house.is_settled(order.id)
    await bust(house, order)
    for report in reversed(await reports_of(house, order.id)):
        await bring(house, report)

    await house.due()
    await bring(house)
    await house.reconcile()

    assert exchange_says(house, order) == "canceled"
    assert await house.is_settled(order.id)


async def test_bust_without_reinstatement_leaves_the_order_over(house: Installation) -> None:
    await feed_runs(house)
    order = await live(house)
    await filled_by_another(house, order)
    await bust(house, order, reinstate=False)
    await bring(house)

    assert await house.service.canceling.request(order.id) == OrderIsOver(
        OrderStatus(exchange_says(house, order).upper())
    )


async def test_order_that_nobody_knows_cannot_be_canceled(house: Installation) -> None:
    assert await house.service.canceling.request("nobody's") == NoSuchOrder()
