"""One look at an order, and one pass over many: what is asked, sent, written and concluded, against scripted parts."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from typing_extensions import override

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.order_in_doubt import OrderInDoubt, Send, SendAnswer, first_send
from ordertrail.domain.settling import VerificationLimits
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAccepted,
    CancelAnswer,
    CancelTooLate,
    Found,
    NoAnswer,
    NotSent,
    PlaceAnswer,
    Refused,
    Unknown,
    Verification,
)
from ordertrail.domain.venue_word import VenueWord
from ordertrail.reconciliation import reconciler
from ordertrail.reconciliation.pass_report import PassReport
from ordertrail.reconciliation.reconciler import PassLimits, Reconciler
from ordertrail.storage.doubt_rows import AnsweredSend, ClaimedSend, Lease, Unreadable, Verdict, WantedSend
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.execution_rows import FeedView
from ordertrail.storage.order_rows import NewTrailRow
from tests.support.clocks import ManualClock
from tests.support.orders import venue_order

S = OrderStatus
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ORDER = Order(
    "order-1", OrderType.LIMIT, Side.BUY, "AAPL12345678", Decimal("10.50"), 10, place_by=START + timedelta(seconds=60)
)
DURABLE = Capabilities("e", "forever", 0, 10, honours_accept_by=True)
UNKNOWN = TrailRow(S.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout")
NOT_SENT = TrailRow(S.EXCHANGE_CREATION_FAILED, "not_sent:closed")
REFUSED = TrailRow(S.EXCHANGE_CREATION_FAILED, "refused:no_funds")
LOST = StatementOutcomeUnknown("cut", may_have_happened=True)


def raised() -> float:
    """How many reviews have raised so far."""
    return REGISTRY.get_sample_value("ordertrail_invariants_broken_total", {"name": "review_raised"}) or 0


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_doubt(*rows: TrailRow, now: float = 30, id: str = "order-1", **changes: Any) -> OrderInDoubt:
    trail = (TrailRow(S.INITIATED), *rows)
    first = first_send(trail, send_by=at(5), accept_by=at(10))
    return OrderInDoubt(replace(ORDER, id=id), START, trail, (first,), at(now), **changes)


def found(ord_status: str = "new", id: str = "order-1") -> Found:
    return Found(venue_order(ORDER, exchange_order_id="x-1", client_order_id=id, ord_status=ord_status))


class Least(random.Random):
    @override
    def random(self) -> float:
        return 0.0


@dataclass
class Database:
    """Gives out its doubts once; keeps what it is told. `log` is shared by all parts, in the order of events."""

    log: list[str]
    doubts: dict[str, OrderInDoubt | Unreadable] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    tries: int = 0
    batches: list[int] = field(default_factory=list)
    asleep: list[int] = field(default_factory=list)
    can_claim: bool = True
    is_fenced_off: bool = False
    fails: str = ""
    begun_at: datetime | None = None
    epochs: list[tuple[str, str]] = field(default_factory=list)
    takes: list[tuple[int, float]] = field(default_factory=list)
    claims: list[tuple[WantedSend, dict[str, Any]]] = field(default_factory=list)
    answers: list[AnsweredSend] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    applied: "asyncio.Queue[Verdict]" = field(default_factory=asyncio.Queue)
    gate: asyncio.Event | None = None
    given: int = 0

    async def enqueue_due_batches(self, *, batches_max: int) -> int:
        self.log.append(f"enqueue_due_batches {batches_max}")
        return self.batches.pop(0) if self.batches else 0

    async def lease(self, *, doubts_max: int, lease_seconds: float) -> list[Lease]:
        self.takes.append((doubts_max, lease_seconds))
        ids = [*self.doubts, *self.missing][self.given : self.given + doubts_max]
        self.given += len(ids)
        return [Lease(order_id, 7, self.tries) for order_id in ids]

    async def load(self, order_ids: Sequence[str]) -> dict[str, OrderInDoubt | Unreadable]:
        return {order_id: self.doubts[order_id] for order_id in order_ids if order_id in self.doubts}

    async def apply(self, verdicts: Sequence[Verdict]) -> list[bool]:
        if self.fails == "apply":
            raise LOST
        if self.fails == "apply by a bug":
            raise KeyError("bug")
        self.verdicts += verdicts
        for verdict in verdicts:
            self.applied.put_nowait(verdict)
        if self.gate is not None:
            await self.gate.wait()
        return [not self.is_fenced_off for _ in verdicts]

    async def claim_sends(self, wanted: Sequence[WantedSend], **how: Any) -> list[ClaimedSend | None]:
        if self.fails == "claim":
            raise LOST
        self.log.append("claim")
        self.claims += [(each, how) for each in wanted]
        claim = ClaimedSend(2, at(35), at(40), 4.5) if self.can_claim else None
        return [claim for _ in wanted]

    async def record_answers(self, answers: Sequence[AnsweredSend]) -> list[None]:
        self.log.append("answer")
        self.answers += answers
        return [None for _ in answers]

    async def make_due(self, *, doubts_max: int) -> int:
        self.log.append("make_due")
        return self.asleep.pop(0) if self.asleep else 0

    async def note_epoch(self, venue: str, epoch: str) -> datetime | None:
        self.epochs.append((venue, epoch))
        return self.begun_at


@dataclass
class Exchange:
    """In the place of a sender."""

    log: list[str]
    promises: Capabilities | NoAnswer = DURABLE
    verifications: list[Verification] = field(default_factory=lambda: [Absent()])
    answer: PlaceAnswer = field(default_factory=lambda: Accepted("x-2"))
    cancel_answer: CancelAnswer = field(default_factory=CancelAccepted)
    why_denied: str | None = None
    sends: list[tuple[str, float, datetime | None]] = field(default_factory=list)
    only_sends: list[bool] = field(default_factory=list)
    raises: Exception | None = None
    gate: asyncio.Event | None = None
    queried: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    querying: int = 0
    querying_max: int = 0
    venue_name: str = "scripted"

    async def capabilities(self) -> Capabilities | NoAnswer:
        return self.promises

    async def query(self, order_id: str, *, instrument: str | None = None) -> Verification:
        self.log.append("query")
        self.querying += 1
        self.querying_max = max(self.querying, self.querying_max)
        self.queried.put_nowait(order_id)
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            for _ in range(5):
                await asyncio.sleep(0)  # as an adapter that closes its connection
            self.log.append("given up")
            raise
        await asyncio.sleep(0)  # the others' turn, or none would be asked about while another is
        self.querying -= 1
        if self.raises is not None:
            raise self.raises
        return self.verifications.pop(0) if len(self.verifications) > 1 else self.verifications[0]

    async def cancel(self, order_id: str, *, instrument: str | None = None) -> CancelAnswer:
        self.log.append("cancel")
        return self.cancel_answer

    async def send_and_query(
        self,
        order: Order,
        *,
        send_by: float,
        accept_by: datetime | None,
        is_only_send: bool = True,
        is_resend: bool = False,
    ) -> PlaceAnswer:
        assert is_resend
        self.log.append("send")
        self.sends.append((order.id, send_by, accept_by))
        self.only_sends.append(is_only_send)
        return self.answer

    def denial_cause(self, order: Order) -> str | None:
        return self.why_denied


@dataclass
class Written:
    """In the place of a journal."""

    log: list[str]
    steps: list[NewTrailRow] = field(default_factory=list)

    async def step(self, row: NewTrailRow) -> None:
        self.log.append("step")
        self.steps.append(row)


@dataclass
class Feeds:
    """In the place of the rows of feeds: one venue's, owned or not."""

    is_owned: bool = False

    async def feed(self, venue: str) -> FeedView:
        return FeedView(venue, "feed-1", self.is_owned, None, START)


