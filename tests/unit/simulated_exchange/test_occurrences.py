"""Busts, corrections, expiries, trades after the end and new epochs: what an exchange's day has beside orders."""

import asyncio
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulated_exchange.capabilities import Profile
from simulated_exchange.exchange import Exchange
from simulated_exchange.log import DurableLog
from simulated_exchange.noise import Noise
from simulated_exchange.occurrences import (
    Amendment,
    EpochChange,
    Expiry,
    Load,
    Occurrence,
    StrayTrade,
    parse_occurrence,
)
from simulated_exchange.results import (
    CannotOccur,
    Occurred,
    OccurrenceResult,
    UnknownExecution,
    UnknownOrder,
)
from simulated_exchange.service import ExchangeService, open_exchange
from simulated_exchange.wire import OrderView, ReportView
from tests.support.clocks import ManualClock
from tests.unit.simulated_exchange.making import exchange, limit, market


def occur(subject: Exchange, occurrence: Occurrence) -> OccurrenceResult:
    match occurrence:
        case Amendment():
            return subject.amend(occurrence)
        case StrayTrade():
            return subject.trade(occurrence)
        case Expiry():
            return subject.expire(occurrence)
        case EpochChange():
            return subject.change_epoch(occurrence)
        case Load():
            return subject.begin_load(occurrence)


def occurred(subject: Exchange, occurrence: Occurrence) -> list[ReportView]:
    result = occur(subject, occurrence)
    assert isinstance(result, Occurred)
    return list(result.executions)


def bust(exec_id: str, **more: Any) -> Amendment:
    return Amendment(exec_id=exec_id, exec_type="trade_cancel", **more)


def correction(exec_id: str, **more: Any) -> Amendment:
    return Amendment(exec_id=exec_id, exec_type="trade_correct", **more)


def reports(subject: Exchange) -> list[ReportView]:
    return list(subject.executions(0, 10_000).executions)


def view(subject: Exchange, name: str) -> OrderView:
    found = subject.query(name)
    assert found is not None
    return found


def stands(subject: Exchange, name: str) -> tuple[str, int, int, str | None]:
    found = view(subject, name)
    return found.ord_status, found.cum_qty, found.leaves_qty, found.avg_px


def traded() -> tuple[Exchange, str, str]:
    """A sell of 10, of which a buy has taken 4: E1 and E2 are new, E3 is the buyer's trade, E4 the seller's."""
    subject = exchange()
    subject.place(limit("seller", "sell", "10.00", 10))
    subject.place(limit("buyer", "buy", "10.00", 4))
    assert [report.exec_id for report in reports(subject)] == ["E1", "E2", "E3", "E4"]
    return subject, "E3", "E4"


def test_busted_trade_of_an_open_order_is_open_again() -> None:
    subject, _, sold = traded()

    [report] = occurred(subject, bust(sold))

    assert stands(subject, "seller") == ("new", 0, 10, None)
    assert (report.exec_type, report.exec_ref_id, report.last_qty, report.last_px) == ("trade_cancel", sold, 0, None)
    assert (report.seq, report.cum_qty, report.leaves_qty, report.avg_px) == (5, 0, 10, None)
    subject.place(limit("other", "buy", "10.00", 10))
    assert stands(subject, "seller") == ("filled", 10, 0, "10.00")


def test_busted_trade_of_a_filled_order_leaves_it_filled() -> None:
    subject, bought, _ = traded()

    occurred(subject, bust(bought))

    assert stands(subject, "buyer") == ("filled", 0, 0, None)
    assert "buyer" not in [order.client_order_id for order in subject.open_orders().orders]


def test_reinstated_order_is_in_the_book_again() -> None:
    subject, bought, _ = traded()
    subject.cancel("seller")

    occurred(subject, bust(bought, reinstate=True))
    assert stands(subject, "buyer") == ("new", 0, 4, None)
    subject.place(limit("other", "sell", "10.00", 1))

    assert stands(subject, "buyer") == ("partially_filled", 1, 3, "10.00")


