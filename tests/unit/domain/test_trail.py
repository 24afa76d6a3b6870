"""The folds: one answer for a set of rows, whatever order they came in and however often."""

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.domain.trail import (
    PLACED_STATUSES,
    PRECEDENCE,
    TERMINAL_AT_EXCHANGE,
    OrderStatus,
    Outcome,
    TrailRow,
    fold_exchange_order_id,
    fold_outcome,
    fold_status,
)

# DESIGN.md, section 3, from the strongest to the weakest.
DOCUMENTED_PRECEDENCE = [
    "FILLED",
    "CANCELED",
    "EXPIRED",
    "REJECTED",
    "PARTIALLY_FILLED",
    "COMPLETED",
    "NOT_PLACED",
    "UNRESOLVED",
    "EXCHANGE_OUTCOME_UNKNOWN",
    "DATABASE_PERSISTENCE_FAILED",
    "EXCHANGE_CREATION_FAILED",
    "INITIATED",
]

INITIATED = TrailRow(OrderStatus.INITIATED)
COMPLETED = TrailRow(OrderStatus.COMPLETED)


def failed(reason: str) -> TrailRow:
    return TrailRow(OrderStatus.EXCHANGE_CREATION_FAILED, reason)


def not_persisted(reason: str) -> TrailRow:
    return TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, reason)


def unknown(cause: str = "timeout") -> TrailRow:
    return TrailRow(OrderStatus.EXCHANGE_OUTCOME_UNKNOWN, f"unknown:{cause}")


def not_placed(reason: str = "proved:absent") -> TrailRow:
    return TrailRow(OrderStatus.NOT_PLACED, reason)


UNRESOLVED = TrailRow(OrderStatus.UNRESOLVED, "differs_at_exchange")

ANY_ROW = st.sampled_from(
    [
        INITIATED,
        COMPLETED,
        TrailRow(OrderStatus.COMPLETED, "verified", "X-2"),
        failed("refused:price"),
        failed("not_sent:closed"),
        not_persisted("accepted"),
        not_persisted("not_sent:not_recorded"),
        not_persisted("refused:price"),
        not_persisted("not_sent:closed"),
        not_persisted("unknown:timeout"),
        unknown(),
        UNRESOLVED,
        not_placed(),
        not_placed("presumed:absent"),
        TrailRow(OrderStatus.PARTIALLY_FILLED, "execution", "X-1"),
        TrailRow(OrderStatus.FILLED, "execution", "X-1"),
        TrailRow(OrderStatus.CANCELED, "execution", "X-1"),
        TrailRow(OrderStatus.EXPIRED, "execution", "X-1"),
        TrailRow(OrderStatus.REJECTED, "execution", "X-1"),
    ]
)


def test_outcomes_have_these_words() -> None:
    assert [*Outcome] == ["placed", "not_placed", "pending", "unknown"]


def test_precedence_is_the_documented_one() -> None:
    assert sorted(OrderStatus, key=PRECEDENCE.__getitem__, reverse=True) == DOCUMENTED_PRECEDENCE


def test_status_is_the_strongest_of_every_possible_set_of_statuses() -> None:
    strongest_first = [OrderStatus(name) for name in DOCUMENTED_PRECEDENCE]
    sets = chain.from_iterable(combinations(OrderStatus, size) for size in range(1, len(OrderStatus) + 1))

    count = 0
    for statuses in sets:
        expected = next(status for status in strongest_first if status in statuses)
        assert fold_status([TrailRow(status) for status in statuses]) is expected
        assert fold_status([TrailRow(status) for status in reversed(statuses)]) is expected
        count += 1

    assert count == 2**12 - 1


def test_an_order_without_rows_has_no_status() -> None:
    with pytest.raises(ValueError, match="empty"):
        fold_status([])


@given(st.data(), st.lists(ANY_ROW, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_folds_ignore_the_order_and_the_repetition_of_rows(
    data: st.DataObject, rows: list[TrailRow], may_send_again: bool, has_open_claim: bool
) -> None:
    again = data.draw(st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=8))))

    assert fold_status(again) is fold_status(rows)
    assert fold_outcome(again, may_send_again=may_send_again, has_open_claim=has_open_claim) is fold_outcome(
        rows, may_send_again=may_send_again, has_open_claim=has_open_claim
    )