class House:
    def __init__(self, limits: PassLimits | None = None, chance: random.Random | None = None) -> None:
        self.log: list[str] = []
        self.database = Database(self.log)
        self.exchange = Exchange(self.log)
        self.journal = Written(self.log)
        self.clock = ManualClock(100.0)
        self.feeds = Feeds()
        self.reconciler = Reconciler(
            cast("Any", self.database),
            cast("Any", self.journal),
            cast("Any", self.exchange),
            self.clock,
            VerificationLimits(answer_seconds=5, clock_margin_seconds=1),
            name="r-1",
            send_seconds=6,
            limits=limits,
            chance=chance,
            feeds=cast("Any", self.feeds),
        )

    async def review(self, doubt: OrderInDoubt | Unreadable) -> Verdict:
        """The verdict of a pass over this one order."""
        _, verdict = await self.counted(doubt)
        return verdict

    async def counted(self, doubt: OrderInDoubt | Unreadable) -> tuple[PassReport, Verdict]:
        self.database.doubts, self.database.given = {"order-1": doubt}, 0
        report = await self.reconciler.run_once()
        return report, self.database.verdicts[-1]

    def many(self, number: int, *rows: TrailRow) -> None:
        ids = [f"order-{each}" for each in range(number)]
        self.database.doubts, self.database.given = {each: a_doubt(*rows, id=each) for each in ids}, 0

    async def run(self) -> PassReport:
        async with asyncio.timeout(10):
            return await self.reconciler.run_once()


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """What goes to the log: level, event, fields."""
    reported: list[tuple[str, str, dict[str, Any]]] = []

    class Log:
        def __getattr__(self, level: str) -> Any:
            return lambda event, **fields: reported.append((level, event, fields))

    monkeypatch.setattr(reconciler, "_log", Log())
    return reported