def test_reinstated_order_trades_at_once_where_it_can() -> None:
    subject, bought, _ = traded()

    amended = occurred(subject, bust(bought, reinstate=True))

    assert [report.exec_type for report in amended] == ["trade_cancel", "trade", "trade"]
    assert stands(subject, "buyer") == ("filled", 4, 0, "10.00")
    assert stands(subject, "seller") == ("partially_filled", 8, 2, "10.00")


def test_market_order_cannot_be_reinstated() -> None:
    subject = exchange()
    subject.place(limit("seller", "sell", "10.00", 10))
    subject.place(market("buyer", "buy", 4))

    occurred(subject, bust("E3", reinstate=True))

    assert stands(subject, "buyer") == ("filled", 0, 0, None)


def test_correction_replaces_quantity_and_price() -> None:
    subject, _, sold = traded()

    [report] = occurred(subject, correction(sold, last_qty=3, last_px="9.50"))

    assert (report.last_qty, report.last_px, report.exec_ref_id) == (3, "9.50", sold)
    assert stands(subject, "seller") == ("partially_filled", 3, 7, "9.50")


def test_correction_of_a_correction_replaces_it() -> None:
    subject, _, sold = traded()
    [first] = occurred(subject, correction(sold, last_qty=3))

    [second] = occurred(subject, correction(first.exec_id, last_px="11.00"))

    assert (second.exec_ref_id, second.last_qty, second.last_px) == (first.exec_id, 3, "11.00")
    assert stands(subject, "seller") == ("partially_filled", 3, 7, "11.00")


def test_bust_of_a_correction_takes_the_trade_away() -> None:
    subject, _, sold = traded()
    [first] = occurred(subject, correction(sold, last_qty=3))

    occurred(subject, bust(first.exec_id))

    assert stands(subject, "seller") == ("new", 0, 10, None)


def test_bust_twice_takes_away_once_and_is_reported_twice() -> None:
    subject, _, sold = traded()

    first, second = occurred(subject, bust(sold)), occurred(subject, bust(sold))

    assert [first[0].exec_id, second[0].exec_id] == ["E5", "E6"]
    assert stands(subject, "seller") == ("new", 0, 10, None)


def test_correction_may_fill_an_order_beyond_its_quantity() -> None:
    subject, _, sold = traded()

    occurred(subject, correction(sold, last_qty=12))

    assert stands(subject, "seller") == ("filled", 12, 0, "10.00")
    subject.place(limit("other", "buy", "10.00", 1))
    assert stands(subject, "other") == ("new", 0, 1, None)


def test_canceled_order_stays_canceled_whatever_is_busted() -> None:
    subject, _, sold = traded()
    subject.cancel("seller")

    occurred(subject, bust(sold, reinstate=True))

    assert stands(subject, "seller") == ("canceled", 0, 0, None)


def test_trade_after_the_end_counts_and_opens_nothing() -> None:
    subject = exchange()
    subject.place(limit("a", quantity=10))
    subject.cancel("a")

    [report] = occurred(subject, StrayTrade(client_order_id="a", last_qty=3, last_px="9.99"))

    assert (report.exec_type, report.ord_status, report.cum_qty, report.leaves_qty) == ("trade", "canceled", 3, 0)
    assert stands(subject, "a") == ("canceled", 3, 0, "9.99")


def test_expired_order_is_over() -> None:
    subject = exchange()
    subject.place(limit("a"))

    [report] = occurred(subject, Expiry(client_order_id="a"))

    assert (report.exec_type, report.ord_status, report.leaves_qty) == ("expired", "expired", 0)
    assert stands(subject, "a") == ("expired", 0, 0, None)
    assert subject.open_orders().orders == ()


