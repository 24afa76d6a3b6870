"""What a set of executions comes to: by examples, and beside a naive model of the rule for any set in any order."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.domain.execution import (
    EXEC_TYPES,
    EXECUTION_PRICE_DECIMALS_MAX,
    EXECUTION_PRICE_MAX,
    EXECUTION_QUANTITY_MAX,
    EXECUTION_SEQ_MAX,
    EXECUTION_TEXT_LENGTH_MAX,
    REJECTED,
    STATUS_OF_ORD_STATUS,
    TERMINAL_ORD_STATUSES,
    TRADE,
    TRADE_CANCEL,
    TRADE_CORRECT,
    Execution,
    LatestReport,
    Progress,
    average,
    fold_executions,
    progress_of,
    proves_acceptance,
)
from ordertrail.domain.trail import OrderStatus
from tests.support.execution_sets import START, execution, random_executions

PRICE = Decimal("150.25")


def bust(exec_id: str, of: str, *, seq: int | None, **fields: object) -> Execution:
    return execution(exec_id, TRADE_CANCEL, seq=seq, exec_ref_id=of, last_qty=0, last_px=None, **fields)


def correction(exec_id: str, of: str, *, seq: int, last_qty: int = 10, last_px: Decimal = PRICE) -> Execution:
    return execution(exec_id, TRADE_CORRECT, seq=seq, exec_ref_id=of, last_qty=last_qty, last_px=last_px)


def folded(*rows: Execution, quantity: int = 100) -> Progress:
    """Whatever the order of the rows, and even where each came twice."""
    progress = fold_executions(rows, quantity=quantity)
    orders = list(permutations(rows)) if len(rows) < 5 else [rows[::-1]]
    assert all(fold_executions(order, quantity=quantity) == progress for order in orders)
    assert fold_executions((*rows, *rows), quantity=quantity) == progress
    return progress


def test_an_order_of_which_nothing_was_reported_has_all_of_it_left() -> None:
    assert folded() == Progress(0, 100, None, None, busted=False, overfilled=False, executions_complete=True)


def test_a_new_order_is_live_and_has_no_average() -> None:
    new = execution("E1", "new", last_qty=0, last_px=None, cum_qty=0, ord_status="new")

    assert folded(new) == Progress(0, 100, None, True, busted=False, overfilled=False, executions_complete=True)


def test_trades_add_up_to_a_quantity_and_an_average() -> None:
    second = execution("E2", seq=2, last_qty=20, last_px=Decimal("150.50"), cum_qty=30)

    progress = folded(execution("E1"), second)

    assert progress == Progress(
        30, 70, Decimal("150.41666667"), True, busted=False, overfilled=False, executions_complete=True
    )


def test_the_same_exec_id_in_another_session_is_another_trade() -> None:
    assert folded(execution("E1"), execution("E1", session=2)).cum_qty == 20


@pytest.mark.parametrize("exec_type", ["new", "canceled", "expired", "rejected", "restated", TRADE_CANCEL])
def test_what_is_no_trade_fills_nothing(exec_type: str) -> None:
    assert folded(execution("E1", exec_type, cum_qty=0)).cum_qty == 0


def test_a_correction_of_nothing_fills_nothing() -> None:
    assert folded(execution("E1", TRADE_CORRECT)).cum_qty == 0


def test_a_bust_takes_its_trade_back() -> None:
    progress = folded(execution("E1"), bust("E2", "E1", seq=2, cum_qty=0))

    assert progress == Progress(0, 100, None, True, busted=True, overfilled=False, executions_complete=True)


def test_a_bust_may_say_how_much_it_takes_back() -> None:
    taken_back = execution("E2", TRADE_CANCEL, seq=2, exec_ref_id="E1", last_qty=10)

    assert (folded(execution("E1"), taken_back).cum_qty, folded(execution("E1"), taken_back).busted) == (0, True)


def test_the_same_trade_taken_back_twice_is_taken_back_once() -> None:
    assert folded(
        execution("E1"), execution("E2", seq=2), bust("E3", "E1", seq=3), bust("E4", "E1", seq=4)
    ) == Progress(10, 90, PRICE, True, busted=True, overfilled=False, executions_complete=True)


@pytest.mark.parametrize(
    ("last_qty", "last_px", "busted"), [(4, PRICE, True), (10, Decimal(151), False), (14, PRICE, False)]
)
def test_a_correction_counts_instead_of_its_trade(last_qty: int, last_px: Decimal, busted: bool) -> None:
    progress = folded(execution("E1"), correction("E2", "E1", seq=2, last_qty=last_qty, last_px=last_px))

    assert (progress.cum_qty, progress.avg_px, progress.busted) == (last_qty, last_px, busted)


def test_of_a_chain_the_last_word_counts() -> None:
    rows = (
        execution("E1"),
        correction("E2", "E1", seq=2, last_qty=4),
        correction("E3", "E2", seq=3, last_qty=6),
        execution("E9", seq=9, last_qty=1),
    )

    assert folded(*rows).cum_qty == 7
    assert folded(*rows, bust("E4", "E3", seq=4)).cum_qty == 1
    assert folded(*rows, bust("E4", "E1", seq=4)).cum_qty == 1


def test_a_correction_after_a_bust_of_its_trade_counts_again() -> None:
    progress = folded(execution("E1"), bust("E2", "E1", seq=2), correction("E3", "E2", seq=3))

    assert (progress.cum_qty, progress.busted) == (10, False)


def test_a_chain_goes_through_what_does_not_count_itself() -> None:
    through = execution("E2", "restated", seq=3, exec_ref_id="E1", last_qty=0)

    assert folded(execution("E1"), through).cum_qty == 10
    assert folded(execution("E1"), through, bust("E3", "E2", seq=2)).cum_qty == 0


def test_the_trade_itself_counts_where_it_has_the_last_word() -> None:
    assert folded(bust("E2", "E1", seq=1), execution("E1", seq=2)).cum_qty == 10


def test_a_trade_that_refers_to_another_is_a_trade_of_its_own() -> None:
    other = execution("E2", seq=2, exec_ref_id="E1")

    assert folded(execution("E1"), other).cum_qty == 20
    assert folded(execution("E1"), other, bust("E3", "E2", seq=3)).cum_qty == 10


@pytest.mark.parametrize("rest", [(), (execution("E1"),)], ids=["alone", "beside a trade"])
@pytest.mark.parametrize(
    "strays",
    [
        (bust("E2", "absent", seq=2),),
        (correction("E2", "absent", seq=2, last_qty=40),),
        (correction("E2", "E2", seq=2, last_qty=40),),
        (correction("E2", "E3", seq=2, last_qty=40), correction("E3", "E2", seq=3, last_qty=50)),
        (execution("E2", TRADE_CANCEL, seq=2, exec_ref_id=None),),
    ],
    ids=["a bust of nothing", "a correction of nothing", "of itself", "a circle", "without a reference"],
)
def test_what_refers_to_no_trade_counts_nothing(rest: tuple[Execution, ...], strays: tuple[Execution, ...]) -> None:
    progress = folded(*rest, *strays)

    assert (progress.cum_qty, progress.busted) == (10 * len(rest), False)


def test_a_reference_is_to_an_execution_of_its_own_session() -> None:
    assert folded(execution("E1"), bust("E2", "E1", seq=2, session=2)).cum_qty == 10


def test_a_later_epoch_has_the_last_word_whatever_its_seq() -> None:
    later = bust("E2", "E1", seq=1, epoch="second", epoch_rank=2, ord_status="canceled", cum_qty=0)

    progress = folded(execution("E1", seq=900), later)

    assert (progress.cum_qty, progress.is_live, progress.executions_complete) == (0, False, True)


def test_without_seq_the_venue_s_own_time_decides() -> None:
    trade = execution("E1", seq=None, transact_time=START + timedelta(seconds=1))

    assert folded(trade, bust("E2", "E1", seq=None, transact_time=START)).cum_qty == 10
    assert folded(trade, bust("E2", "E1", seq=None, transact_time=START + timedelta(seconds=2))).cum_qty == 0


def test_at_one_moment_the_higher_id_decides() -> None:
    assert folded(execution("E1", seq=None), bust("E2", "E1", seq=None)).cum_qty == 0
    assert folded(execution("E3", seq=None), bust("E2", "E3", seq=None)).cum_qty == 10


def test_where_some_have_no_seq_those_come_first() -> None:
    assert execution("E1", seq=0).position > execution("E2", seq=None).position
    assert execution("E2", seq=None).position[1] == -1  # as the statements have it, which go on after a position


@pytest.mark.parametrize("ord_status", sorted(TERMINAL_ORD_STATUSES))
def test_nothing_is_left_of_what_is_over_by_the_latest_word(ord_status: str) -> None:
    over = execution("E2", "canceled", seq=2, ord_status=ord_status, last_qty=0, last_px=None)

    progress = folded(execution("E1"), over)

    assert (progress.is_live, progress.leaves_qty, progress.cum_qty) == (False, 0, 10)


def test_terminal_words_are_the_four_of_the_protocol() -> None:
    assert {"filled", "canceled", "expired", "rejected"} == TERMINAL_ORD_STATUSES


def test_a_word_that_nobody_knows_ends_nothing() -> None:
    assert folded(execution("E1", ord_status="suspended")).is_live is True


def test_a_bust_may_reopen_an_order() -> None:
    filled = execution("E1", ord_status="filled", last_qty=100, cum_qty=100)
    reopening = bust("E2", "E1", seq=2, ord_status="new", cum_qty=0)

    assert (folded(filled).is_live, folded(filled).leaves_qty) == (False, 0)
    assert (folded(filled, reopening).is_live, folded(filled, reopening).leaves_qty) == (True, 100)


def test_more_than_was_ordered_leaves_nothing_and_is_said() -> None:
    exact = folded(execution("E1"), quantity=10)
    over = folded(execution("E1"), quantity=9)

    assert (exact.leaves_qty, exact.overfilled) == (0, False)
    assert (over.leaves_qty, over.overfilled) == (0, True)


@pytest.mark.parametrize(("cum_qty", "complete"), [(9, False), (10, True), (11, False)])
def test_complete_is_what_comes_to_the_venue_s_own_sum(cum_qty: int, complete: bool) -> None:
    assert folded(execution("E1", cum_qty=cum_qty)).executions_complete is complete


def test_the_venue_s_sum_is_that_of_its_latest_word() -> None:
    assert folded(execution("E1", seq=2, cum_qty=20), execution("E2", seq=1, cum_qty=10)).executions_complete


def test_a_trade_without_a_price_counts_as_one_at_nothing() -> None:
    assert folded(execution("E1"), execution("E2", seq=2, last_px=None)).avg_px == Decimal("75.125")


@pytest.mark.parametrize(
    ("filled", "expected"),
    [
        ([], None),
        ([(0, Decimal(5))], None),
        ([(-1, Decimal(5))], None),
        ([(3, Decimal(0))], "0.00000000"),
        ([(1, Decimal("1.000000005"))], "1.00000001"),
        ([(1, Decimal("1.0000000049"))], "1.00000000"),
        ([(1, Decimal("-1.000000005"))], "-1.00000001"),
        ([(1, Decimal("1.000000004" + "9" * 200))], "1.00000000"),
        ([(2, Decimal(1)), (1, Decimal(2))], "1.33333333"),
        ([(1, Decimal(1)), (2, Decimal(2))], "1.66666667"),
        ([(10**18, Decimal("123456789012345678901234567890.1"))], "123456789012345678901234567890.10000000"),
    ],
)
def test_an_average_is_rounded_half_up_once(filled: list[tuple[int, Decimal]], expected: str | None) -> None:
    found = average(filled)

    assert (None if found is None else f"{found:f}") == expected


prices = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=0, max_value=10**15)


@given(st.lists(st.tuples(st.integers(1, 10**18), prices), min_size=1))
def test_an_average_is_within_half_a_unit_of_the_truth(filled: list[tuple[int, Decimal]]) -> None:
    truth = Fraction(sum(q * Fraction(price) for q, price in filled)) / sum(q for q, _ in filled)

    found = average(filled)

    assert found is not None
    assert Fraction(-1, 2) < (Fraction(found) - truth) * 10**8 <= Fraction(1, 2)


def naive(rows: Sequence[Execution], quantity: int) -> Progress:
    """The rule's own words, one after the other: each row is told to the trade that it comes to, in rising position."""
    by_key = {(row.session, row.exec_id): row for row in rows}
    said: dict[tuple[int, str], tuple[int, Decimal]] = {}
    for row in sorted(by_key.values(), key=lambda row: row.position):
        trade: Execution | None = row
        for _ in rows:
            if trade is not None and trade.exec_type != TRADE:
                trade = by_key.get((trade.session, trade.exec_ref_id)) if trade.exec_ref_id else None
        if trade is not None and trade.exec_type == TRADE:
            if row.exec_type == TRADE_CANCEL:
                said[trade.session, trade.exec_id] = (0, Decimal(0))
            elif row.exec_type in {TRADE, TRADE_CORRECT}:
                said[trade.session, trade.exec_id] = (row.last_qty, row.last_px or Decimal(0))
    cum_qty = sum(each for each, _ in said.values())
    word = max(rows, key=lambda row: row.position, default=None)
    is_live = None if word is None else word.ord_status not in {"filled", "canceled", "expired", "rejected"}
    return Progress(
        cum_qty=cum_qty,
        leaves_qty=0 if is_live is False else max(quantity - cum_qty, 0),
        avg_px=average(said.values()),
        is_live=is_live,
        busted=any(each < by_key[key].last_qty for key, (each, _) in said.items()),
        overfilled=cum_qty > quantity,
        executions_complete=word is None or cum_qty == word.cum_qty,
    )