def counted(report: PassReport) -> dict[str, int]:
    names = ("settled", "waiting", "completed", "not_placed", "unresolved", "resent", "canceled", "errors")
    return {name: value for name in names if (value := getattr(report, name))}


# One look


async def test_what_its_rows_settle_is_not_queried(house: House) -> None:
    report, verdict = await house.counted(a_doubt(REFUSED))

    assert verdict == Verdict(
        Lease("order-1", 7, 0), (), is_settled=True, next_seconds=0, observation="settled by its rows"
    )
    assert "query" not in house.log
    assert counted(report) == {"settled": 1}
    assert report.reviewed == 1


async def test_found_order_is_settled_with_its_rows(house: House) -> None:
    house.exchange.verifications = [found("filled")]

    report, verdict = await house.counted(a_doubt(UNKNOWN))

    assert verdict.is_settled
    assert verdict.rows == (TrailRow(S.COMPLETED, "verified", "x-1"), TrailRow(S.FILLED, "verified", "x-1"))
    assert verdict.observation == "FILLED verified"
    assert counted(report) == {"settled": 1, "completed": 1}
    assert (report.answered, report.unanswered) == (1, 0)
    assert report.observations == [("order-1", "FILLED verified")]


async def test_absent_order_past_its_time_is_not_placed(house: House) -> None:
    report, verdict = await house.counted(a_doubt(UNKNOWN, now=60))

    assert verdict.is_settled
    assert verdict.rows == (TrailRow(S.NOT_PLACED, "proved:absent"),)
    assert counted(report) == {"settled": 1, "not_placed": 1}


async def test_unresolved_order_is_reviewed_further(house: House) -> None:
    house.database.begun_at = at(20)

    report, verdict = await house.counted(a_doubt(UNKNOWN))

    assert verdict.rows == (TrailRow(S.UNRESOLVED, "exchange_forgot"),)
    assert not verdict.is_settled
    assert verdict.observation == "exchange_forgot"
    assert house.database.epochs == [("scripted", "e")]
    assert counted(report) == {"waiting": 1, "unresolved": 1}


async def test_unresolved_order_is_reported_as_an_error_and_no_other_is(
    house: House, reported: list[tuple[str, str, dict[str, Any]]]
) -> None:
    house.database.begun_at = at(20)
    await house.review(a_doubt(UNKNOWN))
    house.database.begun_at = None
    house.exchange.verifications = [found("filled")]
    await house.review(a_doubt(UNKNOWN))

    assert reported == [("error", "an order is unresolved", {"order_id": "order-1", "reason": "exchange_forgot"})]


@pytest.mark.parametrize(("now", "seconds"), [(8, 3), (10.5, 0.5)])
async def test_wait_until_a_moment_ends_at_that_moment(house: House, now: float, seconds: float) -> None:
    verdict = await house.review(a_doubt(UNKNOWN, now=now))

    assert (verdict.is_settled, verdict.rows, verdict.next_seconds) == (False, (), seconds)
    assert verdict.observation == "absence does not count yet"


@pytest.mark.parametrize(("tries", "pause"), [(0, 1), (1, 2), (3, 8), (5, 30), (1000, 30)])
async def test_pauses_double_up_to_the_longest_and_none_is_cut_by_more_than_half(
    house: House, tries: int, pause: float
) -> None:
    house.exchange.verifications = [NoAnswer("timeout")]
    house.database.tries = tries

    verdicts = [await house.review(a_doubt(UNKNOWN)) for _ in range(20)]

    assert all(pause / 2 <= verdict.next_seconds <= pause for verdict in verdicts)
    assert max(verdict.next_seconds for verdict in verdicts) > 0.8 * pause
    assert min(verdict.next_seconds for verdict in verdicts) < 0.7 * pause
    assert {verdict.observation for verdict in verdicts} == {"no answer: timeout"}


async def test_order_that_is_not_there_is_reviewed_no_more(house: House) -> None:
    house.database.missing = ["order-1"]

    await house.run()

    missing = Verdict(Lease("order-1", 7, 0), (), is_settled=True, next_seconds=0, observation="no such order")
    assert house.database.verdicts == [missing]


