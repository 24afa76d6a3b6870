"""What every adapter does: the four answers to an order, the three to a question, and nothing raised."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ordertrail.domain.capabilities import UNBOUNDED, Capabilities
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAccepted,
    CancelTooLate,
    Found,
    NoAnswer,
    NotSent,
    PlaceAnswer,
    Refused,
    Unknown,
    VenueOrder,
    judge_found,
)
from ordertrail.venues.venue import (
    Compacted,
    ExecutionPage,
    Following,
    Heartbeat,
    OpenOrders,
    OtherEpoch,
    Reports,
)
from simulated_exchange.capabilities import PROFILES, Profile
from tests.conformance.subjects import Open, Subject, Way
from tests.support.payloads import RECORDED_ORDER

WAIT_SECONDS_MAX = 20.0
SHORT_SECONDS = 0.4
LIMIT = RECORDED_ORDER


def bring_about(subject: Subject, way: Way) -> None:
    if way in subject.cannot_show:
        pytest.skip(f"declared: {subject.venue.name} cannot show {way}")
    subject.other_side.fail(way)


async def place(
    subject: Subject,
    order: Order = LIMIT,
    *,
    timeout_seconds: float = WAIT_SECONDS_MAX,
    accept_by: datetime | None = None,
) -> PlaceAnswer:
    return await subject.venue.place(
        order, send_by=time.monotonic() + WAIT_SECONDS_MAX, timeout_seconds=timeout_seconds, accept_by=accept_by
    )


async def find(subject: Subject, order_id: str = LIMIT.id) -> VenueOrder:
    """Ask until it is found, for what was sent may still be under way."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            verification = await subject.venue.query(order_id, timeout_seconds=WAIT_SECONDS_MAX)
            if isinstance(verification, Found):
                return verification.order
            await asyncio.sleep(0)


async def test_accepted(subject: Subject) -> None:
    answer = await place(subject)

    assert isinstance(answer, Accepted)
    assert (await find(subject)).exchange_order_id == answer.exchange_order_id


@pytest.mark.parametrize(
    "order",
    [
        LIMIT,
        replace(LIMIT, side=Side.SELL, limit_price=Decimal("1E+3")),
        replace(LIMIT, limit_price=Decimal("9999999999999.99"), quantity=2**31 - 1),
        replace(LIMIT, type=OrderType.MARKET, limit_price=None),
    ],
    ids=["limit", "exponent", "largest", "market"],
)
async def test_order_arrives_as_it_was_sent(subject: Subject, order: Order) -> None:
    assert isinstance(await place(subject, order), Accepted)

    found = await find(subject)
    assert found.equals(order)
    assert isinstance(judge_found(found, order), Accepted)


async def test_market_order_that_nobody_takes_was_accepted(subject: Subject) -> None:
    market = replace(LIMIT, type=OrderType.MARKET, limit_price=None)

    answer = await place(subject, market)

    assert isinstance(answer, Accepted)
    assert (await find(subject)).ord_status == "canceled"


async def test_refused_order_keeps_its_id_and_can_be_queried(subject: Subject) -> None:
    bring_about(subject, Way.REFUSE)

    answer = await place(subject)

    assert isinstance(answer, Refused)
    assert answer.code == "refused_on_purpose"
    assert answer.text
    subject.other_side.fail(None)
    assert (await find(subject)).ord_status == "rejected"
    assert await place(subject) == Refused("refused_on_purpose")


@pytest.mark.parametrize(
    ("way", "cause", "retry_after_seconds"), [(Way.THROTTLE, "throttled", 1.0), (Way.CLOSED, "closed", None)]
)
async def test_venue_that_did_nothing_says_so(
    subject: Subject, way: Way, cause: str, retry_after_seconds: float | None
) -> None:
    bring_about(subject, way)

    answer = await place(subject)

    assert answer == NotSent(cause, retry_after_seconds)
    assert not subject.other_side.has_received(LIMIT.id)


@pytest.mark.parametrize("way", [Way.LOST, Way.LATE, Way.ERROR_AFTER, Way.GARBAGE, Way.RESET])
async def test_accepted_without_a_readable_answer_is_unknown_and_found(subject: Subject, way: Way) -> None:
    bring_about(subject, way)

    answer = await place(subject, timeout_seconds=SHORT_SECONDS)

    assert isinstance(answer, Unknown)
    assert (await find(subject)).equals(LIMIT)


async def test_lost_answer_is_waited_for_until_the_deadline(subject: Subject) -> None:
    bring_about(subject, Way.LOST)
    started_at = time.monotonic()

    answer = await place(subject, timeout_seconds=SHORT_SECONDS)

    assert answer == Unknown("timeout")
    assert time.monotonic() - started_at >= SHORT_SECONDS