@given(st.randoms(use_true_random=False), st.integers(0, 12))
def test_any_set_in_any_order_and_repeated_comes_to_what_the_rule_says(chance: random.Random, count: int) -> None:
    rows = random_executions(chance, "order", count=count)
    again = chance.choices(rows, k=count) if rows else []
    shuffled = [*rows, *again]
    chance.shuffle(shuffled)

    assert fold_executions(shuffled, quantity=20) == naive(rows, 20)


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_what_is_filled_never_exceeds_what_is_said(chance: random.Random, count: int) -> None:
    rows = random_executions(chance, "order", count=count)

    progress = fold_executions(rows, quantity=20)

    assert 0 <= progress.cum_qty <= sum(row.last_qty for row in rows)
    assert 0 <= progress.leaves_qty <= 20


def test_a_long_chain_is_followed_to_its_end() -> None:
    chain = [correction(f"E{n}", f"E{n - 1}", seq=n, last_qty=n) for n in range(2, 5000)]

    assert fold_executions([*chain, execution("E1")], quantity=1).cum_qty == 4999


def test_positions_of_different_rows_differ() -> None:
    row = execution("E1", seq=None)

    others = (replace(row, exec_id="E2"), replace(row, session=2), replace(row, epoch_rank=2), replace(row, seq=0))
    assert row.position not in {other.position for other in others}