async def test_unreadable_order_is_counted_and_left_for_later(house: House) -> None:
    report, verdict = await house.counted(Unreadable("two INITIATED"))

    assert (verdict.is_settled, verdict.rows, verdict.observation) == (False, (), "unreadable: two INITIATED")
    assert counted(report) == {"waiting": 1, "errors": 1}
    assert verdict.next_seconds > 0


async def test_poison_order_is_counted_and_stops_no_other(house: House) -> None:
    house.exchange.raises = ValueError("bad\x00 " + "x" * 1000)

    report, verdict = await house.counted(a_doubt(UNKNOWN))

    assert not verdict.is_settled
    assert verdict.observation.startswith("error: bad x")
    assert len(verdict.observation) == 200
    assert counted(report) == {"waiting": 1, "errors": 1}


async def test_verdict_of_one_who_holds_the_order_no_more_is_not_counted(house: House) -> None:
    house.database.is_fenced_off = True

    report, _ = await house.counted(a_doubt(REFUSED))

    assert counted(report) == {}
    assert report.observations == []


@pytest.mark.parametrize("fails", ["apply", "claim"])
async def test_lost_database_applies_nothing(house: House, fails: str) -> None:
    house.database.fails = fails
    house.database.doubts = {"order-1": a_doubt(NOT_SENT)}
    house.reconciler._claims._limits = house.reconciler._verdicts._limits = replace(
        house.reconciler._claims._limits, timeout_seconds=0
    )

    report = await house.run()

    assert counted(report)["errors"] == 1
    assert house.database.verdicts == []
    assert report.observations == []


# A resend


async def test_resend_is_claimed_before_it_is_made_and_recorded_after_it(house: House) -> None:
    report, verdict = await house.counted(a_doubt(UNKNOWN))

    assert house.log[-5:] == ["query", "claim", "send", "step", "answer"]
    [(wanted, how)] = house.database.claims
    assert wanted == WantedSend(Lease("order-1", 7, 0), None)
    assert how == {"claimed_by": "r-1", "send_seconds": 6, "answer_seconds": 5}
    assert house.exchange.sends == [("order-1", 104.5, at(40))]
    assert house.journal.steps == [NewTrailRow("order-1", S.COMPLETED, "resent", "x-2")]
    assert house.database.answers == [AnsweredSend("order-1", 2, SendAnswer.ACCEPTED, "accepted", "x-2")]
    assert (verdict.is_settled, verdict.rows, verdict.observation) == (True, (), "resent and accepted")
    assert counted(report) == {"settled": 1, "completed": 1, "resent": 1}


@pytest.mark.parametrize(("row", "is_only_send"), [(UNKNOWN, False), (NOT_SENT, True)])
async def test_question_after_a_resend_knows_whether_another_may_have_arrived(
    house: House, row: TrailRow, is_only_send: bool
) -> None:
    await house.review(a_doubt(row))

    assert house.exchange.only_sends == [is_only_send]


async def test_resend_keeps_to_the_time_for_which_the_id_is_unique(house: House) -> None:
    house.exchange.promises = Capabilities("e", 60.0, 0, 10)

    await house.review(a_doubt(UNKNOWN))

    [(wanted, _)] = house.database.claims
    assert wanted.send_by_max == at(44)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Refused("no_funds"), SendAnswer.REFUSED, "refused:no_funds"),
        (NotSent("closed"), SendAnswer.NOT_SENT, "not_sent:closed"),
        (Unknown("timeout"), SendAnswer.UNKNOWN, "unknown:timeout"),
    ],
)
async def test_resend_that_is_not_accepted_is_recorded_and_reviewed_again(
    house: House, answer: PlaceAnswer, kind: SendAnswer, reason: str
) -> None:
    house.exchange.answer = answer

    report, verdict = await house.counted(a_doubt(NOT_SENT))

    assert house.database.answers == [AnsweredSend("order-1", 2, kind, reason, None)]
    assert house.journal.steps == []
    assert (verdict.is_settled, verdict.rows, verdict.observation) == (False, (), f"resent: {reason}")
    assert verdict.next_seconds <= 1
    assert counted(report) == {"waiting": 1, "resent": 1}


async def test_resend_that_was_not_accepted_pauses_as_any_other_review() -> None:
    house = House(chance=Least())
    house.exchange.answer = NotSent("closed")

    assert (await house.review(a_doubt(NOT_SENT))).next_seconds == 0.5


async def test_throttled_resend_waits_for_as_long_as_the_exchange_wants(house: House) -> None:
    house.exchange.answer = NotSent("throttled", 17)

    verdict = await house.review(a_doubt(NOT_SENT))

    assert verdict.next_seconds == 17