@given(st.lists(ANY_ROW, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_outcome_is_placed_exactly_where_something_says_that_the_exchange_took_it(
    rows: list[TrailRow], may_send_again: bool, has_open_claim: bool
) -> None:
    says_so = any(
        row.status in PLACED_STATUSES
        or (row.status is OrderStatus.DATABASE_PERSISTENCE_FAILED and row.reason == "accepted")
        for row in rows
    )

    outcome = fold_outcome(rows, may_send_again=may_send_again, has_open_claim=has_open_claim)

    assert (outcome is Outcome.PLACED) is says_so


@given(st.lists(ANY_ROW, min_size=1, max_size=8), st.booleans())
def test_an_open_claim_never_leaves_an_unsettled_order_not_placed_or_pending(
    rows: list[TrailRow], may_send_again: bool
) -> None:
    outcome = fold_outcome(rows, may_send_again=may_send_again, has_open_claim=True)

    if OrderStatus.NOT_PLACED not in {row.status for row in rows}:
        assert outcome in (Outcome.PLACED, Outcome.UNKNOWN)


@pytest.mark.parametrize("status", sorted(PLACED_STATUSES))
@pytest.mark.parametrize("beside", [not_placed(), unknown(), UNRESOLVED, failed("refused:price")], ids=str)
def test_whatever_the_exchange_reported_makes_it_placed(status: OrderStatus, beside: TrailRow) -> None:
    rows = [INITIATED, beside, TrailRow(status, "execution", "X-1")]

    assert fold_outcome(rows, may_send_again=True) is Outcome.PLACED


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([INITIATED], Outcome.UNKNOWN),
        ([INITIATED, COMPLETED], Outcome.PLACED),
        ([INITIATED, not_persisted("accepted")], Outcome.PLACED),
        ([not_persisted("accepted")], Outcome.PLACED),
        ([INITIATED, unknown(), not_persisted("accepted")], Outcome.PLACED),
        ([INITIATED, failed("refused:price")], Outcome.NOT_PLACED),
        ([INITIATED, not_persisted("refused:price")], Outcome.NOT_PLACED),
        ([INITIATED, not_placed("proved:refused:price")], Outcome.NOT_PLACED),
        ([INITIATED, unknown(), not_placed("presumed:absent")], Outcome.NOT_PLACED),
        ([INITIATED, UNRESOLVED, not_placed()], Outcome.NOT_PLACED),
        ([INITIATED, not_persisted("not_sent:not_recorded")], Outcome.NOT_PLACED),
        ([INITIATED, failed("not_sent:throttled")], Outcome.PENDING),
        ([INITIATED, not_persisted("not_sent:throttled")], Outcome.PENDING),
        ([INITIATED, failed("not_sent:closed"), not_persisted("not_sent:closed")], Outcome.PENDING),
        ([INITIATED, failed("not_sent:not_recorded")], Outcome.PENDING),
        ([INITIATED, unknown()], Outcome.UNKNOWN),
        ([INITIATED, not_persisted("unknown:timeout")], Outcome.UNKNOWN),
        ([INITIATED, failed("not_sent:closed"), unknown()], Outcome.UNKNOWN),
        ([INITIATED, failed("not_sent:closed"), not_persisted("unknown:timeout")], Outcome.UNKNOWN),
        ([INITIATED, UNRESOLVED], Outcome.UNKNOWN),
        ([INITIATED, failed("not_sent:closed"), UNRESOLVED], Outcome.UNKNOWN),
    ],
)
def test_outcome_while_the_order_may_be_sent_again(rows: list[TrailRow], outcome: Outcome) -> None:
    assert fold_outcome(rows, may_send_again=True) is outcome


@pytest.mark.parametrize("row", [failed("not_sent:closed"), not_persisted("not_sent:closed")], ids=str)
def test_what_was_not_sent_and_never_will_be_is_not_placed(row: TrailRow) -> None:
    assert fold_outcome([INITIATED, row], may_send_again=False) is Outcome.NOT_PLACED


@pytest.mark.parametrize("rows", [[INITIATED], [INITIATED, unknown()], [INITIATED, UNRESOLVED]], ids=str)
def test_what_may_have_arrived_is_unknown_even_if_it_is_never_sent_again(rows: list[TrailRow]) -> None:
    assert fold_outcome(rows, may_send_again=False) is Outcome.UNKNOWN


def test_a_resend_that_nobody_answered_makes_a_pending_order_unknown() -> None:
    rows = [INITIATED, failed("not_sent:closed")]

    assert fold_outcome(rows, may_send_again=True, has_open_claim=True) is Outcome.UNKNOWN


def test_exchange_order_id_is_the_one_of_the_strongest_row() -> None:
    rows = [
        INITIATED,
        TrailRow(OrderStatus.FILLED, "execution", None),
        TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "accepted", "weaker"),
        TrailRow(OrderStatus.COMPLETED, None, "stronger"),
    ]

    assert fold_exchange_order_id(rows) == fold_exchange_order_id(reversed(rows)) == "stronger"
    assert fold_exchange_order_id([INITIATED]) is None


def test_terminal_statuses_are_what_the_exchange_never_takes_back() -> None:
    assert {"FILLED", "CANCELED", "EXPIRED", "REJECTED"} == TERMINAL_AT_EXCHANGE