def test_the_rows_on_the_trail_are_those_that_reports_prove() -> None:
    assert STATUS_OF_ORD_STATUS == {
        "partially_filled": OrderStatus.PARTIALLY_FILLED,
        "filled": OrderStatus.FILLED,
        "canceled": OrderStatus.CANCELED,
        "expired": OrderStatus.EXPIRED,
    }


def test_sums_that_come_from_elsewhere_lead_to_the_same() -> None:
    rows = (execution("E1"), execution("E2", seq=2, ord_status="canceled", cum_qty=20))

    assert progress_of(
        quantity=100, cum_qty=20, avg_px=PRICE, busted=False, word=LatestReport("canceled", 20)
    ) == fold_executions(rows, quantity=100)


def test_words_are_the_protocol_s() -> None:
    assert (TRADE, TRADE_CANCEL, TRADE_CORRECT, REJECTED) == ("trade", "trade_cancel", "trade_correct", "rejected")
    assert {"new", "trade", "canceled", "expired", "rejected", "trade_cancel", "trade_correct"} == EXEC_TYPES


@pytest.mark.parametrize(
    ("exec_type", "ord_status", "proves"),
    [("new", "new", True), ("trade", "rejected", False), ("rejected", "new", False), ("rejected", "rejected", False)],
)
def test_what_says_rejected_proves_no_acceptance(exec_type: str, ord_status: str, proves: bool) -> None:
    assert proves_acceptance(exec_type, ord_status) is proves


def test_bounds_are_what_is_kept_exactly_everywhere() -> None:
    assert (EXECUTION_SEQ_MAX, EXECUTION_QUANTITY_MAX) == (10**18, 2**50 - 1)
    assert (EXECUTION_PRICE_MAX, EXECUTION_PRICE_DECIMALS_MAX, EXECUTION_TEXT_LENGTH_MAX) == (10**15, 18, 255)