async def test_closed_gate_makes_no_claim(house: House) -> None:
    house.exchange.why_denied = "circuit_open"

    report, verdict = await house.counted(a_doubt(NOT_SENT))

    assert house.database.claims == []
    assert house.exchange.sends == []
    assert (verdict.is_settled, verdict.observation) == (False, "not resent: circuit_open")
    assert counted(report) == {"waiting": 1}


async def test_without_a_claim_nothing_is_sent(house: House) -> None:
    house.database.can_claim = False

    report, verdict = await house.counted(a_doubt(NOT_SENT))

    assert house.exchange.sends == []
    assert not verdict.is_settled
    assert counted(report) == {"waiting": 1}


async def test_nothing_is_sent_while_the_promises_are_not_known(house: House) -> None:
    house.exchange.promises = NoAnswer("timeout")

    report, verdict = await house.counted(a_doubt(NOT_SENT))

    assert not verdict.is_settled
    assert report.errors == 0
    assert house.exchange.sends == []
    assert house.database.epochs == []


# A cancel


async def test_canceled_order_is_settled_by_what_the_exchange_says_of_it_afterwards(house: House) -> None:
    house.exchange.verifications = [found(), found("canceled")]

    report, verdict = await house.counted(a_doubt(UNKNOWN, is_cancel_wanted=True))

    assert house.log[-3:] == ["query", "cancel", "query"]
    assert verdict.is_settled
    assert verdict.rows == (TrailRow(S.COMPLETED, "verified", "x-1"), TrailRow(S.CANCELED, "verified", "x-1"))
    assert counted(report) == {"settled": 1, "completed": 1, "canceled": 1}
    assert report.answered == 2


@pytest.mark.parametrize("answer", [CancelAccepted(), CancelTooLate()])
async def test_order_that_is_still_open_after_its_cancel_is_reviewed_again(house: House, answer: CancelAnswer) -> None:
    house.exchange.cancel_answer = answer
    house.exchange.verifications = [found()]

    report, verdict = await house.counted(a_doubt(UNKNOWN, is_cancel_wanted=True))

    assert not verdict.is_settled
    assert verdict.rows == (TrailRow(S.COMPLETED, "verified", "x-1"),)
    assert verdict.observation.startswith("cancel ") and verdict.observation.endswith(", not over yet")
    assert counted(report) == {"waiting": 1, "completed": 1, "canceled": 1}


@pytest.mark.parametrize("answer", [NoAnswer("timeout"), Absent()])
async def test_cancel_without_an_answer_is_queried_again_and_what_was_found_is_kept(
    house: House, answer: CancelAnswer
) -> None:
    house.exchange.cancel_answer = answer
    house.exchange.verifications = [found()]

    report, verdict = await house.counted(a_doubt(UNKNOWN, is_cancel_wanted=True))

    assert not verdict.is_settled
    assert verdict.rows == (TrailRow(S.COMPLETED, "verified", "x-1"),)
    assert verdict.observation in ("cancel not answered: timeout", "cancel not answered: absent")
    assert counted(report) == {"waiting": 1, "completed": 1}
    assert house.log.count("query") == 1


async def test_canceled_order_that_is_shown_only_while_open_is_settled_when_it_is_gone(house: House) -> None:
    house.exchange.promises = Capabilities("e", "while_open", float("inf"), 10, honours_accept_by=True)

    report, verdict = await house.counted(a_doubt(UNKNOWN, is_cancel_wanted=True, observed_exchange_order_id="x-1"))

    assert verdict.is_settled
    assert verdict.rows == (TrailRow(S.COMPLETED, "execution", "x-1"),)
    assert counted(report) == {"settled": 1, "completed": 1, "canceled": 1}


def accepted_and_hidden(*rows: TrailRow) -> OrderInDoubt:
    """The resend was accepted; the first send came too late, was refused, and is what the exchange shows."""
    doubt = a_doubt(UNKNOWN, *rows, is_cancel_wanted=True)
    accepted = Send(at(30), at(35), SendAnswer.ACCEPTED, "accepted", "x-2")
    return replace(doubt, sends=(*doubt.sends, accepted))


async def test_canceled_order_that_a_refused_send_hides_is_settled(house: House) -> None:
    house.exchange.promises = Capabilities("e", "while_open", 0, 10, honours_accept_by=True)
    house.exchange.verifications = [found("rejected")]

    report, verdict = await house.counted(accepted_and_hidden())

    assert (verdict.is_settled, verdict.rows) == (True, (TrailRow(S.COMPLETED, "accepted", "x-2"),))
    assert counted(report) == {"settled": 1, "completed": 1, "canceled": 1}


