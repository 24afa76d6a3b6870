"""What is done with an order in doubt: each branch as an example, and what must hold whatever the rows say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.reason_document import REASON_LINES
from ordertrail.domain.capabilities import PROMISES_NOTHING, UNBOUNDED, Capabilities
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.order_in_doubt import OrderInDoubt, Send, SendAnswer, first_send
from ordertrail.domain.reason import ReasonKind, parse
from ordertrail.domain.settling import (
    Append,
    Cancel,
    Resend,
    Settle,
    Step,
    VerificationLimits,
    Wait,
    absence_counts_from,
    after_query,
    before_query,
    is_settled_by_rows,
)
from ordertrail.domain.trail import PLACED_STATUSES, OrderStatus, Outcome, TrailRow, fold_outcome
from ordertrail.domain.venue_answer import Absent, Found, NoAnswer, Verification
from ordertrail.domain.venue_word import VenueWord, end_of
from tests.support.orders import venue_order

S = OrderStatus
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
LIMITS = VerificationLimits(answer_seconds=5, clock_margin_seconds=1)
ORDER = Order(
    "order-1", OrderType.LIMIT, Side.BUY, "AAPL12345678", Decimal("10.50"), 10, place_by=START + timedelta(seconds=60)
)
MARKET = replace(ORDER, type=OrderType.MARKET, limit_price=None, place_by=None)
DURABLE = Capabilities("e", "forever", 0, 10, honours_accept_by=True)
FOREVER = Capabilities("e", "forever", 0, 10)
WHILE_OPEN = Capabilities("e", "while_open", 0, 10)
FOR_A_MINUTE = Capabilities("e", 60.0, 0, 10)
OPEN_ONLY = Capabilities("e", "while_open", UNBOUNDED, 10, honours_accept_by=True)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def doubt(
    *rows: tuple[OrderStatus, str],
    now: float = 20,
    order: Order = ORDER,
    accept_by: datetime | None = START + timedelta(seconds=10),
    resends: tuple[Send, ...] = (),
    is_cancel_wanted: bool = False,
    observed_exchange_order_id: str | None = None,
    word: VenueWord | None = None,
) -> OrderInDoubt:
    trail = (TrailRow(S.INITIATED), *(TrailRow(status, reason) for status, reason in rows))
    first = first_send(trail, send_by=at(5), accept_by=accept_by)
    sends = (first, *resends)
    return OrderInDoubt(order, START, trail, sends, at(now), is_cancel_wanted, observed_exchange_order_id, word)


def resend(answer: SendAnswer | None, reason: str = "", *, send_by: float = 30) -> Send:
    return Send(at(send_by), at(send_by + 5), answer, reason)


def at_exchange(ord_status: str = "new", **changes: Any) -> Found:
    reason = "no_funds" if ord_status == "rejected" else None
    shown = {"exchange_order_id": "x-1", "ord_status": ord_status, "reject_reason": reason}
    return Found(venue_order(ORDER, **{**shown, **changes}))


def query(
    of: OrderInDoubt,
    answer: Verification,
    capabilities: Capabilities | None = DURABLE,
    *,
    forgotten_until: float | None = None,
) -> Step:
    until = None if forgotten_until is None else at(forgotten_until)
    return after_query(of, answer, capabilities, LIMITS, forgotten_until=until)


def rows_of(step: Step | None) -> list[tuple[OrderStatus, str | None]]:
    return [(row.status, row.reason) for row in getattr(step, "rows", ())]


UNKNOWN = (S.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout")
NOT_SENT = (S.EXCHANGE_CREATION_FAILED, "not_sent:connect_failed")
REFUSED = (S.EXCHANGE_CREATION_FAILED, "refused:no_funds")
NOT_RECORDED = (S.DATABASE_PERSISTENCE_FAILED, "not_sent:not_recorded")
ACCEPTED = (S.DATABASE_PERSISTENCE_FAILED, "accepted")
PLACED = (S.COMPLETED, "verified")
NOT_PLACED = (S.NOT_PLACED, "proved:absent")
UNRESOLVED = (S.UNRESOLVED, "absence_cannot_be_proved")


# What the rows alone settle


ENDS = [S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED]


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize("is_cancel_wanted", [False, True])
def test_terminal_order_is_settled(status: OrderStatus, is_cancel_wanted: bool) -> None:
    assert before_query(doubt(PLACED, (status, "verified"), is_cancel_wanted=is_cancel_wanted)) == Settle()


@pytest.mark.parametrize("status", [S.PARTIALLY_FILLED, *ENDS])
@pytest.mark.parametrize("others", [(), (UNKNOWN,), (UNKNOWN, NOT_PLACED)])
def test_reported_order_is_settled_once_it_is_completed_and_without_a_query(
    others: tuple[tuple[OrderStatus, str], ...], status: OrderStatus
) -> None:
    of = doubt(*others, (status, "execution"))

    assert not is_settled_by_rows(of)
    assert rows_of(before_query(of)) == [(S.COMPLETED, "execution")]
    assert before_query(replace(of, rows=(*of.rows, TrailRow(*PLACED)))) == Settle()


@pytest.mark.parametrize(
    ("others", "ord_status"),
    [((), "new"), ((UNKNOWN,), "filled"), ((UNKNOWN, NOT_PLACED), "canceled"), ((ACCEPTED,), "a new word"), ((), "")],
)
def test_report_proves_the_acceptance(others: tuple[tuple[OrderStatus, str], ...], ord_status: str) -> None:
    step = before_query(doubt(*others, word=VenueWord(ord_status, proves_acceptance=True, exchange_order_id="x-9")))

    assert step == Settle((TrailRow(S.COMPLETED, "execution", "x-9"),))


REFUSAL = VenueWord("rejected", proves_acceptance=False, exchange_order_id=None)


def test_report_of_a_refusal_proves_no_acceptance() -> None:
    of = doubt(UNKNOWN, word=REFUSAL)

    assert not of.was_accepted
    assert before_query(of) is None
    assert rows_of(query(of, at_exchange("rejected"))) == [(S.NOT_PLACED, "proved:refused:no_funds")]
    assert before_query(doubt(UNKNOWN, NOT_PLACED, word=REFUSAL)) == Settle()
    assert before_query(doubt(REFUSED, word=REFUSAL)) == Settle()


def test_acceptance_that_comes_after_the_report_of_a_rejection_is_rejected() -> None:
    assert rows_of(before_query(doubt(PLACED, word=REFUSAL))) == [(S.REJECTED, "execution")]
    assert before_query(doubt(PLACED, (S.REJECTED, "execution"), word=REFUSAL)) == Settle()


@pytest.mark.parametrize("is_cancel_wanted", [False, True])
def test_order_that_was_reported_open_and_then_rejected_is_over(is_cancel_wanted: bool) -> None:
    rejected = VenueWord("rejected", proves_acceptance=True, exchange_order_id="x-1")

    step = before_query(doubt(word=rejected, is_cancel_wanted=is_cancel_wanted))

    assert isinstance(step, Settle)
    assert rows_of(step) == [(S.COMPLETED, "execution"), (S.REJECTED, "execution")]


@pytest.mark.parametrize("others", [(), (PLACED,), (UNKNOWN, NOT_PLACED)])
@pytest.mark.parametrize("status", ENDS)
def test_order_that_is_open_again_by_the_latest_word_is_canceled(
    others: tuple[tuple[OrderStatus, str], ...], status: OrderStatus
) -> None:
    reinstated = VenueWord("partially_filled", proves_acceptance=True, exchange_order_id="x-1")

    step = before_query(doubt(*others, (status, "execution"), word=reinstated, is_cancel_wanted=True))

    assert isinstance(step, Cancel)
    assert rows_of(step) == ([] if PLACED in others else [(S.COMPLETED, "execution")])


def test_order_that_is_over_by_the_latest_word_is_canceled_no_more() -> None:
    canceled = VenueWord("canceled", proves_acceptance=True, exchange_order_id="x-1")

    assert before_query(doubt(PLACED, word=canceled, is_cancel_wanted=True)) == Settle()
    assert rows_of(before_query(doubt(UNKNOWN, word=canceled, is_cancel_wanted=True))) == [(S.COMPLETED, "execution")]


def test_reported_order_whose_reports_are_not_kept_is_queried_before_it_is_canceled() -> None:
    assert before_query(doubt(UNKNOWN, (S.PARTIALLY_FILLED, "execution"), is_cancel_wanted=True)) is None


def test_what_a_person_has_ended_is_over_whatever_was_reported_before() -> None:
    new = VenueWord("new", proves_acceptance=True, exchange_order_id="x-1")

    by_operator = doubt(PLACED, (S.CANCELED, "operator:joe: asked"), word=new, is_cancel_wanted=True)

    assert before_query(by_operator) == Settle()
    assert end_of(by_operator.rows, new) is S.CANCELED


@pytest.mark.parametrize(
    ("rows", "word", "end"),
    [
        ((PLACED,), None, None),
        ((PLACED, (S.CANCELED, "verified"), (S.FILLED, "verified")), None, S.FILLED),
        (
            (PLACED, (S.FILLED, "execution")),
            VenueWord("canceled", proves_acceptance=True, exchange_order_id=None),
            S.CANCELED,
        ),
        ((PLACED, (S.FILLED, "execution")), VenueWord("new", proves_acceptance=True, exchange_order_id=None), None),
        ((PLACED, (S.FILLED, "verified")), VenueWord("odd", proves_acceptance=True, exchange_order_id=None), None),
        ((PLACED,), VenueWord("expired", proves_acceptance=True, exchange_order_id=None), S.EXPIRED),
        ((PLACED,), VenueWord("filled", proves_acceptance=True, exchange_order_id=None), S.FILLED),
        ((PLACED,), REFUSAL, S.REJECTED),
        ((UNKNOWN,), REFUSAL, None),
    ],
)
def test_latest_word_says_how_an_order_ended(
    rows: tuple[tuple[OrderStatus, str], ...], word: VenueWord | None, end: OrderStatus | None
) -> None:
    assert end_of(doubt(*rows).rows, word) is end


def test_placed_order_is_settled_unless_it_is_to_be_canceled() -> None:
    assert before_query(doubt(PLACED)) == Settle()
    assert before_query(doubt(PLACED, is_cancel_wanted=True)) is None


@pytest.mark.parametrize("rows", [(), (UNKNOWN,), (ACCEPTED,), ((S.DATABASE_PERSISTENCE_FAILED, "unknown:timeout"),)])
def test_what_may_have_arrived_is_queried(rows: tuple[tuple[OrderStatus, str], ...]) -> None:
    assert before_query(doubt(*rows, now=99)) is None


def test_not_placed_is_settled_unless_the_exchange_has_shown_it() -> None:
    assert before_query(doubt(UNKNOWN, NOT_PLACED)) == Settle()
    assert before_query(doubt(UNKNOWN, NOT_PLACED, observed_exchange_order_id="x-1")) is None
    assert before_query(doubt(ACCEPTED, NOT_PLACED)) is None


def test_order_that_was_never_recorded_is_never_sent() -> None:
    assert before_query(doubt(NOT_RECORDED)) == Settle()


@pytest.mark.parametrize("of_first_send", [NOT_RECORDED, (S.DATABASE_PERSISTENCE_FAILED, "refused:no_funds")])
def test_unresolved_order_whose_own_row_comes_late_is_settled_by_another(
    of_first_send: tuple[OrderStatus, str],
) -> None:
    settled = before_query(doubt(UNRESOLVED, of_first_send))

    assert rows_of(settled) == [(S.NOT_PLACED, "proved:" + of_first_send[1])]


def test_refused_order_needs_no_other_row() -> None:
    assert before_query(doubt(REFUSED)) == Settle()
    assert before_query(doubt((S.DATABASE_PERSISTENCE_FAILED, "refused:no_funds"))) == Settle()


def test_refused_resend_is_final() -> None:
    settled = before_query(doubt(NOT_SENT, resends=(resend(SendAnswer.REFUSED, "refused:no_funds"),), now=32))

    assert rows_of(settled) == [(S.NOT_PLACED, "proved:refused:no_funds")]


def test_never_sent_order_waits_for_a_send_until_place_by() -> None:
    assert before_query(doubt(NOT_SENT, now=59.9)) is None
    assert rows_of(before_query(doubt(NOT_SENT, now=60))) == [(S.NOT_PLACED, "proved:not_sent:connect_failed")]


def test_never_sent_market_order_is_settled_by_its_own_row() -> None:
    assert before_query(doubt(NOT_SENT, order=MARKET)) == Settle()


def test_market_order_that_was_sent_more_than_once_is_not_settled_by_the_row_of_its_first_send() -> None:
    not_sent = resend(SendAnswer.NOT_SENT, "not_sent:closed")

    settled = before_query(doubt(NOT_SENT, order=MARKET, resends=(not_sent,), now=40))

    assert rows_of(settled) == [(S.NOT_PLACED, "proved:not_sent:closed")]


def test_never_sent_order_that_is_canceled_is_settled_at_once() -> None:
    for order in (ORDER, MARKET):
        settled = before_query(doubt(NOT_SENT, order=order, is_cancel_wanted=True))
        assert rows_of(settled) == [(S.NOT_PLACED, "proved:not_sent:connect_failed")]


def test_accepted_resend_whose_row_is_missing_is_queried() -> None:
    accepted = resend(SendAnswer.ACCEPTED, "accepted")

    assert before_query(doubt(NOT_SENT, resends=(accepted,), now=99)) is None
    assert before_query(doubt(NOT_SENT, resends=(accepted,), now=40, is_cancel_wanted=True)) is None


def test_claim_without_an_answer_leaves_the_order_in_doubt() -> None:
    for rows in [(NOT_SENT,), (REFUSED,), (NOT_RECORDED,)]:
        assert before_query(doubt(*rows, resends=(resend(None),), now=99)) is None


def test_rows_of_the_first_send_mean_the_same_in_any_order() -> None:
    rows = [TrailRow(S.INITIATED), *(TrailRow(*row) for row in (UNKNOWN, ACCEPTED, NOT_SENT))]

    answers = {first_send(each, send_by=at(5), accept_by=None).answer for each in permutations(rows)}

    assert answers == {SendAnswer.ACCEPTED}


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        (UNKNOWN, SendAnswer.UNKNOWN),
        (NOT_SENT, SendAnswer.NOT_SENT),
        (REFUSED, SendAnswer.REFUSED),
        (ACCEPTED, SendAnswer.ACCEPTED),
    ],
)
def test_first_send_carries_what_its_row_says(row: tuple[OrderStatus, str], answer: SendAnswer) -> None:
    rows = [TrailRow(S.INITIATED), TrailRow(*row, "x-1")]

    assert first_send(rows, send_by=at(5), accept_by=at(10)) == Send(at(5), at(10), answer, row[1], "x-1")


def test_first_send_of_which_no_row_reports_has_no_answer_and_no_reason() -> None:
    first = first_send([TrailRow(S.INITIATED), TrailRow(*PLACED)], send_by=at(5), accept_by=None)

    assert (first.answer, first.reason, first.exchange_order_id) == (None, "", None)


def test_answers_are_kept_under_these_words() -> None:
    assert [*SendAnswer] == ["accepted", "refused", "not_sent", "unknown"]


# No answer


@pytest.mark.parametrize("rows", [(), (UNKNOWN,), (NOT_SENT,), (ACCEPTED,), (UNKNOWN, UNRESOLVED)])
@pytest.mark.parametrize("now", [1.0, 20.0, 1e6])
def test_no_answer_changes_nothing(rows: tuple[tuple[OrderStatus, str], ...], now: float) -> None:
    assert isinstance(query(doubt(*rows, now=now), NoAnswer("timeout")), Wait)


# Found


@pytest.mark.parametrize(
    ("ord_status", "more"),
    [
        ("new", []),
        ("partially_filled", [(S.PARTIALLY_FILLED, "verified")]),
        ("filled", [(S.FILLED, "verified")]),
        ("canceled", [(S.CANCELED, "verified")]),
        ("expired", [(S.EXPIRED, "verified")]),
    ],
)
def test_found_order_is_completed(ord_status: str, more: list[tuple[OrderStatus, str]]) -> None:
    step = query(doubt(UNKNOWN), at_exchange(ord_status), None)

    assert isinstance(step, Settle)
    assert rows_of(step) == [(S.COMPLETED, "verified"), *more]
    assert all(row.exchange_order_id == "x-1" for row in step.rows)


def test_found_rejected_is_not_placed() -> None:
    assert rows_of(query(doubt(UNKNOWN), at_exchange("rejected"))) == [(S.NOT_PLACED, "proved:refused:no_funds")]


def test_found_rejected_without_a_reason_is_not_placed() -> None:
    step = query(doubt(UNKNOWN), at_exchange("rejected", reject_reason=None))

    assert rows_of(step) == [(S.NOT_PLACED, "proved:refused:unspecified")]


NEVER = Capabilities("e", "never", 0, 10, honours_accept_by=True)


@pytest.mark.parametrize("capabilities", [NEVER, WHILE_OPEN, FOR_A_MINUTE])
def test_rejected_one_of_several_sends_may_hide_an_accepted_one(capabilities: Capabilities) -> None:
    """The resend is accepted; then the first send arrives, too late, is refused, and is the newest with the id."""
    sent_twice = doubt(UNKNOWN, resends=(resend(None),), now=40)

    step = query(sent_twice, at_exchange("rejected"), capabilities)

    assert rows_of(step) == [(S.UNRESOLVED, "refused_one_of_several")]
    assert isinstance(step, Append)
    assert step.rows[0].exchange_order_id is None


@pytest.mark.parametrize(
    ("rows", "answer", "capabilities"),
    [
        ((UNKNOWN,), None, DURABLE),
        ((NOT_SENT,), None, NEVER),
        ((UNKNOWN,), SendAnswer.NOT_SENT, NEVER),
    ],
)
def test_rejected_order_is_not_placed_where_it_hides_no_other(
    rows: tuple[tuple[OrderStatus, str], ...], answer: SendAnswer | None, capabilities: Capabilities
) -> None:
    reason = "" if answer is None else f"{answer}:closed"
    sent_twice = doubt(*rows, resends=(resend(answer, reason),), now=40)

    assert rows_of(query(sent_twice, at_exchange("rejected"), capabilities)) == [
        (S.NOT_PLACED, "proved:refused:no_funds")
    ]


def test_rejected_one_of_several_waits_for_the_venues_promises() -> None:
    sent_twice = doubt(UNKNOWN, resends=(resend(None),), now=40)

    assert isinstance(query(sent_twice, at_exchange("rejected"), None), Wait)


@pytest.mark.parametrize("is_cancel_wanted", [False, True])
def test_order_that_the_reports_have_shown_is_placed_whatever_other_is_rejected(is_cancel_wanted: bool) -> None:
    observed = doubt(
        UNKNOWN, resends=(resend(None),), now=40, observed_exchange_order_id="x-2", is_cancel_wanted=is_cancel_wanted
    )

    step = query(observed, at_exchange("rejected"), NEVER)

    assert isinstance(step, Cancel if is_cancel_wanted else Settle)
    assert [(row.status, row.reason, row.exchange_order_id) for row in step.rows] == [(S.COMPLETED, "execution", "x-2")]


def test_accepted_resend_is_placed_whatever_became_of_the_send_before_it() -> None:
    """COMPLETED could not be written, and then the first send arrived, too late, and is the newest with the id."""
    accepted = Send(at(30), at(35), SendAnswer.ACCEPTED, "accepted", "x-2")

    step = query(doubt(UNKNOWN, resends=(accepted,), now=40), at_exchange("rejected"), NEVER)

    assert isinstance(step, Settle)
    assert [(row.status, row.reason, row.exchange_order_id) for row in step.rows] == [(S.COMPLETED, "accepted", "x-2")]


@pytest.mark.parametrize("answer", [SendAnswer.ACCEPTED, None])
def test_only_an_order_that_was_accepted_is_hidden_by_a_rejected_one(answer: SendAnswer | None) -> None:
    """That another order was shown once, with other fields, is no acceptance of ours."""
    reported = TrailRow(S.UNRESOLVED, "differs_at_exchange", "x-9")
    sent = Send(at(30), at(35), answer, exchange_order_id="x-9" if answer else None)
    wanted = doubt(UNKNOWN, resends=(sent,), is_cancel_wanted=True, now=40)

    step = query(replace(wanted, rows=(*wanted.rows, reported)), at_exchange("rejected"), NEVER)

    if answer is None:
        assert isinstance(step, Wait)
    else:
        assert step == Cancel((TrailRow(S.COMPLETED, "accepted", "x-9"),), is_hidden=True)


def test_order_that_is_not_shown_is_not_hidden() -> None:
    wanted = doubt(UNKNOWN, observed_exchange_order_id="x-1", is_cancel_wanted=True, now=40)

    assert query(wanted, Absent(), OPEN_ONLY) == Cancel((TrailRow(S.COMPLETED, "execution", "x-1"),))


def test_found_rejected_after_acceptance_is_rejected() -> None:
    rows = [(S.COMPLETED, "verified"), (S.REJECTED, "verified:refused:no_funds")]

    assert rows_of(query(doubt(ACCEPTED), at_exchange("rejected"))) == rows
    assert rows_of(query(doubt(UNKNOWN, observed_exchange_order_id="x-1"), at_exchange("rejected"))) == rows
    assert rows_of(query(doubt(UNKNOWN, PLACED, is_cancel_wanted=True), at_exchange("rejected"))) == rows


@pytest.mark.parametrize(
    "difference",
    [
        {"side": Side.SELL},
        {"quantity": 11},
        {"limit_price": Decimal("10.51")},
        {"instrument": "AAPL12345679"},
        {"type": OrderType.MARKET, "limit_price": None},
        {"client_order_id": "order-2"},
    ],
)
def test_found_but_different_is_unresolved_and_queried_again(difference: dict[str, Any]) -> None:
    step = query(doubt(UNKNOWN), at_exchange(**difference))

    assert isinstance(step, Append)
    assert rows_of(step) == [(S.UNRESOLVED, "differs_at_exchange")]
    assert isinstance(query(doubt(UNKNOWN, UNRESOLVED), at_exchange(**difference)), Wait)


def test_late_arrival_wins_over_not_placed() -> None:
    step = query(doubt(UNKNOWN, NOT_PLACED, observed_exchange_order_id="x-1"), at_exchange())

    assert rows_of(step) == [(S.COMPLETED, "verified")]
    assert isinstance(step, Settle)


@pytest.mark.parametrize("ord_status", ["new", "partially_filled"])
def test_found_order_that_is_to_be_canceled_is_canceled(ord_status: str) -> None:
    step = query(doubt(UNKNOWN, is_cancel_wanted=True), at_exchange(ord_status))

    assert isinstance(step, Cancel)
    assert rows_of(step)[0] == (S.COMPLETED, "verified")


def test_found_canceled_ends_the_wish_to_cancel() -> None:
    assert isinstance(query(doubt(PLACED, is_cancel_wanted=True), at_exchange("canceled")), Settle)


# Absent


def test_absence_does_not_count_while_the_first_send_may_arrive() -> None:
    assert query(doubt(UNKNOWN, now=10.9), Absent()) == Wait("absence does not count yet", at(11))
    assert query(doubt(UNKNOWN, now=20.9), Absent(), FOREVER) == Wait("absence does not count yet", at(21))
    assert query(doubt(now=10.9), Absent()) == Wait("absence does not count yet", at(11))


def test_absence_counts_from_the_last_send_that_may_have_arrived() -> None:
    twice = doubt(UNKNOWN, resends=(resend(None),), now=35)
    not_sent_twice = doubt(UNKNOWN, resends=(resend(SendAnswer.NOT_SENT, "not_sent:closed"),), now=35)

    assert absence_counts_from(twice, DURABLE, LIMITS) == at(36)
    assert absence_counts_from(not_sent_twice, DURABLE, LIMITS) == at(11)
    assert isinstance(query(twice, Absent()), Wait)


def test_absence_counts_from_the_latest_of_all_moments_whichever_send_has_it() -> None:
    sooner = doubt(UNKNOWN, accept_by=None, resends=(resend(None, send_by=7),))

    assert absence_counts_from(sooner, DURABLE, LIMITS) == at(21)


def test_accept_by_protects_only_where_every_send_that_may_have_arrived_has_one() -> None:
    never = replace(DURABLE, client_order_id_unique="never")

    assert query(doubt(UNKNOWN, now=21), Absent(), never) == Resend()
    assert query(doubt(NOT_SENT, now=36, accept_by=None, resends=(resend(None),)), Absent(), never) == Resend()
    for resends in ((), (resend(None),)):
        unprotected = doubt(UNKNOWN, now=36, accept_by=None, resends=resends)
        assert rows_of(query(unprotected, Absent(), never)) == [(S.NOT_PLACED, "presumed:absent")]


def test_absence_waits_for_what_the_venue_shows_late() -> None:
    late = replace(DURABLE, visible_within_seconds=30)

    assert query(doubt(UNKNOWN, now=40), Absent(), late) == Wait("absence does not count yet", at(41))


def test_absent_order_without_accept_by_waits_for_what_may_be_accepted_late() -> None:
    assert isinstance(query(doubt(UNKNOWN, now=20, accept_by=None), Absent()), Wait)
    assert isinstance(query(doubt(UNKNOWN, now=21, accept_by=None), Absent()), Resend)


@pytest.mark.parametrize("capabilities", [DURABLE, FOREVER, replace(WHILE_OPEN, honours_accept_by=True)])
def test_absent_order_is_resent_where_the_venue_protects(capabilities: Capabilities) -> None:
    assert query(doubt(UNKNOWN, now=21), Absent(), capabilities) == Resend()


@pytest.mark.parametrize("unique", ["while_open", "never"])
def test_absent_order_is_not_resent_without_protection_and_only_presumed(unique: str) -> None:
    step = query(doubt(UNKNOWN, now=21), Absent(), replace(FOREVER, client_order_id_unique=unique))  # type: ignore[arg-type]

    assert rows_of(step) == [(S.NOT_PLACED, "presumed:absent")]


def test_resend_stays_inside_the_time_for_which_an_id_is_unique() -> None:
    assert query(doubt(UNKNOWN, now=43.9), Absent(), FOR_A_MINUTE) == Resend(send_by_max=at(44))
    assert rows_of(query(doubt(UNKNOWN, now=44), Absent(), FOR_A_MINUTE)) == [(S.NOT_PLACED, "presumed:absent")]


def test_times_beyond_any_calendar_are_for_ever() -> None:
    assert query(doubt(UNKNOWN, now=21), Absent(), replace(FOREVER, client_order_id_unique=1e300)) == Resend()
    assert rows_of(query(doubt(UNKNOWN, now=21), Absent(), replace(FOREVER, accepts_within_seconds=1e300))) == [
        UNRESOLVED
    ]


def test_absent_after_place_by_is_not_placed() -> None:
    assert rows_of(query(doubt(UNKNOWN, now=60), Absent())) == [(S.NOT_PLACED, "proved:absent")]
    assert rows_of(query(doubt(UNKNOWN, now=60), Absent(), FOREVER)) == [(S.NOT_PLACED, "presumed:absent")]
    assert rows_of(query(doubt(UNKNOWN, now=60, accept_by=None), Absent())) == [(S.NOT_PLACED, "presumed:absent")]


def test_market_order_is_resent_only_with_a_place_by_of_its_own() -> None:
    assert rows_of(query(doubt(UNKNOWN, order=MARKET), Absent())) == [(S.NOT_PLACED, "proved:absent")]
    assert query(doubt(UNKNOWN, order=replace(MARKET, place_by=at(60))), Absent()) == Resend()


def test_refused_order_is_never_resent_although_an_earlier_send_is_absent() -> None:
    step = query(doubt(UNKNOWN, resends=(resend(SendAnswer.REFUSED, "refused:closing"),), now=40), Absent())

    assert rows_of(step) == [(S.NOT_PLACED, "proved:absent")]


def test_canceled_order_is_never_resent() -> None:
    assert rows_of(query(doubt(UNKNOWN, is_cancel_wanted=True), Absent())) == [(S.NOT_PLACED, "proved:absent")]


def test_never_sent_order_is_sent_once_the_venue_can_be_queried() -> None:
    assert query(doubt(NOT_SENT), Absent()) == Resend()
    assert query(doubt(NOT_SENT), Absent(), PROMISES_NOTHING) == Resend()
    assert isinstance(query(doubt(NOT_SENT), Absent(), None), Wait)


def test_nothing_is_applied_before_the_capabilities_are_known() -> None:
    for rows in [(UNKNOWN,), (ACCEPTED,), ()]:
        assert isinstance(query(doubt(*rows, now=99), Absent(), None), Wait)


@pytest.mark.parametrize("capabilities", [PROMISES_NOTHING, OPEN_ONLY])
def test_absence_that_proves_nothing_is_for_a_person(capabilities: Capabilities) -> None:
    assert rows_of(query(doubt(UNKNOWN, now=99), Absent(), capabilities)) == [UNRESOLVED]
    assert isinstance(query(doubt(UNKNOWN, UNRESOLVED, now=99), Absent(), capabilities), Wait)


def test_what_the_exchange_may_have_forgotten_is_for_a_person() -> None:
    assert rows_of(query(doubt(UNKNOWN, now=21), Absent(), forgotten_until=15)) == [(S.UNRESOLVED, "exchange_forgot")]
    assert query(doubt(UNKNOWN, now=21), Absent(), forgotten_until=-1) == Resend()
    assert query(doubt(NOT_SENT, now=21), Absent(), forgotten_until=15) == Resend()


def test_accepted_and_absent_is_a_contradiction_once_it_should_be_shown() -> None:
    late = replace(DURABLE, visible_within_seconds=10)

    assert query(doubt(ACCEPTED, now=20.9), Absent(), late) == Wait("accepted, and not shown yet", at(21))
    assert rows_of(query(doubt(ACCEPTED, now=21), Absent(), late)) == [(S.UNRESOLVED, "accepted_and_absent")]


def test_accepted_order_need_not_be_shown_where_only_open_ones_are() -> None:
    assert rows_of(query(doubt(ACCEPTED, now=99), Absent(), OPEN_ONLY)) == [(S.COMPLETED, "accepted")]


def test_execution_report_proves_acceptance_of_an_absent_order() -> None:
    for rows in [(UNKNOWN,), (UNKNOWN, NOT_PLACED), (NOT_SENT,), (UNKNOWN, UNRESOLVED)]:
        step = query(doubt(*rows, observed_exchange_order_id="x-9", now=99), Absent(), OPEN_ONLY)
        assert step == Settle((TrailRow(S.COMPLETED, "execution", "x-9"),))
        assert query(doubt(*rows, observed_exchange_order_id="x-9", now=99), Absent()) == step
    to_cancel = query(doubt(UNKNOWN, observed_exchange_order_id="x-9", is_cancel_wanted=True), Absent(), OPEN_ONLY)
    assert isinstance(to_cancel, Cancel)


def test_accepted_order_may_be_shown_as_late_as_its_last_send_allows() -> None:
    accepted = resend(SendAnswer.ACCEPTED, "accepted")

    step = query(doubt(NOT_SENT, resends=(accepted,), now=35.9), Absent())

    assert step == Wait("accepted, and not shown yet", at(36))
    assert rows_of(query(doubt(NOT_SENT, resends=(accepted,), now=36), Absent())) == [
        (S.UNRESOLVED, "accepted_and_absent")
    ]


def test_absence_of_an_order_that_is_not_placed_settles_it() -> None:
    assert query(doubt(UNKNOWN, NOT_PLACED, now=12), Absent()) == Settle()


def test_absence_of_an_order_that_was_not_sent_and_may_not_be_any_more_settles_it() -> None:
    assert rows_of(query(doubt(NOT_SENT, now=60), Absent(), None)) == [(S.NOT_PLACED, "proved:not_sent:connect_failed")]


def test_venue_has_forgotten_nothing_of_an_order_that_is_as_old_as_its_epoch() -> None:
    assert rows_of(query(doubt(UNKNOWN, now=60), Absent(), forgotten_until=0)) == [(S.NOT_PLACED, "proved:absent")]
    assert rows_of(query(doubt(UNKNOWN, now=60), Absent(), forgotten_until=0.1)) == [(S.UNRESOLVED, "exchange_forgot")]


def test_placed_order_that_is_to_be_canceled_is_never_not_placed_because_it_is_absent() -> None:
    step = query(doubt(UNKNOWN, PLACED, is_cancel_wanted=True, now=99), Absent())

    assert rows_of(step) == [(S.UNRESOLVED, "accepted_and_absent")]


def test_exchange_order_id_comes_from_a_report_else_from_a_row_else_from_a_send() -> None:
    accepted = Send(at(30), at(35), SendAnswer.ACCEPTED, "accepted", "by-send")
    row = TrailRow(S.DATABASE_PERSISTENCE_FAILED, "accepted", "by-row")
    of_send = doubt(NOT_SENT, resends=(resend(SendAnswer.NOT_SENT, "not_sent:closed"), accepted))
    of_row = replace(of_send, rows=(*of_send.rows, row))

    ids = [
        of.exchange_order_id
        for of in (of_send, of_row, replace(of_row, observed_exchange_order_id="by-report"), doubt(NOT_SENT))
    ]

    assert ids == ["by-send", "by-row", "by-report", None]


def test_venue_that_promises_nothing_is_taken_to_promise_nothing() -> None:
    nothing = Capabilities()

    assert (nothing.epoch, nothing.client_order_id_unique, nothing.honours_accept_by) == ("", "never", False)
    assert (nothing.visible_within_seconds, nothing.accepts_within_seconds) == (UNBOUNDED, UNBOUNDED)


# Whatever the rows, the sends, the venue and the clocks

REPORTED = [(status, "execution") for status in (S.PARTIALLY_FILLED, *ENDS)]
ROWS = st.lists(
    st.sampled_from([UNKNOWN, NOT_SENT, REFUSED, NOT_RECORDED, ACCEPTED, PLACED, NOT_PLACED, UNRESOLVED, *REPORTED]),
    max_size=3,
    unique_by=lambda row: row[0],
)
SECONDS = st.one_of(st.floats(0, 100), st.just(UNBOUNDED))
CAPABILITIES = st.one_of(
    st.none(),
    st.builds(
        Capabilities,
        epoch=st.just("e"),
        client_order_id_unique=st.one_of(st.sampled_from(["forever", "while_open", "never"]), st.floats(1, 300)),
        visible_within_seconds=SECONDS,
        accepts_within_seconds=SECONDS,
        honours_accept_by=st.booleans(),
    ),
)
RESENDS = st.lists(
    st.builds(
        lambda send_by, has_accept_by, answer: Send(
            at(send_by), at(send_by + 5) if has_accept_by else None, answer, "" if answer is None else f"{answer}:x"
        ),
        st.floats(6, 120),
        st.booleans(),
        st.one_of(st.none(), st.sampled_from(SendAnswer)),
    ),
    max_size=3,
)
VENUE_WORDS = st.one_of(
    st.none(),
    st.just(REFUSAL),
    st.sampled_from(["new", "partially_filled", "filled", "canceled", "expired", "rejected", "newfangled"]).map(
        lambda ord_status: VenueWord(ord_status, proves_acceptance=True, exchange_order_id="x-1")
    ),
)
DOUBTS = st.builds(
    lambda rows, now, order, has_accept_by, resends, cancel, observed, word: doubt(
        *rows,
        now=now,
        order=order,
        accept_by=at(10) if has_accept_by else None,
        resends=tuple(resends),
        is_cancel_wanted=cancel,
        observed_exchange_order_id=observed,
        word=word,
    ),
    ROWS,
    st.floats(0, 300),
    st.sampled_from([ORDER, MARKET, replace(MARKET, place_by=at(60)), replace(ORDER, place_by=None)]),
    st.booleans(),
    RESENDS,
    st.booleans(),
    st.sampled_from([None, None, None, "x-1"]),
    VENUE_WORDS,
)
ANSWERS = st.one_of(
    st.just(Absent()),
    st.just(NoAnswer("timeout")),
    st.sampled_from(["new", "partially_filled", "filled", "canceled", "expired", "rejected", "newfangled"]).map(
        at_exchange
    ),
    st.just(at_exchange(quantity=11)),
)
MANY = settings(max_examples=300, deadline=None)
# What the page of reasons says that may stand in a row.
DOCUMENTED = {
    (status, line.reason.kind, line.reason.innermost.kind)
    for line in REASON_LINES
    if line.reason.kind is not ReasonKind.FOREIGN
    for status in line.statuses
}


def protects(of: OrderInDoubt, capabilities: Capabilities) -> bool:
    """By the words of the venue alone: can another send make a second order, given that this one is absent now?"""
    uncertain = [send for send in of.sends if send.answer in (None, SendAnswer.UNKNOWN)]
    if not uncertain or capabilities.client_order_id_unique == "forever":
        return True
    if capabilities.honours_accept_by and all(send.accept_by and send.accept_by < of.now for send in uncertain):
        return True
    unique = capabilities.client_order_id_unique
    latest = of.now + timedelta(seconds=min(LIMITS.answer_seconds + capabilities.accepts_within_seconds, 1e6))
    return not isinstance(unique, str) and latest < of.created_at + timedelta(seconds=unique)


@MANY
@given(DOUBTS, ANSWERS, CAPABILITIES)
def test_a_resend_is_allowed_and_cannot_make_a_second_order(
    of: OrderInDoubt, answer: Verification, capabilities: Capabilities | None
) -> None:
    step = query(of, answer, capabilities)

    if not isinstance(step, Resend):
        return
    assert answer == Absent()
    assert capabilities is not None
    assert protects(of, capabilities)
    assert of.order.place_by is not None and of.now < of.order.place_by
    assert not of.is_cancel_wanted
    assert not any(send.answer in (SendAnswer.REFUSED, SendAnswer.ACCEPTED) for send in of.sends)
    assert not of.statuses & {S.NOT_PLACED, *PLACED_STATUSES}
    assert of.word in (None, REFUSAL)
    assert not any(row.reason == "not_sent:not_recorded" for row in of.rows)
    for send in of.sends:
        if send.may_have_arrived:
            assert of.now >= (send.accept_by if capabilities.honours_accept_by and send.accept_by else send.send_by)


@MANY
@given(DOUBTS, ANSWERS, CAPABILITIES)
def test_not_placed_is_never_a_guess(of: OrderInDoubt, answer: Verification, capabilities: Capabilities | None) -> None:
    before = before_query(of)
    step = query(of, answer, capabilities)

    for status, reason in rows_of(before):
        if status in (S.COMPLETED, S.REJECTED):
            assert of.is_reported or of.word is not None
            continue
        assert status is S.NOT_PLACED
        assert reason is not None and reason.startswith("proved:")
        assert not of.was_accepted
        assert not of.may_have_arrived
        assert of.is_final or of.is_cancel_wanted or of.order.place_by is None or of.now >= of.order.place_by
    for status, reason in rows_of(step):
        if status is not S.NOT_PLACED or isinstance(answer, Found):
            continue
        assert reason is not None
        assert not of.was_accepted
        if of.may_have_arrived:
            assert capabilities is not None
            counts_from = absence_counts_from(of, capabilities, LIMITS)
            assert counts_from is not None and of.now >= counts_from
            is_proved = capabilities.honours_accept_by and all(
                send.accept_by is not None for send in of.sends if send.may_have_arrived
            )
            assert reason == ("proved:absent" if is_proved else "presumed:absent")


@MANY
@given(DOUBTS, ANSWERS, CAPABILITIES)
def test_what_is_settled_says_what_became_of_it(
    of: OrderInDoubt, answer: Verification, capabilities: Capabilities | None
) -> None:
    for step in (before_query(of), query(of, answer, capabilities)):
        if isinstance(step, Settle):
            may_send_again = of.order.place_by is not None and not of.is_cancel_wanted
            outcome = fold_outcome((*of.rows, *step.rows), may_send_again=may_send_again)
            assert outcome in (Outcome.PLACED, Outcome.NOT_PLACED)
            assert outcome is Outcome.NOT_PLACED or S.COMPLETED in of.statuses | {row.status for row in step.rows}


@MANY
@given(DOUBTS, ANSWERS, CAPABILITIES)
def test_order_that_is_to_be_canceled_is_settled_only_where_it_is_over_or_was_never_there(
    of: OrderInDoubt, answer: Verification, capabilities: Capabilities | None
) -> None:
    of = replace(of, is_cancel_wanted=True)
    before, step = before_query(of), query(of, answer, capabilities)

    if isinstance(before, Settle) and of.was_accepted:
        assert end_of((*of.rows, *before.rows), of.word) is not None
    if isinstance(step, Settle) and of.was_accepted:
        assert isinstance(answer, Found)
        assert answer.order.ord_status in ("filled", "canceled", "expired", "rejected")


@MANY
@given(DOUBTS, CAPABILITIES)
def test_no_answer_never_changes_anything(of: OrderInDoubt, capabilities: Capabilities | None) -> None:
    assert isinstance(query(of, NoAnswer("timeout"), capabilities), Wait)


@MANY
@given(DOUBTS, ANSWERS.filter(lambda answer: isinstance(answer, Found)), CAPABILITIES)
def test_found_ends_placed_refused_or_unresolved(
    of: OrderInDoubt, answer: Verification, capabilities: Capabilities | None
) -> None:
    assert isinstance(answer, Found)
    step = query(of, answer, capabilities)
    statuses = {status for status, _ in rows_of(step)}

    if not answer.order.equals(of.order):
        assert statuses == {S.UNRESOLVED} or S.UNRESOLVED in of.statuses
    elif answer.order.ord_status == "newfangled":
        assert isinstance(step, Wait)
    elif S.COMPLETED in statuses:
        assert isinstance(step, Settle | Cancel)
    elif S.UNRESOLVED in statuses or isinstance(step, Wait):
        is_unique = capabilities is not None and capabilities.client_order_id_unique == "forever"
        assert not is_unique and sum(send.may_have_arrived for send in of.sends) > 1
    else:
        assert rows_of(step) == [(S.NOT_PLACED, "proved:refused:no_funds")]
        assert not of.was_accepted


@MANY
@given(DOUBTS, ANSWERS, CAPABILITIES)
def test_every_row_has_its_reason_and_no_step_repeats_itself(
    of: OrderInDoubt, answer: Verification, capabilities: Capabilities | None
) -> None:
    step = query(of, answer, capabilities)

    for status, reason in rows_of(step):
        assert reason is not None
        assert (status, parse(reason).kind, parse(reason).innermost.kind) in DOCUMENTED
    if isinstance(step, Append):
        assert step.rows
        assert not {row.status for row in step.rows} & of.statuses