async def test_error_before_acceptance_is_unknown_and_absent(subject: Subject) -> None:
    bring_about(subject, Way.ERROR_BEFORE)

    answer = await place(subject)

    assert isinstance(answer, Unknown)
    assert await subject.venue.query(LIMIT.id, timeout_seconds=WAIT_SECONDS_MAX) == Absent()


async def test_equal_order_under_the_same_id_is_the_same_order(subject: Subject) -> None:
    first = await place(subject)

    assert await place(subject) == first


@pytest.mark.parametrize(
    "other",
    [
        replace(LIMIT, side=Side.SELL),
        replace(LIMIT, quantity=11),
        replace(LIMIT, limit_price=Decimal("10.51")),
        replace(LIMIT, instrument="US0378331006"),
        replace(LIMIT, type=OrderType.MARKET, limit_price=None),
    ],
    ids=["side", "quantity", "price", "instrument", "type"],
)
async def test_another_order_under_the_same_id_is_unknown(subject: Subject, other: Order) -> None:
    await place(subject)

    assert await place(subject, other) == Unknown("differs_at_exchange")


async def test_order_of_a_stranger_is_absent(subject: Subject) -> None:
    await place(subject)

    assert await subject.venue.query("order-2", timeout_seconds=WAIT_SECONDS_MAX) == Absent()


@pytest.mark.parametrize("order_id", ["a/b", "a?b", "a%20b", "a#b", "..", "~!"])
async def test_any_id_arrives_as_it_is(subject: Subject, order_id: str) -> None:
    await place(subject, replace(LIMIT, id=order_id))

    assert (await find(subject, order_id)).client_order_id == order_id


async def test_question_without_an_answer_says_nothing(subject: Subject) -> None:
    await place(subject)
    bring_about(subject, Way.QUERY_UNANSWERED)

    assert isinstance(await subject.venue.query(LIMIT.id, timeout_seconds=WAIT_SECONDS_MAX), NoAnswer)


async def test_open_order_is_canceled_once(subject: Subject) -> None:
    await place(subject)

    assert await subject.venue.cancel(LIMIT.id, timeout_seconds=WAIT_SECONDS_MAX) == CancelAccepted()
    assert await subject.venue.cancel(LIMIT.id, timeout_seconds=WAIT_SECONDS_MAX) == CancelTooLate()
    assert (await find(subject)).ord_status == "canceled"


async def test_unknown_order_cannot_be_canceled(subject: Subject) -> None:
    assert await subject.venue.cancel(LIMIT.id, timeout_seconds=WAIT_SECONDS_MAX) == Absent()


async def test_open_orders_are_all_that_are_open(subject: Subject) -> None:
    for number in (1, 2, 3):
        await place(subject, replace(LIMIT, id=f"order-{number}"))
    await subject.venue.cancel("order-2", timeout_seconds=WAIT_SECONDS_MAX)

    answer = await subject.venue.open_orders(timeout_seconds=WAIT_SECONDS_MAX)

    assert isinstance(answer, OpenOrders)
    assert {order.client_order_id for order in answer.orders} == {"order-1", "order-3"}
    assert answer.as_of is not None and answer.as_of.tzinfo is not None


async def test_executions_come_in_order_from_a_position(subject: Subject) -> None:
    await place(subject)
    await place(subject, replace(LIMIT, id="order-2", side=Side.SELL, quantity=4))

    everything = await subject.venue.executions(after=0, limit=100, timeout_seconds=WAIT_SECONDS_MAX)
    page = await subject.venue.executions(after=1, limit=2, timeout_seconds=WAIT_SECONDS_MAX)

    assert isinstance(everything, ExecutionPage)
    assert [(e.seq, e.exec_type, e.client_order_id) for e in everything.executions] == [
        (1, "new", "order-1"),
        (2, "new", "order-2"),
        (3, "trade", "order-2"),
        (4, "trade", "order-1"),
    ]
    assert everything.head == 4
    assert page == ExecutionPage(everything.epoch, everything.executions[1:3], 4)
    found = await find(subject)
    assert (found.ord_status, found.cum_qty, found.leaves_qty, found.avg_px) == (
        "partially_filled",
        4,
        6,
        Decimal("10.50"),
    )


async def follow(subject: Subject, *, after: int = 0, epoch: str | None = None) -> Any:
    return await subject.venue.follow(after=after, epoch=epoch, timeout_seconds=WAIT_SECONDS_MAX)


async def report_page(subject: Subject, epoch: str, *, after: int = 0, limit: int = 100) -> Any:
    return await subject.venue.report_page(after=after, limit=limit, epoch=epoch, timeout_seconds=WAIT_SECONDS_MAX)