@pytest.mark.parametrize("was_reported", [False, True])
async def test_cancel_that_does_not_reach_an_order_that_a_refused_send_hides_is_for_a_person(
    house: House, was_reported: bool
) -> None:
    house.exchange.promises = Capabilities("e", "while_open", 0, 10, honours_accept_by=True)
    house.exchange.verifications = [found("rejected")]
    house.exchange.cancel_answer = CancelTooLate()
    reported = TrailRow(S.UNRESOLVED, "hidden_from_cancel")

    verdict = await house.review(accepted_and_hidden(*([reported] if was_reported else [])))

    assert not verdict.is_settled
    assert verdict.observation == "hidden_from_cancel"
    assert verdict.rows == (TrailRow(S.COMPLETED, "accepted", "x-2"), *([] if was_reported else [reported]))


async def test_no_answer_after_a_cancel_settles_nothing(house: House) -> None:
    house.exchange.verifications = [found(), NoAnswer("timeout")]

    verdict = await house.review(a_doubt(UNKNOWN, is_cancel_wanted=True))

    assert not verdict.is_settled
    assert verdict.rows == (TrailRow(S.COMPLETED, "verified", "x-1"),)


async def test_absence_after_a_cancel_settles_nothing_before_it_counts(house: House) -> None:
    house.exchange.verifications = [found(), Absent()]

    report, verdict = await house.counted(a_doubt(UNKNOWN, now=8, is_cancel_wanted=True))

    assert (verdict.is_settled, verdict.observation) == (False, "cancel accepted, not over yet")
    assert verdict.rows == (TrailRow(S.COMPLETED, "verified", "x-1"),)
    assert report.errors == 0


OPEN = VenueWord("new", proves_acceptance=True, exchange_order_id="x-1")


@pytest.mark.parametrize("answer", [CancelAccepted(), CancelTooLate(), NoAnswer("timeout")])
async def test_cancel_that_will_be_reported_needs_no_query(house: House, answer: CancelAnswer) -> None:
    house.feeds.is_owned = True
    house.exchange.cancel_answer = answer

    report, verdict = await house.counted(a_doubt(UNKNOWN, is_cancel_wanted=True, word=OPEN))

    assert "query" not in house.log and house.log.count("cancel") == 1
    assert (verdict.is_settled, verdict.rows) == (False, (TrailRow(S.COMPLETED, "execution", "x-1"),))
    assert verdict.observation.startswith("cancel ")
    assert 0.5 <= verdict.next_seconds <= 1
    assert report.canceled == (not isinstance(answer, NoAnswer))


@pytest.mark.parametrize(("is_owned", "tries", "queries"), [(False, 0, 1), (True, 2, 0), (True, 3, 1)])
async def test_cancel_of_which_no_report_comes_is_queried(
    house: House, is_owned: bool, tries: int, queries: int
) -> None:
    house.feeds.is_owned, house.database.tries = is_owned, tries
    house.exchange.verifications = [found("canceled")]

    verdict = await house.review(a_doubt(UNKNOWN, is_cancel_wanted=True, word=OPEN))

    assert house.log.count("query") == queries
    assert verdict.is_settled == (queries > 0)
    assert verdict.rows[0] == TrailRow(S.COMPLETED, "verified" if queries else "execution", "x-1")


async def test_order_that_the_reports_show_as_ended_is_canceled_no_more(house: House) -> None:
    canceled = replace(OPEN, ord_status="canceled")

    verdict = await house.review(a_doubt(UNKNOWN, is_cancel_wanted=True, word=canceled))

    assert not {"query", "cancel"} & set(house.log)
    assert (verdict.is_settled, verdict.rows) == (True, (TrailRow(S.COMPLETED, "execution", "x-1"),))


@pytest.mark.parametrize("was_reported", [False, True])
async def test_open_order_that_the_exchange_has_forgotten_is_for_a_person(house: House, was_reported: bool) -> None:
    house.feeds.is_owned = True
    house.exchange.cancel_answer = Absent()
    unresolved = TrailRow(S.UNRESOLVED, "accepted_and_absent")
    rows = (UNKNOWN, TrailRow(S.COMPLETED), *([unresolved] if was_reported else []))

    verdict = await house.review(a_doubt(*rows, is_cancel_wanted=True, word=OPEN))

    assert (verdict.is_settled, verdict.observation) == (False, "accepted_and_absent")
    assert verdict.rows == (() if was_reported else (unresolved,))