@pytest.mark.parametrize(
    ("occurrence", "kind"),
    [
        (bust("E99"), UnknownExecution),
        (bust("E1"), CannotOccur),
        (Expiry(client_order_id="nobody"), UnknownOrder),
        (Expiry(client_order_id="buyer"), CannotOccur),
        (StrayTrade(client_order_id="nobody", last_qty=1, last_px="1.00"), UnknownOrder),
        (EpochChange(head=5), CannotOccur),
    ],
)
def test_what_cannot_be_changes_nothing(occurrence: Occurrence, kind: type[OccurrenceResult]) -> None:
    subject, _, _ = traded()

    assert isinstance(occur(subject, occurrence), kind)

    assert len(reports(subject)) == 4


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"exec_id": "E1"}', Amendment),
        (b'{"exec_id": "E1", "exec_type": "trade"}', Amendment),
        (b'{"exec_id": "E1", "exec_type": "trade_cancel", "last_qty": 1}', Amendment),
        (b'{"exec_id": "E1", "exec_type": "trade_correct", "last_px": "1.005"}', Amendment),
        (b'{"exec_id": "E1", "exec_type": "trade_correct", "last_px": "x"}', Amendment),
        (b'{"exec_id": "E1", "exec_type": "trade_correct", "last_qty": -1}', Amendment),
        (b'{"replay": true, "forget": true}', EpochChange),
        (b'{"head": 0, "replay": true}', EpochChange),
        (b'{"unknown": 1}', EpochChange),
        (b"[]", Expiry),
        (b"\xff", Expiry),
    ],
)
def test_body_that_cannot_be_used_is_a_sentence(body: bytes, kind: type[Amendment | EpochChange | Expiry]) -> None:
    with pytest.raises(ValueError, match="The body cannot be used"):
        parse_occurrence(body, kind)


def test_new_epoch_begins_at_zero_and_orders_stay() -> None:
    subject, bought, _ = traded()
    old = subject.epoch

    occurred(subject, EpochChange())

    assert subject.epoch != old
    assert reports(subject) == []
    assert stands(subject, "buyer") == ("filled", 4, 0, "10.00")
    assert isinstance(occur(subject, bust(bought)), UnknownExecution)


def test_ids_are_never_used_again_in_a_later_epoch() -> None:
    subject, _, _ = traded()
    occurred(subject, EpochChange())

    subject.place(limit("a"))
    occurred(subject, EpochChange())
    subject.place(limit("b"))

    assert [(report.seq, report.exec_id) for report in reports(subject)] == [(1, "E1.2")]


def test_ids_start_anew_with_the_epoch_where_that_is_promised() -> None:
    subject, _, _ = traded()
    subject.set_capabilities(Profile(exec_id_unique="epoch"))
    occurred(subject, EpochChange())

    subject.place(limit("a", price="1.00"))

    assert [report.exec_id for report in reports(subject)] == ["E1"]


def test_replayed_reports_are_the_old_ones_numbered_anew() -> None:
    subject = exchange()
    subject.executions_log.kept_max = 4
    for name in "abcdef":
        subject.place(limit(name))
    kept = reports(subject)

    occurred(subject, EpochChange(replay=True))

    assert kept[0].seq > 1
    assert reports(subject) == [msgspec.structs.replace(each, seq=n) for n, each in enumerate(kept, start=1)]
    subject.place(limit("g"))
    assert reports(subject)[-1].exec_id == f"E{len(kept) + 1}.1"


def test_replayed_trade_can_be_busted_by_its_old_id() -> None:
    subject, _, sold = traded()
    occurred(subject, EpochChange(replay=True))

    occurred(subject, bust(sold))

    assert stands(subject, "seller") == ("new", 0, 10, None)


def test_forgotten_history_is_forgotten() -> None:
    subject, _, _ = traded()

    occurred(subject, EpochChange(forget=True))

    assert subject.query("buyer") is None
    assert subject.open_orders().orders == ()
    subject.place(limit("buyer", "buy", "10.00", 4))
    assert stands(subject, "buyer") == ("new", 0, 4, None)


def test_head_goes_back_in_the_same_epoch_and_says_something_else_from_there() -> None:
    subject, _, _ = traded()
    epoch = subject.epoch

    occurred(subject, EpochChange(head=2))

    assert (subject.epoch, subject.executions_log.head) == (epoch, 2)
    assert stands(subject, "buyer") == ("filled", 4, 0, "10.00")
    subject.place(limit("a", price="1.00"))
    assert [(report.seq, report.exec_id) for report in reports(subject)][2:] == [(3, "E3.1")]