async def next_reports(following: Following) -> Reports:
    """Heartbeats may come between."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while isinstance(received := await following.receive(), Heartbeat):
            assert received.epoch == following.epoch
    assert isinstance(received, Reports)
    return received


@asynccontextmanager
async def followed(subject: Subject, *, after: int = 0, epoch: str | None = None) -> AsyncIterator[Following]:
    following = await follow(subject, after=after, epoch=epoch)
    assert not isinstance(following, NoAnswer | OtherEpoch | Compacted), following
    try:
        yield following
    finally:
        await following.close()


async def test_reports_come_over_a_connection_and_go_on_coming(subject: Subject) -> None:
    await place(subject)
    async with followed(subject) as following:
        first = await next_reports(following)
        await place(subject, replace(LIMIT, id="order-2", side=Side.SELL, quantity=4))
        second = await next_reports(following)

    assert following.head == 1
    assert (first.count, first.first, first.last, first.is_contiguous) == (1, 1, 1, True)
    assert (second.first, second.is_contiguous) == (2, True)
    [report] = json.loads(first.body)
    assert (report["seq"], report["exec_type"], report["client_order_id"]) == (1, "new", LIMIT.id)


async def test_connection_begins_after_a_position(subject: Subject) -> None:
    for number in (1, 2, 3):
        await place(subject, replace(LIMIT, id=f"order-{number}"))
    async with followed(subject) as whole:
        epoch = whole.epoch

    async with followed(subject, after=2, epoch=epoch) as following:
        reports = await next_reports(following)

    assert (following.epoch, following.head, reports.first, reports.last) == (epoch, 3, 3, 3)


async def test_page_has_the_reports_as_the_connection_has_them(subject: Subject) -> None:
    for number in (1, 2, 3):
        await place(subject, replace(LIMIT, id=f"order-{number}"))
    async with followed(subject) as following:
        epoch, sent = following.epoch, await next_reports(following)

    everything = await report_page(subject, epoch)
    page = await report_page(subject, epoch, after=1, limit=1)
    nothing = await report_page(subject, epoch, after=3)

    assert json.loads(everything.body)[: sent.count] == json.loads(sent.body)
    assert (everything.count, everything.first, everything.last, everything.is_contiguous) == (3, 1, 3, True)
    assert (page.count, page.first, page.last) == (1, 2, 2)
    assert (nothing.count, nothing.first, json.loads(nothing.body)) == (0, None, [])


async def test_epoch_that_is_not_the_venue_s_is_refused_with_the_one_that_is(subject: Subject) -> None:
    await place(subject)
    async with followed(subject) as following:
        epoch = following.epoch

    assert await follow(subject, epoch="another") == OtherEpoch(epoch, 1)
    assert await report_page(subject, "another") == OtherEpoch(epoch, 1)


async def test_new_epoch_ends_the_connections_of_the_old_one(subject: Subject) -> None:
    await place(subject)
    async with followed(subject) as following, asyncio.timeout(WAIT_SECONDS_MAX):
        await next_reports(following)
        subject.other_side.begin_epoch()
        while isinstance(received := await following.receive(), Heartbeat):
            pass

    assert isinstance(received, NoAnswer)
    other = await follow(subject, after=1, epoch=following.epoch)
    assert isinstance(other, OtherEpoch)
    assert other.epoch != following.epoch
    assert await report_page(subject, following.epoch) == other


@pytest.mark.parametrize("scope", ["order", "epoch"])
async def test_venue_says_for_how_long_an_exec_id_is_one(open_subject: Open, tmp_path: Path, scope: Any) -> None:
    async with open_subject(tmp_path, Profile(exec_id_unique=scope)) as subject:
        promised = await subject.venue.capabilities(timeout_seconds=WAIT_SECONDS_MAX)

    assert isinstance(promised, Capabilities)
    assert (promised.exec_id_unique, promised.replays_executions) == (scope, True)


async def test_position_before_a_compacted_log_is_refused_with_the_oldest_that_is_kept(subject: Subject) -> None:
    for number in range(1, 9):
        await place(subject, replace(LIMIT, id=f"order-{number}"))
    async with followed(subject) as following:
        epoch = following.epoch
    subject.other_side.compact(oldest=6)

    assert await follow(subject, after=4, epoch=epoch) == Compacted(6)
    assert await follow(subject) == Compacted(6)
    assert await report_page(subject, epoch, after=4) == Compacted(6)
    async with followed(subject, after=5, epoch=epoch) as following:
        assert (await next_reports(following)).first == 6


async def test_venue_says_that_it_is_alive(subject: Subject) -> None:
    async with followed(subject) as following, asyncio.timeout(WAIT_SECONDS_MAX):
        assert await following.receive() == Heartbeat(following.epoch, 0)


async def test_connection_that_is_cut_is_no_answer(subject: Subject) -> None:
    async with followed(subject) as following, asyncio.timeout(WAIT_SECONDS_MAX):
        subject.other_side.cut()

        while isinstance(received := await following.receive(), Heartbeat):
            pass

    assert isinstance(received, NoAnswer)


async def test_connection_may_be_left_while_it_is_waited_on(subject: Subject) -> None:
    async with followed(subject) as following:
        waiting = asyncio.ensure_future(following.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await place(subject)

        assert (await next_reports(following)).first == 1


async def test_nothing_is_sent_after_send_by(subject: Subject) -> None:
    answer = await subject.venue.place(
        LIMIT, send_by=time.monotonic(), timeout_seconds=WAIT_SECONDS_MAX, accept_by=None
    )

    assert answer == NotSent("send_window_passed")
    assert not subject.other_side.has_received(LIMIT.id)
    assert await subject.venue.query(LIMIT.id, timeout_seconds=WAIT_SECONDS_MAX) == Absent()


async def test_order_that_is_late_for_accept_by_is_refused(subject: Subject) -> None:
    answer = await place(subject, accept_by=datetime.now(UTC) - timedelta(seconds=1))

    assert isinstance(answer, Refused)
    assert answer.code == "accept_by_passed"


async def test_order_in_time_for_accept_by_is_accepted(subject: Subject) -> None:
    answer = await place(subject, accept_by=datetime.now(UTC) + timedelta(minutes=1))

    assert isinstance(answer, Accepted)


async def test_every_call_ends_with_its_timeout(subject: Subject) -> None:
    bring_about(subject, Way.SLOW)

    async with asyncio.timeout(WAIT_SECONDS_MAX):
        placed = await place(subject, timeout_seconds=SHORT_SECONDS)
        queried = await subject.venue.query(LIMIT.id, timeout_seconds=SHORT_SECONDS)
        canceled = await subject.venue.cancel(LIMIT.id, timeout_seconds=SHORT_SECONDS)
        open_orders = await subject.venue.open_orders(timeout_seconds=SHORT_SECONDS)

    assert placed == Unknown("timeout")
    assert [queried, canceled, open_orders] == [NoAnswer("timeout")] * 3


async def test_concurrent_orders_get_their_own_answers(subject: Subject) -> None:
    orders = [replace(LIMIT, id=f"order-{number}") for number in range(100)]

    answers = await asyncio.gather(*(place(subject, order) for order in orders))

    for order, answer in zip(orders, answers, strict=True):
        exchange_order_id = (await find(subject, order.id)).exchange_order_id
        assert exchange_order_id is not None
        assert answer == Accepted(exchange_order_id)


@pytest.mark.parametrize("name", PROFILES)
async def test_capabilities_are_what_the_venue_promises(open_subject: Open, tmp_path: Path, name: str) -> None:
    async with open_subject(tmp_path, PROFILES[name]) as subject:
        promised = await subject.venue.capabilities(timeout_seconds=WAIT_SECONDS_MAX)

        assert isinstance(promised, Capabilities)
        assert promised.epoch
        assert (
            replace(promised, epoch="")
            == {
                "durable": Capabilities("", "forever", 0.0, 10.0, honours_accept_by=True),
                "while_open": Capabilities("", "while_open", 0.0, 10.0, honours_accept_by=True),
                "ten_minutes": Capabilities("", 600.0, 0.0, 10.0, honours_accept_by=True),
                "open_only": Capabilities("", "while_open", UNBOUNDED, 10.0, honours_accept_by=True),
                "promises_nothing": Capabilities(),
            }[name]
        )


@pytest.mark.parametrize("scope", ["order", "epoch"])
async def test_scope_of_exec_ids_is_the_venue_s(open_subject: Open, tmp_path: Path, scope: Any) -> None:
    async with open_subject(tmp_path, Profile(exec_id_unique=scope)) as subject:
        promised = await subject.venue.capabilities(timeout_seconds=WAIT_SECONDS_MAX)

        assert isinstance(promised, Capabilities)
        assert promised.exec_id_unique == scope


async def test_what_was_accepted_is_there_after_a_restart(open_subject: Open, tmp_path: Path) -> None:
    async with open_subject(tmp_path, Profile()) as before:
        answer = await place(before)

    async with open_subject(tmp_path, Profile()) as after:
        exchange_order_id = (await find(after)).exchange_order_id
        assert exchange_order_id is not None
        assert answer == Accepted(exchange_order_id)
        assert await place(after) == answer