@pytest.mark.parametrize(
    ("promises", "verification"),
    [
        (Capabilities("e", "while_open", float("inf"), 10), Absent()),
        (DURABLE, found()),
        (DURABLE, NoAnswer("timeout")),
        (NoAnswer("timeout"), Absent()),
    ],
)
async def test_cancel_of_an_order_that_is_not_known_is_repeated_where_that_proves_nothing(
    house: House, promises: Capabilities | NoAnswer, verification: Verification
) -> None:
    house.exchange.promises, house.exchange.verifications = promises, [verification]
    house.exchange.cancel_answer = Absent()

    verdict = await house.review(a_doubt(TrailRow(S.COMPLETED), is_cancel_wanted=True, word=OPEN))

    assert (verdict.is_settled, verdict.rows) == (False, ())
    assert verdict.observation == "cancel not answered: absent"


async def test_order_that_is_not_known_to_a_cancel_and_has_ended_is_settled(house: House) -> None:
    house.exchange.cancel_answer, house.exchange.verifications = Absent(), [found("filled")]

    verdict = await house.review(a_doubt(TrailRow(S.COMPLETED), is_cancel_wanted=True, word=OPEN))

    assert verdict.is_settled
    assert verdict.rows == (TrailRow(S.COMPLETED, "verified", "x-1"), TrailRow(S.FILLED, "verified", "x-1"))


async def test_pause_is_shorter_by_chance_and_by_half_at_the_most() -> None:
    least, usual = House(chance=Least()), House()
    pauses = []
    for house in (least, usual):
        house.exchange.verifications = [NoAnswer("timeout")]
        pauses.append((await house.review(a_doubt(UNKNOWN))).next_seconds)

    assert pauses[0] == 0.5
    assert 0.5 <= pauses[1] <= 1


# A pass


async def test_batches_are_enqueued_until_fewer_come_than_may(house: House) -> None:
    house.database.batches = [200, 200, 3, 5]

    report = await house.run()

    assert report.batches == 403
    assert house.log == ["enqueue_due_batches 200"] * 3


async def test_enqueueing_ends_where_nothing_is_due(house: House) -> None:
    house.database.batches = [200]

    report = await house.run()

    assert report.batches == 200
    assert house.log == ["enqueue_due_batches 200"] * 2


async def test_bug_in_applying_a_verdict_is_counted_and_holds_up_no_other(house: House) -> None:
    before = raised()
    house.many(3)
    house.database.fails = "apply by a bug"

    report = await house.run()

    assert report.errors == 3
    assert raised() - before == 3


async def test_lease_is_longer_than_a_review_can_take(house: House) -> None:
    await house.run()

    # A question, a send with its question, a cancel with its own: each waits at the gate and for its answer.
    assert house.database.takes == [(256, 8 * 5 + 6 + 10)]


async def test_all_that_is_due_is_reviewed_and_so_many_at_once() -> None:
    house = House(PassLimits(reviews_at_once=4))
    house.exchange.verifications = [NoAnswer("timeout"), Absent()]
    house.many(21, UNKNOWN)

    report = await house.run()

    assert report.reviewed == 21
    assert len({verdict.lease.order_id for verdict in house.database.verdicts}) == 21
    assert house.exchange.querying_max == 4
    assert not report.has_more