def test_ids_differ_after_the_head_went_back_whatever_is_promised() -> None:
    subject, _, _ = traded()
    subject.set_capabilities(Profile(exec_id_unique="epoch"))

    occurred(subject, EpochChange(head=2))

    subject.place(limit("a", price="1.00"))
    assert reports(subject)[-1].exec_id == "E3.1"


def test_trade_whose_id_starts_anew_is_another_trade() -> None:
    subject, _, sold = traded()
    subject.set_capabilities(Profile(exec_id_unique="epoch"))
    occurred(subject, bust(sold))
    occurred(subject, EpochChange())
    subject.place(limit("other", price="1.00"))
    subject.place(limit("again", "buy", "10.00", 2))
    assert (reports(subject)[-1].exec_id, reports(subject)[-1].client_order_id) == (sold, "seller")

    occurred(subject, bust(sold))

    assert stands(subject, "seller") == ("new", 0, 10, None)


def test_report_of_an_unknown_type_says_how_its_order_stands() -> None:
    subject, _, _ = traded()

    subject.report_noise(Noise.UNKNOWN_TYPE, reports(subject)[0])

    last = reports(subject)[-1]
    assert (last.seq, last.exec_type, last.client_order_id) == (5, "restated", "seller")
    assert (last.ord_status, last.cum_qty, last.leaves_qty, last.last_qty) == ("partially_filled", 4, 6, 0)


def test_report_of_a_stranger_is_of_an_order_that_is_not_there() -> None:
    subject, _, _ = traded()

    subject.report_noise(Noise.STRANGER, reports(subject)[0])

    assert subject.query(reports(subject)[-1].client_order_id) is None


names = st.sampled_from("abcdef")
placing = st.tuples(names, st.sampled_from(["buy", "sell"]), st.none() | st.integers(9, 12), st.integers(1, 20))
exec_ids = st.builds("E{}{}".format, st.integers(1, 25), st.sampled_from(["", "", "", ".1"]))
occurrences: st.SearchStrategy[Occurrence] = st.one_of(
    st.builds(lambda i, r: bust(i, reinstate=r), exec_ids, st.booleans()),
    st.builds(
        lambda i, q, r: correction(i, last_qty=q, last_px="10.50", reinstate=r),
        exec_ids,
        st.none() | st.integers(0, 25),
        st.booleans(),
    ),
    st.builds(lambda n: Expiry(client_order_id=n), names),
    st.builds(lambda n, q: StrayTrade(client_order_id=n, last_qty=q, last_px="10.25"), names, st.integers(1, 9)),
    st.sampled_from([EpochChange(), EpochChange(replay=True), EpochChange(forget=True), EpochChange(head=3)]),
)
loads = st.builds(
    lambda ids, orders, quantity: Load(
        reports_per_second=1, seconds=1, orders=orders, quantity=quantity, client_order_ids=ids
    ),
    st.just(()) | st.lists(names, unique=True, max_size=4).map(tuple),
    st.integers(1, 3),
    st.integers(1, 4),
)
turns = st.integers(1, 12)
steps = st.lists(placing | names | occurrences | st.sampled_from(Noise) | loads | turns, max_size=40)


def step(subject: Exchange, what: Any) -> None:
    if isinstance(what, int):
        subject.load_turns(what)
    elif isinstance(what, Noise):
        if subject.executions_log.head:
            subject.report_noise(what, reports(subject)[-1])
    elif isinstance(what, str):
        subject.cancel(what)
    elif isinstance(what, tuple):
        name, side, price, quantity = what
        order = market(name, side, quantity) if price is None else limit(name, side, str(price), quantity)
        subject.place(order)
    else:
        occur(subject, what)


