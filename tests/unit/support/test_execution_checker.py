"""The checker of executions notices each violation, planted one at a time."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from simulated_exchange.entries import (
    AcceptedLine,
    EpochChangedLine,
    EpochLine,
    Line,
    LoadedLine,
    LoggedOrder,
    NoiseLine,
)
from simulated_exchange.occurrences import EpochChange
from simulated_exchange.wire import ReportView
from tests.support.execution_checker import (
    ExecutionEvidence,
    ExecutionRow,
    Logged,
    ParkedReport,
    PoisonReport,
    Position,
    Progress,
    TrailRow,
    WentBack,
    check_executions,
    reports_of,
    went_back,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
AAPL, MSFT = "AAPL12345678", "MSFT12345678"
TEN, HALF = Decimal("10.00"), Decimal("10.50")


def report(seq: int, order_id: str, exec_type: str, ord_status: str, **changes: Any) -> Logged:
    fields: dict[str, Any] = {
        "epoch": "e",
        "exec_id": f"E{seq}",
        "exchange_order_id": f"x-{order_id}",
        "last_qty": 0,
        "last_px": None,
        "cum_qty": 0,
        "leaves_qty": 0,
        "avg_px": None,
        "exec_ref_id": None,
        "reject_reason": None,
        "transact_time": START,
    }
    fields |= {"seq": seq, "order_id": order_id, "exec_type": exec_type, "ord_status": ord_status}
    return Logged(**(fields | changes))


def trail(
    order_id: str, *statuses: str, side: str = "buy", instrument: str = AAPL, quantity: int = 10
) -> list[TrailRow]:
    rows = [status.partition(":")[::2] for status in statuses]
    return [TrailRow(order_id, status, reason or None, instrument, side, quantity) for status, reason in rows]


# a: bought 10 at 10.00 and 10.50, of which the second trade is busted; b: sold 4, then expired; c: refused;
# d: nobody's here; f: filled before its request could write COMPLETED, which the reconciler has found.
REPORTS = (
    report(1, "a", "new", "new", leaves_qty=10),
    report(2, "a", "trade", "partially_filled", last_qty=6, last_px=TEN, cum_qty=6, leaves_qty=4, avg_px=TEN),
    report(3, "b", "new", "new", leaves_qty=9),
    report(4, "a", "trade", "filled", last_qty=4, last_px=HALF, cum_qty=10, avg_px=Decimal("10.20")),
    report(5, "b", "trade", "partially_filled", last_qty=4, last_px=HALF, cum_qty=4, leaves_qty=5, avg_px=HALF),
    report(6, "a", "trade_cancel", "partially_filled", exec_ref_id="E4", cum_qty=6, leaves_qty=4, avg_px=TEN),
    report(7, "b", "expired", "expired", cum_qty=4, avg_px=HALF),
    report(8, "c", "rejected", "rejected", exchange_order_id=None, reject_reason="refused_on_purpose"),
    report(9, "d", "new", "new", leaves_qty=1),
    report(10, "f", "trade", "filled", last_qty=2, last_px=TEN, cum_qty=2, avg_px=TEN),
)
TRAIL = (
    *trail("a", "INITIATED", "COMPLETED", "PARTIALLY_FILLED:execution", "FILLED:execution"),
    *trail("b", "INITIATED", "COMPLETED", "PARTIALLY_FILLED:execution", "EXPIRED:execution", side="sell", quantity=9),
    *trail("c", "INITIATED", "EXCHANGE_CREATION_FAILED:refused:refused_on_purpose"),
    *trail("f", "INITIATED", "FILLED:execution", "COMPLETED:execution", instrument=MSFT, quantity=2),
)
ROWS = tuple(each.row(1) for each in REPORTS if each.order_id != "d")
PROGRESS = {
    "a": Progress(6, 4, Decimal("10.00000000"), is_live=True, is_complete=True),
    "b": Progress(4, 0, Decimal("10.50000000"), is_live=False, is_complete=True),
    "c": Progress(0, 0, None, is_live=False, is_complete=True),
    "f": Progress(2, 0, Decimal("10.00000000"), is_live=False, is_complete=True),
}
POSITIONS = {
    AAPL: Position(6, Decimal("10.00000000"), 4, Decimal("10.50000000")),
    MSFT: Position(2, Decimal("10.00000000"), 0, None),
}
TRUE = ExecutionEvidence(
    TRAIL,
    ROWS,
    (ParkedReport("e", 9, "d", "unknown_order", is_open=True),),
    {"e": 1},
    {"e": [(1, 4), (5, 10)]},
    progress=PROGRESS,
    positions=POSITIONS,
    reviewed=frozenset({"f"}),
    orphans=frozenset({"d"}),
)


def violations(evidence: ExecutionEvidence, reports: tuple[Logged, ...] = REPORTS) -> list[str]:
    return check_executions(reports, evidence)[0]


POISON = PoisonReport("e", 11, "P11", b'{"last_px":"abc"}', "last_px")
PARKED_POISON = ParkedReport("e", 11, "a", "is no number", is_open=True, raw=POISON.raw, field="last_px")
ALL_COVERED = {"e": [(1, 11)]}


def test_poison_that_is_parked_as_it_came_is_no_violation() -> None:
    evidence = replace(TRUE, parked=(*TRUE.parked, PARKED_POISON), covered=ALL_COVERED)

    assert check_executions(REPORTS, evidence, [POISON])[0] == []


@pytest.mark.parametrize(
    ("parked", "violation"),
    [
        ([], "poison e:11 is not parked"),
        ([PARKED_POISON, PARKED_POISON], "poison e:11 is parked 2 times"),
        ([PARKED_POISON._replace(raw=b"{}")], "poison e:11 is parked otherwise"),
        ([PARKED_POISON._replace(field="avg_px")], "poison e:11 is parked otherwise"),
        ([PARKED_POISON._replace(is_open=False)], "poison e:11 is parked otherwise"),
    ],
)
def test_poison_that_is_lost_or_changed_is_a_violation(parked: list[ParkedReport], violation: str) -> None:
    evidence = replace(TRUE, parked=(*TRUE.parked, *parked), covered=ALL_COVERED)

    [found] = check_executions(REPORTS, evidence, [POISON])[0]

    assert found.startswith(violation)


def test_poison_that_is_a_row_is_a_violation() -> None:
    row = report(11, "a", "restated", "partially_filled", exec_id="P11").row(1)
    evidence = replace(TRUE, rows=(*TRUE.rows, row), parked=(*TRUE.parked, PARKED_POISON), covered=ALL_COVERED)

    assert "poison e:11 is a row" in check_executions(REPORTS, evidence, [POISON])[0]


def test_what_was_forgotten_is_owed_no_row_nor_what_took_its_place() -> None:
    gone = WentBack(frozenset({("e", "E10")}), frozenset({("e", "E10.1")}))
    again = report(10, "b", "restated", "expired", exec_id="E10.1", cum_qty=4, avg_px=HALF)
    evidence = replace(TRUE, progress=None, positions=None)

    assert check_executions((*REPORTS, again), evidence)[0] == ["b: execution E10.1 at 10 is lost"]
    assert check_executions((*REPORTS, again), evidence, gone=gone)[0] == []
    both = replace(evidence, rows=(*ROWS, again.row(1)))
    assert check_executions((*REPORTS, again), both, gone=gone)[0] == []


@pytest.mark.parametrize(
    ("covered", "found"),
    [
        ([(1, 8), (10, 10)], []),
        ([(1, 7), (10, 10)], ["epoch e: [(8, 8)] of 1 to 8 were never applied"]),
        ([(1, 3), (5, 7), (10, 10)], ["epoch e: [(4, 4), (8, 8)] of 1 to 8 were never applied"]),
        ([(9, 10)], ["epoch e: [(1, 8)] of 1 to 8 were never applied"]),
    ],
)
def test_place_that_was_lost_and_then_forgotten_is_owed_no_more(
    covered: list[tuple[int, int]], found: list[str]
) -> None:
    gone = WentBack(frozenset({("e", "E9"), ("e", "E10")}))
    evidence = replace(TRUE, covered={"e": covered})

    said = check_executions(REPORTS, evidence, gone=gone)[0]

    assert [each for each in said if "never applied" in each] == found


def test_log_reports_what_was_forgotten_and_what_took_its_place() -> None:
    def view(seq: int, exec_id: str) -> NoiseLine:
        return NoiseLine(
            "", (ReportView(seq, exec_id, "new", "new", "a", "x", 0, None, 0, 1, None, "2026-01-01T00:00:00Z"),)
        )

    back = EpochChangedLine("", "e", ".1", EpochChange(head=1), ())
    lines: list[Line] = [EpochLine(1, "e"), view(1, "E1"), view(2, "E2"), back, view(2, "E2.1"), view(3, "E3.1")]

    assert went_back(lines) == WentBack(frozenset({("e", "E2")}), frozenset({("e", "E2.1")}))


def without(status: str, order_id: str) -> tuple[TrailRow, ...]:
    return tuple(row for row in TRAIL if (row.order_id, row.status) != (order_id, status))


def changed(index: int, **changes: Any) -> tuple[ExecutionRow, ...]:
    return tuple(row._replace(**changes) if at == index else row for at, row in enumerate(ROWS))


def test_what_is_true_passes_and_is_counted() -> None:
    wrong, counts = check_executions(REPORTS, TRUE)

    assert wrong == []
    assert (counts["executions"], counts["reports"], counts["reports trade"]) == (9, 10, 4)
    assert (counts["parked unknown_order"], counts["completed by execution"]) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": ROWS[1:]}, "a: execution E1 at 1 is lost"),
        ({"rows": (*ROWS, ROWS[1])}, "a: execution E2 stands there 2 times"),
        ({"rows": (*ROWS, ROWS[1]._replace(exec_id="E2b"))}, "a: report e:2 is 2 rows"),
        (
            {"rows": (*ROWS, ROWS[1]._replace(seq=11, exec_id="E11"))},
            "E11 at 11, which the exchange has not reported",
        ),
        ({"rows": changed(1, last_qty=5)}, "a: execution E2 differs: last_qty 5 is 6 there"),
        ({"rows": changed(1, last_px=HALF)}, "E2 differs: last_px"),
        ({"rows": changed(1, avg_px=None)}, "E2 differs: avg_px"),
        ({"rows": changed(5, exec_ref_id="E2")}, "E6 differs: exec_ref_id E2 is E4 there"),
        ({"rows": changed(7, reject_reason=None)}, "E8 differs: reject_reason"),
        ({"rows": changed(1, order_id="b")}, "b: execution E2 at 2, which the exchange has not reported"),
        ({"rows": changed(1, transact_time=START.replace(year=2027))}, "E2 differs: transact_time"),
        ({"rows": changed(1, session=2)}, "E2 of epoch e has session 2"),
        ({"sessions": {}}, "epoch e of E1 is not known"),
        ({"parked": ()}, "d: report e:9 is neither a row nor parked"),
        ({"orphans": frozenset()}, "d: report e:9 is parked, and nobody is told"),
        ({"waiting_frames": 2}, "queue: 2 frames wait still"),
        ({"covered": {"e": [(1, 4), (6, 10)]}}, "epoch e: [(5, 5)] of 1 to 10 were never applied"),
        ({"covered": {"e": [(1, 9)]}}, "epoch e: [(10, 10)] of 1 to 10 were never applied"),
        ({"covered": {}}, "epoch e: [(1, 10)] of 1 to 10 were never applied"),
        ({"covered": {"e": [(1, 12)]}}, "counts as applied up to 12, and the exchange has reported 10"),
        ({"trail": without("FILLED", "a")}, "a: reported as FILLED, and its trail is"),
        ({"trail": without("EXPIRED", "b")}, "b: reported as EXPIRED, and its trail is"),
        ({"trail": (*TRAIL, *trail("b", "FILLED:execution"))}, "b: FILLED (execution), and the exchange has only"),
        ({"trail": (*TRAIL, *trail("c", "REJECTED:execution"))}, "c: REJECTED (execution), and the exchange has only"),
        ({"placed_by_processor": ("f",)}, "f: a processor wrote COMPLETED"),
        ({"reviewed": frozenset()}, "f: COMPLETED (execution), and the reconciler has never had it in doubt"),
        (
            {"trail": (*TRAIL, *trail("c", "COMPLETED:execution"))},
            "c: COMPLETED (execution), and the exchange has reported",
        ),
        ({"progress": PROGRESS | {"a": PROGRESS["a"]._replace(cum_qty=10)}}, "a: a reader is told Progress(cum_qty=10"),
        ({"progress": PROGRESS | {"a": PROGRESS["a"]._replace(is_live=False)}}, "a: a reader is told"),
        ({"progress": PROGRESS | {"b": PROGRESS["b"]._replace(leaves_qty=5)}}, "b: a reader is told"),
        ({"progress": PROGRESS | {"b": PROGRESS["b"]._replace(avg_px=Decimal("10.50000001"))}}, "b: a reader is told"),
        ({"progress": PROGRESS | {"a": PROGRESS["a"]._replace(is_complete=False)}}, "a: a reader is told"),
        ({"positions": {AAPL: POSITIONS[AAPL]}}, f"position {MSFT}: a reader is told"),
        ({"positions": POSITIONS | {AAPL: POSITIONS[AAPL]._replace(buy_qty=10)}}, f"position {AAPL}: a reader is told"),
        ({"positions": POSITIONS | {"OTHER0000000": POSITIONS[AAPL]}}, "position OTHER0000000: a reader is told"),
    ],
)
def test_each_violation_is_noticed(changes: dict[str, Any], words: str) -> None:
    noticed = violations(replace(TRUE, **changes))

    assert any(words in violation for violation in noticed), noticed


@pytest.mark.parametrize(
    ("parked", "words"),
    [
        (ParkedReport("e", 1, "a", "unknown_order", is_open=True), "a: execution E1 is parked for want of its order"),
        (
            ParkedReport("e", 1, "a", "out_of_range", is_open=True),
            "a: execution E1 is parked (out_of_range), and is readable",
        ),
    ],
)
def test_a_good_report_that_is_parked_instead_is_noticed(parked: ParkedReport, words: str) -> None:
    noticed = violations(replace(TRUE, rows=ROWS[1:], parked=(*TRUE.parked, parked)))

    assert any(words in violation for violation in noticed), noticed


def test_a_report_that_is_a_row_and_parked_still_is_noticed() -> None:
    parked = ParkedReport("e", 1, "a", "unknown_order", is_open=True)

    assert violations(replace(TRUE, parked=(*TRUE.parked, parked))) == ["a: execution E1 is a row, and is parked still"]
    assert violations(replace(TRUE, parked=(*TRUE.parked, parked._replace(is_open=False)))) == []


def test_a_refusal_beside_acceptance_is_a_row_of_the_trail_and_alone_is_none() -> None:
    refusal = report(11, "f", "rejected", "rejected", cum_qty=2, avg_px=TEN)
    progress = PROGRESS | {"f": PROGRESS["f"]}
    evidence = replace(TRUE, rows=(*ROWS, refusal.row(1)), covered={"e": [(1, 11)]}, progress=progress)

    assert violations(evidence, (*REPORTS, refusal)) == [
        "f: reported as REJECTED, and its trail is ['COMPLETED', 'FILLED', 'INITIATED']"
    ]
    refused = replace(evidence, trail=(*TRAIL, *trail("f", "REJECTED:execution", instrument=MSFT)))
    assert violations(refused, (*REPORTS, refusal)) == []


def test_a_correction_of_a_bust_counts_as_what_it_says() -> None:
    correction = report(
        11, "a", "trade_correct", "partially_filled", exec_ref_id="E6", last_qty=3, last_px=HALF,
        cum_qty=9, leaves_qty=1, avg_px=Decimal("10.16666667"),
    )  # fmt: skip
    third = Decimal("10.16666667")
    evidence = replace(
        TRUE,
        rows=(*ROWS, correction.row(1)),
        covered={"e": [(1, 11)]},
        progress=PROGRESS | {"a": Progress(9, 1, third, is_live=True, is_complete=True)},
        positions=POSITIONS | {AAPL: POSITIONS[AAPL]._replace(buy_qty=9, buy_avg_px=third)},
    )

    assert violations(evidence, (*REPORTS, correction)) == []


def anew(*, epoch: str) -> tuple[Logged, ...]:
    """The same reports as an exchange numbers them anew."""
    return tuple(each._replace(epoch=epoch) for each in REPORTS)


def test_what_was_numbered_anew_under_its_old_ids_is_one_row() -> None:
    evidence = replace(
        TRUE,
        rows=(*ROWS[:5], *(row._replace(epoch="f") for row in ROWS[5:])),
        parked=(*TRUE.parked, ParkedReport("f", 9, "d", "unknown_order", is_open=True)),
        sessions={"e": 1, "f": 1},
        covered={"e": [(1, 10)], "f": [(1, 10)]},
    )

    assert violations(evidence, (*REPORTS, *anew(epoch="f"))) == []


def test_what_has_new_ids_in_a_new_epoch_is_rows_of_its_own() -> None:
    evidence = replace(TRUE, sessions={"e": 1, "f": 2}, covered={"e": [(1, 10)], "f": [(1, 10)]})

    noticed = violations(evidence, (*REPORTS, *anew(epoch="f")))

    assert "a: execution E1 at 1 is lost" in noticed


def test_an_exchange_whose_words_are_not_its_trades_is_noticed() -> None:
    reports = (*REPORTS[:-1], REPORTS[-1]._replace(cum_qty=3))

    assert any(
        "the exchange's own word is 3 filled, and its trades are 2" in each for each in violations(TRUE, reports)
    )


def test_the_logs_reports_have_their_epoch_and_are_rows_as_they_stand() -> None:
    view = ReportView(1, "E1", "new", "new", "a", "x-1", 0, None, 0, 10, None, "2026-01-01T00:00:00.000000Z")
    order = LoggedOrder("a", "limit", "buy", AAPL, "10.00", 10, None)

    [logged] = reports_of([EpochLine(1, "e"), AcceptedLine("2026-01-01T00:00:00.000000Z", "x-1", order, (view,))])

    assert logged == report(1, "a", "new", "new", exchange_order_id="x-1", leaves_qty=10)


def test_reports_after_a_change_of_the_epoch_are_of_the_new_one() -> None:
    at = "2026-01-01T00:00:00.000000Z"
    view = ReportView(1, "E1", "new", "new", "a", "x-1", 0, None, 0, 10, None, at)
    order = LoggedOrder("a", "limit", "buy", AAPL, "10.00", 10, None)
    change = EpochChange(replay=True)

    logged = reports_of(
        [
            EpochLine(1, "e"),
            AcceptedLine(at, "x-1", order, (view,)),
            EpochChangedLine(at, "f", ".1", change, (view,)),
            LoadedLine(at, 5, 6),
            NoiseLine(at, (view,)),
        ]
    )

    assert [each.epoch for each in logged] == ["e", "f", "f"]