class Turnstile:
    """Lets as many pass as it is told."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(0)

    async def wait(self) -> None:
        await self._free.acquire()

    def let_pass(self) -> None:
        self._free.release()


async def test_more_are_taken_once_half_of_the_reviews_have_ended() -> None:
    house = House(PassLimits(reviews_at_once=4))
    house.exchange.verifications = [found()]
    house.many(12, UNKNOWN)
    turnstile = Turnstile()
    house.exchange.gate = cast("asyncio.Event", turnstile)
    takes = []

    passing = asyncio.create_task(house.reconciler.run_once())
    async with asyncio.timeout(5):
        for queried, ended in ((4, 1), (0, 1), (2, 1)):
            for _ in range(queried):
                await house.exchange.queried.get()
            for _ in range(ended):
                turnstile.let_pass()
                await house.database.applied.get()
            takes.append([count for count, _ in house.database.takes])
        for _ in range(12):
            turnstile.let_pass()
        await passing

    assert takes == [[4], [4], [4, 2]]
    assert house.exchange.querying_max == 4
    assert len(house.database.verdicts) == 12


async def test_slow_review_holds_up_no_other() -> None:
    house = House(PassLimits(reviews_at_once=4))
    house.many(12, REFUSED)
    house.database.doubts = {"slow": a_doubt(UNKNOWN, id="slow"), **house.database.doubts}
    house.exchange.gate = asyncio.Event()
    passing = asyncio.create_task(house.reconciler.run_once())
    async with asyncio.timeout(10):
        for _ in range(12):
            await house.database.applied.get()

    house.exchange.gate.set()
    async with asyncio.timeout(10):
        report = await passing

    assert report.reviewed == 13
    assert house.database.verdicts[-1].lease.order_id == "slow"


async def test_pass_ends_when_its_time_is_up_and_says_that_there_is_more() -> None:
    house = House(PassLimits(reviews_at_once=4, pass_seconds=0))
    house.many(8, REFUSED)

    report = await house.run()

    assert report.has_more
    assert report.reviewed == 4
    assert len(house.database.verdicts) == 4


async def test_pass_that_ends_with_its_time_has_no_more_where_all_was_taken() -> None:
    house = House(PassLimits(reviews_at_once=4, pass_seconds=0))
    house.many(3, REFUSED)

    report = await house.run()

    assert not report.has_more
    assert len(house.database.verdicts) == 3


async def test_silent_exchange_is_not_queried_about_everything() -> None:
    house = House(PassLimits(reviews_at_once=4))
    house.exchange.verifications = [NoAnswer("timeout")]
    house.many(40, UNKNOWN)

    report = await house.run()

    assert report.reviewed < 12
    assert report.unanswered == report.reviewed
    assert not report.has_more


async def test_exchange_that_answers_some_is_queried_about_everything() -> None:
    house = House(PassLimits(reviews_at_once=4))
    house.exchange.verifications = [Absent(), NoAnswer("timeout")]
    house.many(40, UNKNOWN)

    report = await house.run()

    assert report.reviewed == 40


async def test_what_is_left_of_a_pass_that_is_stopped_ends_with_it(house: House) -> None:
    house.many(3, UNKNOWN)
    house.exchange.gate = asyncio.Event()
    passing = asyncio.create_task(house.reconciler.run_once())
    async with asyncio.timeout(10):
        for _ in range(3):
            await house.exchange.queried.get()

    passing.cancel()
    await asyncio.wait({passing})

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert house.log.count("given up") == 3
    assert house.database.verdicts == []


async def test_what_a_stopped_pass_is_writing_is_written_before_it_ends(house: House) -> None:
    house.many(1, REFUSED)
    house.database.gate = asyncio.Event()
    passing = asyncio.create_task(house.reconciler.run_once())
    async with asyncio.timeout(10):
        await house.database.applied.get()

    passing.cancel()
    ended_early, _ = await asyncio.wait({passing}, timeout=0.01)
    house.database.gate.set()
    async with asyncio.timeout(10):
        await asyncio.wait({passing})

    assert not ended_early
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Waking


async def test_exchange_that_answers_again_ends_every_pause_once(
    house: House, reported: list[tuple[str, str, dict[str, Any]]]
) -> None:
    house.exchange.verifications = [NoAnswer("timeout"), found()]
    await house.review(a_doubt(UNKNOWN))
    assert "make_due" not in house.log
    house.database.asleep = [5000, 10]

    await house.review(a_doubt(UNKNOWN))
    await house.review(a_doubt(UNKNOWN))

    assert house.log.count("make_due") == 3
    assert reported == [("info", "the exchange answers again", {"doubts": 5010})]


async def test_exchange_that_stays_silent_ends_no_pause(house: House) -> None:
    house.exchange.verifications = [NoAnswer("timeout")]

    await house.review(a_doubt(UNKNOWN))
    await house.review(a_doubt(UNKNOWN))

    assert "make_due" not in house.log


async def test_pass_with_some_answers_is_no_silence() -> None:
    house = House()
    house.exchange.verifications = [NoAnswer("timeout"), found()]
    house.many(2, UNKNOWN)

    await house.run()
    house.exchange.verifications = [found()]
    await house.review(a_doubt(UNKNOWN))

    assert "make_due" not in house.log


async def test_exchange_that_is_within_reach_again_ends_every_pause_once(house: House) -> None:
    house.exchange.promises = NoAnswer("connect_failed")
    await house.run()
    house.exchange.promises = DURABLE
    house.database.asleep = [1]

    await house.run()
    await house.run()

    assert house.log.count("make_due") == 2


async def test_pass_with_nothing_to_query_is_no_silence(house: House) -> None:
    await house.run()
    await house.review(a_doubt(UNKNOWN))

    assert "make_due" not in house.log


async def test_exchange_that_was_never_away_makes_nothing_due(house: House) -> None:
    await house.run()
    await house.review(a_doubt(REFUSED))

    assert "make_due" not in house.log