@given(steps, st.sampled_from(["forever", "while_open"]))
def test_sums_over_the_last_words_of_chains_are_what_the_orders_say(taken: list[Any], unique: Any) -> None:
    """As `executions` is to be folded: of a chain the last report counts, a bust as nothing."""
    subject = exchange(profile=Profile(client_order_id_unique=unique))
    for what in taken:
        if isinstance(what, EpochChange) and not what.replay:
            continue  # some of the reports would be gone
        step(subject, what)

    chains: dict[str, str] = {}
    counts: dict[tuple[str | None, str], tuple[int, Decimal]] = {}
    last: dict[str | None, ReportView] = {}
    for report in reports(subject):
        last[report.exchange_order_id] = report
        if isinstance(report.exec_ref_id, str):
            chains[report.exec_id] = chains.get(report.exec_ref_id, report.exec_ref_id)
        if report.exec_type in {"trade", "trade_cancel", "trade_correct"}:
            root = chains.get(report.exec_id, report.exec_id)
            counts[report.exchange_order_id, root] = (report.last_qty, Decimal(report.last_px or 0))
    for exchange_order_id, report in last.items():
        mine = [value for (owner, _), value in counts.items() if owner == exchange_order_id]
        assert report.cum_qty == sum(quantity for quantity, _ in mine)
        if report.cum_qty:
            assert report.avg_px is not None
            average = sum((quantity * price for quantity, price in mine), Decimal(0)) / report.cum_qty
            assert abs(Decimal(report.avg_px) - average) <= Decimal("0.000000005")
    for order in subject.open_orders().orders:
        assert last[order.exchange_order_id].leaves_qty == order.leaves_qty > 0
        assert order.cum_qty + order.leaves_qty == order.quantity


@settings(max_examples=40)
@given(steps)
def test_everything_is_in_the_log_and_replayed(tmp_path_factory: pytest.TempPathFactory, taken: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("log")

    def opened() -> ExchangeService:
        return open_exchange(folder, now_us=ManualClock().now_us, random=Random(1))

    async def run() -> None:
        service = opened()
        for what in taken:
            step(service.exchange, what)
        before = shown(service.exchange)
        await service.close()
        service = opened()
        assert shown(service.exchange) == before
        await service.close()

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(steps, steps, st.sampled_from(["forever", "while_open"]), st.sampled_from([4, 1_000]))
def test_compacted_log_leads_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, before: list[Any], after: list[Any], unique: Any, reports_kept: int
) -> None:
    profile = Profile(client_order_id_unique=unique)

    async def run(folder: Path, *, is_compacted: bool) -> list[object]:
        now: list[object] = []
        for taken in (before, after, []):
            service = open_exchange(
                folder, profile=profile, now_us=ManualClock().now_us, random=Random(1), reports_kept=reports_kept
            )
            now.append(shown(service.exchange))
            for what in taken:
                step(service.exchange, what)
            now.append(shown(service.exchange))
            if is_compacted and taken is before:
                assert isinstance(service._log, DurableLog)
                service._log.compact(0, service.exchange.compacted)
            await service.close()
        return now

    compacted = asyncio.run(run(tmp_path_factory.mktemp("compacted"), is_compacted=True))
    assert compacted == asyncio.run(run(tmp_path_factory.mktemp("whole"), is_compacted=False))


def shown(subject: Exchange) -> tuple[object, ...]:
    log = subject.executions_log
    return (
        log.epoch,
        log.exec_id_suffix,
        log.encoded(0, 1000),
        subject.open_orders().orders,
        [subject.query(name) for name in "abcdef"],
        sorted(subject._chains._of.items(), key=str),
    )


async def test_log_of_old_opens(tmp_path: Path) -> None:
    (tmp_path / "exchange.log").write_bytes(
        b'{"kind":"epoch","format":1,"epoch":"e"}\n'
        b'{"kind":"rejected","transact_time":"2026-01-01T12:00:00.000000Z","exchange_order_id":"e-1","order":'
        b'{"client_order_id":"a","type":"limit","side":"buy","instrument":"US0378331005","limit_price":"10.00",'
        b'"quantity":0,"accept_by":null},"reject_reason":"invalid_quantity","text":"No.","reports":[{"seq":1,'
        b'"exec_id":"E1","exec_type":"rejected","ord_status":"rejected","client_order_id":"a",'
        b'"exchange_order_id":"e-1","last_qty":0,"last_px":null,"cum_qty":0,"leaves_qty":0,"avg_px":null,'
        b'"transact_time":"2026-01-01T12:00:00.000000Z"}]}\n'
    )

    service = open_exchange(tmp_path)

    [report] = (await service.executions(0, 10)).executions
    assert (report.exec_id, report.reject_reason) == ("E1", "invalid_quantity")
    await service.close()
