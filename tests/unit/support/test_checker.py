"""The checker of what must hold notices each violation, planted one at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulated_exchange.entries import AcceptedLine, LoggedOrder, RejectedLine
from simulated_exchange.wire import ReportView
from tests.support import checker
from tests.support.checker import ClientAnswer, Evidence, Report, Row, check, check_settled, unreplayed

START = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = {"type": "limit", "side": "buy", "instrument": "AAPL12345678", "limit_price": 150.5, "quantity": 10}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def row(order_id: str, status: str, seconds: float, **changes: Any) -> Row:
    fields: dict[str, Any] = {**REQUEST, "created_at": at(seconds)}
    return Row(order_id, status, **(fields | changes))


def logged(order_id: str, **changes: Any) -> LoggedOrder:
    fields: dict[str, Any] = {**REQUEST, "limit_price": "150.50", "accept_by": None}
    return LoggedOrder(order_id, **(fields | changes))


def accepted(order_id: str, exchange_order_id: str, seconds: float = 2, **changes: Any) -> AcceptedLine:
    return AcceptedLine(at(seconds).isoformat(), exchange_order_id, logged(order_id, **changes), ())


def rejected(order_id: str) -> RejectedLine:
    return RejectedLine(at(2).isoformat(), "x-9", logged(order_id), "refused_on_purpose", "", ())


def placed(key: str | None, order_id: str, exchange_order_id: str, **changes: Any) -> ClientAnswer:
    body = {
        **REQUEST,
        "id": order_id,
        "status": "COMPLETED",
        "outcome": "placed",
        "exchange_order_id": exchange_order_id,
    }
    return ClientAnswer(key, REQUEST, 201, body | changes, at(4))


def failed(key: str | None, order_id: str, outcome: str | None) -> ClientAnswer:
    return ClientAnswer(key, REQUEST, 500, {"order_id": order_id, "outcome": outcome}, at(4))


# a: placed, under key "k"; b: refused, under key "r"; c: a client lost, at the exchange, in doubt.
LINES = (accepted("a", "x-1"), rejected("b"), accepted("c", "x-3"))
ROWS = (
    row("a", "INITIATED", 1, client_order_id="k"),
    row("a", "COMPLETED", 3, exchange_order_id="x-1"),
    row("b", "INITIATED", 1, client_order_id="r"),
    row("b", "EXCHANGE_CREATION_FAILED", 3, reason="refused:refused_on_purpose"),
    row("c", "INITIATED", 1),
)
SAFE = Evidence(LINES, ROWS, (("k", "a"), ("r", "b")), ())
ANSWERS = (
    ClientAnswer("k", REQUEST, None),
    ClientAnswer("k", REQUEST, 409, {"order_id": "a"}),
    placed("k", "a", "x-1"),
    failed("r", "b", "not_placed"),
    ClientAnswer(None, REQUEST, None),
)


def test_what_is_safe_passes_and_is_counted() -> None:
    report = check(SAFE, ANSWERS)

    report.assert_safe(hits={"a failpoint": 1})
    assert (report.counts["orders"], report.counts["placed"], report.counts["accepted"]) == (3, 1, 2)
    assert (report.counts["answers lost"], report.counts["answers 409"]) == (2, 1)


def without(order_id: str, status: str) -> Evidence:
    return replace(SAFE, rows=[r for r in ROWS if (r.id, r.status) != (order_id, status)])


def with_lines(*lines: AcceptedLine) -> Evidence:
    return replace(SAFE, lines=[*LINES, *lines])


def with_rows(*rows: Row) -> Evidence:
    return replace(SAFE, rows=[*ROWS, *rows])


def changed(order_id: str, status: str, **changes: Any) -> Evidence:
    return replace(SAFE, rows=[replace(r, **changes) if (r.id, r.status) == (order_id, status) else r for r in ROWS])


PLANTED: list[tuple[str, Evidence, tuple[ClientAnswer, ...], str]] = [
    ("doubled", with_lines(accepted("a", "x-4")), (), "a: accepted 2 times"),
    ("unclaimed send", with_lines(accepted("a", "x-4")), (), "a: sent 2 times, with 0 attempts"),
    (
        "two under a key",
        replace(with_lines(accepted("d", "x-4")), rows=[*ROWS, row("d", "INITIATED", 1)]),
        (failed("k", "d", "unknown"),),
        "key k: 2 orders at the exchange",
    ),
    ("key with two owners", replace(SAFE, keys=(("k", "a"), ("k", "c"))), (), "key k: belongs to"),
    ("key with two rows", changed("c", "INITIATED", client_order_id="k"), (), "key k: belongs to"),
    ("key told wrong", SAFE, (ClientAnswer("k", REQUEST, 409, {"order_id": "c"}),), "key k: its clients were given"),
    ("key not kept", replace(changed("a", "INITIATED", client_order_id=None), keys=()), (), "it belongs to None"),
    ("201 without acceptance", replace(SAFE, lines=LINES[1:]), (), "a: 201, and the exchange has not accepted it"),
    ("201 of another", SAFE, (placed("k", "a", "x-3"),), "a: 201 names the exchange order x-3"),
    ("201 without COMPLETED", without("a", "COMPLETED"), (), "a: 201, and its rows are ['INITIATED']"),
    (
        "201 for a fill",
        replace(without("a", "COMPLETED"), rows=[ROWS[0], row("a", "FILLED", 3, exchange_order_id="x-1"), *ROWS[2:]]),
        (),
        "a: 201, and its rows are ['FILLED', 'INITIATED']",
    ),
    ("201 without INITIATED", without("a", "INITIATED"), (), "a: 201, and its rows are ['COMPLETED']"),
    ("201 too early", changed("a", "COMPLETED", created_at=at(5)), (), "201 was answered before COMPLETED"),
    ("201 that is not placed", SAFE, (placed("k", "a", "x-1", outcome="unknown"),), "a: 201 says COMPLETED, unknown"),
    ("told not placed", SAFE, (failed(None, "c", "not_placed"),), "c: a client was told not_placed"),
    ("proved absent", with_rows(row("c", "NOT_PLACED", 9, reason="proved:absent")), (), "c: NOT_PLACED proved"),
    ("refused and there", with_lines(accepted("b", "x-4")), (), "b: EXCHANGE_CREATION_FAILED refused"),
    (
        "not recorded and there",
        with_rows(row("c", "DATABASE_PERSISTENCE_FAILED", 9, reason="not_sent:not_recorded")),
        (),
        "c: DATABASE_PERSISTENCE_FAILED not_sent:not_recorded, and",
    ),
    ("without INITIATED", without("c", "INITIATED"), (), "c: at the exchange without INITIATED"),
    ("rejected without INITIATED", without("b", "INITIATED"), (), "b: at the exchange without INITIATED"),
    ("sent first", changed("c", "INITIATED", created_at=at(2.5)), (), "c: at the exchange before INITIATED"),
    ("exchange differs", replace(SAFE, lines=[accepted("a", "x-1", quantity=11), *LINES[1:]]), (), "a: rows and exc"),
    ("price differs", replace(SAFE, lines=[accepted("a", "x-1", limit_price="150.51"), *LINES[1:]]), (), "a: rows an"),
    ("rows differ", changed("a", "COMPLETED", side="sell"), (), "a: rows and exchange differ"),
    ("told otherwise", SAFE, (placed("k", "a", "x-1", quantity=11),), "a: asked for"),
    ("row of another", changed("a", "COMPLETED", exchange_order_id="x-3"), (), "a: COMPLETED names x-3"),
    ("completed out of nothing", with_rows(row("b", "COMPLETED", 9, exchange_order_id="x-7")), (), "b: COMPLETED nam"),
    ("500 without outcome", SAFE, (failed(None, "c", None),), "c: 500 with outcome None"),
    ("placed taken back", SAFE, (failed("k", "a", "pending"),), "key k: pending after placed"),
    ("no taken back", SAFE, (failed("r", "b", "pending"),), "key r: pending after not_placed"),
    (
        "refused with effect",
        replace(with_rows(row("d", "INITIATED", 1, client_order_id="q"))),
        (ClientAnswer("q", REQUEST, 503, {}),),
        "key q: only ever refused",
    ),
]


@pytest.mark.parametrize(("evidence", "more", "words"), [p[1:] for p in PLANTED], ids=[p[0] for p in PLANTED])
def test_violation_is_noticed(evidence: Evidence, more: tuple[ClientAnswer, ...], words: str) -> None:
    report = check(evidence, ANSWERS + more)

    assert any(words in violation for violation in report.violations), report.violations


def test_presumed_absence_may_be_wrong() -> None:
    report = check(with_rows(row("c", "NOT_PLACED", 9, reason="presumed:absent")), ANSWERS)

    assert report.violations == []


def test_refusal_may_name_what_the_exchange_has_refused() -> None:
    report = check(with_rows(row("b", "NOT_PLACED", 9, reason="refused:late", exchange_order_id="x-9")), ANSWERS)

    assert report.violations == []


def test_claimed_resend_is_no_violation() -> None:
    claimed = replace(SAFE, lines=[*LINES, rejected("c")], attempts=(("c", 2),))

    assert check(claimed, ANSWERS).violations == []


@pytest.mark.parametrize(
    ("report", "hits"),
    [
        (Report([], check(SAFE, ANSWERS[3:]).counts), {"before_send": 1}),
        (check(SAFE, ANSWERS), {"before_send": 0}),
        (Report(["a: doubled"], check(SAFE, ANSWERS).counts), {"before_send": 1}),
    ],
    ids=["nothing placed", "failpoint missed", "violated"],
)
def test_empty_or_violated_run_is_not_green(report: Report, hits: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        report.assert_safe(hits=hits)


# As SAFE, once reconciliation has been there. d: sent twice, and given up with proof; e: contradicts
# itself; f: not sent, and not to be sent again; g: never recorded in time, so never sent; h: resolved by a person.
SETTLED = Evidence(
    lines=(*LINES, accepted("h", "x-8")),
    rows=(
        *ROWS,
        row("c", "COMPLETED", 9, reason="verified", exchange_order_id="x-3"),
        row("d", "INITIATED", 1, place_by=at(60)),
        row("d", "EXCHANGE_CREATION_FAILED", 2, reason="not_sent:closed"),
        row("d", "NOT_PLACED", 70, reason="proved:not_sent:closed"),
        row("e", "INITIATED", 1, place_by=at(60)),
        row("e", "EXCHANGE_OUTCOME_UNKNOWN", 2, reason="unknown:timeout"),
        row("e", "UNRESOLVED", 9, reason="absence_cannot_be_proved"),
        row("f", "INITIATED", 1),
        row("f", "EXCHANGE_CREATION_FAILED", 2, reason="not_sent:circuit_open"),
        row("g", "INITIATED", 1),
        row("g", "DATABASE_PERSISTENCE_FAILED", 2, reason="not_sent:not_recorded"),
        row("h", "INITIATED", 1),
        row("h", "UNRESOLVED", 5, reason="accepted_and_absent"),
        row("h", "COMPLETED", 9, reason="operator:seen", exchange_order_id="x-8"),
    ),
    keys=(("k", "a"), ("r", "b")),
    attempts=(("d", 2),),
    doubts=("e",),
)


def settled_without(order_id: str, status: str) -> Evidence:
    return replace(SETTLED, rows=[r for r in SETTLED.rows if (r.id, r.status) != (order_id, status)])


def settled_with(*rows: Row) -> Evidence:
    return replace(SETTLED, rows=[*SETTLED.rows, *rows])


def filled(order_id: str) -> ReportView:
    return ReportView(1, "E1", "trade", "filled", order_id, "x", 10, "150.50", 10, 0, "150.50", at(2).isoformat())


PLANTED_IN_SETTLED: list[tuple[str, Evidence, tuple[ClientAnswer, ...], str]] = [
    ("doubled", replace(SETTLED, lines=[*SETTLED.lines, accepted("a", "x-4")]), (), "a: accepted 2 times"),
    ("INITIATED alone", settled_without("c", "COMPLETED"), (), "c: has not settled: ['INITIATED None'], 0 att"),
    ("still pending", settled_without("d", "NOT_PLACED"), (), "d: has not settled"),
    ("claim open", replace(SETTLED, attempts=(*SETTLED.attempts, ("f", 2))), (), "f: has not settled"),
    ("still unknown", settled_without("e", "UNRESOLVED"), (), "e: has not settled"),
    (
        "accepted and not completed",
        settled_with(row("i", "INITIATED", 1), row("i", "DATABASE_PERSISTENCE_FAILED", 2, reason="accepted")),
        (),
        "i: has not settled",
    ),
    (
        "unknown and not recorded",
        settled_with(row("i", "INITIATED", 1), row("i", "DATABASE_PERSISTENCE_FAILED", 2, reason="unknown:timeout")),
        (),
        "i: has not settled",
    ),
    (
        "filled and not completed",
        replace(
            settled_with(row("i", "INITIATED", 1), row("i", "FILLED", 2, reason="execution", exchange_order_id="x-9")),
            lines=[*SETTLED.lines, accepted("i", "x-9")],
        ),
        (),
        "i: has not settled: ['FILLED execution', 'INITIATED None']",
    ),
    ("unresolved and hidden", replace(SETTLED, doubts=()), (), "e: is unresolved, and nobody looks after it"),
    ("placed nowhere", settled_with(row("f", "COMPLETED", 9)), (), "f: settled as placed, and the exchange has not"),
    (
        "late and not adopted",
        replace(
            settled_with(row("i", "INITIATED", 1), row("i", "NOT_PLACED", 2, reason="presumed:absent")),
            lines=[*SETTLED.lines, accepted("i", "x-9")],
        ),
        (),
        "i: settled as not placed, and the exchange has accepted it",
    ),
    ("filled by nobody", settled_with(row("a", "FILLED", 9, exchange_order_id="x-1")), (), "a: FILLED, and the"),
    ("doubt about the settled", replace(SETTLED, doubts=("a", "e")), (), "a: is still in doubt, with ['COMPLETED',"),
    ("doubt about the resolved", replace(SETTLED, doubts=("e", "h")), (), "h: is still in doubt"),
    ("doubt about nothing", replace(SETTLED, doubts=("e", "z")), (), "z: is still in doubt, with []"),
    ("batch left", replace(SETTLED, unseen=("a",)), (), "a: nobody has looked at its batch"),
    ("spool left", replace(SETTLED, spooled=("7-1.spool",)), (), "7-1.spool: is still in the spool"),
    ("cancel forgotten", replace(SETTLED, cancels=("a",)), (), "a: was to be canceled, and is forgotten"),
    ("lost order", SETTLED, (failed(None, "z", "unknown"),), "z: a client was told of it, and there is no such order"),
    ("lost in progress", SETTLED, (ClientAnswer(None, REQUEST, 409, {"order_id": "z"}),), "z: a client was told of it"),
    ("told placed", SETTLED, (failed(None, "f", "placed"),), "f: a client was told placed, and it settled as not_pla"),
    ("told not placed", SETTLED, (failed(None, "c", "not_placed"),), "c: a client was told not_placed, and it settled"),
    ("key of nothing", replace(SETTLED, keys=(*SETTLED.keys, ("q", "z"))), (), "key q: belongs to z, which was never"),
    ("trail without its head", settled_without("f", "INITIATED"), (), "f: its trail does not begin with INITIATED"),
]


def test_what_has_settled_passes_and_is_counted() -> None:
    report = check_settled(SETTLED, ANSWERS)

    report.assert_safe()
    counts = report.counts
    assert (counts["settled placed"], counts["settled not_placed"], counts["settled unresolved"]) == (3, 4, 1)


@pytest.mark.parametrize(
    ("evidence", "more", "words"), [p[1:] for p in PLANTED_IN_SETTLED], ids=[p[0] for p in PLANTED_IN_SETTLED]
)
def test_violation_of_settling_is_noticed(evidence: Evidence, more: tuple[ClientAnswer, ...], words: str) -> None:
    report = check_settled(evidence, ANSWERS + more)

    assert any(words in violation for violation in report.violations), report.violations


def test_giving_up_may_turn_out_wrong_and_is_then_adopted() -> None:
    late = (
        row("i", "INITIATED", 1),
        row("i", "NOT_PLACED", 2, reason="presumed:absent"),
        row("i", "COMPLETED", 9, reason="verified", exchange_order_id="x-9"),
    )
    reported = ClientAnswer(
        None, REQUEST, 500, {"order_id": "i", "outcome": "not_placed", "certainty": "presumed"}, at(4)
    )

    report = check_settled(
        replace(settled_with(*late), lines=[*SETTLED.lines, accepted("i", "x-9")]), (*ANSWERS, reported)
    )

    assert report.violations == []


def test_canceled_and_filled_are_taken_from_the_exchange() -> None:
    reported = AcceptedLine(at(2).isoformat(), "x-1", logged("a"), (filled("a"),))
    evidence = settled_with(row("a", "FILLED", 9, reason="verified", exchange_order_id="x-1"))

    report = check_settled(replace(evidence, lines=[reported, *SETTLED.lines[1:]], cancels=("a", "b")), ANSWERS)

    assert report.violations == []


def test_cancel_of_what_contradicts_itself_is_reviewed() -> None:
    report = check_settled(replace(SETTLED, cancels=("e", "h"), doubts=("e", "h")), ANSWERS)

    assert report.violations == []


def test_spool_counts_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "1.spool").write_bytes(b"")
    (tmp_path / "2.spool").write_bytes(b"x")
    (tmp_path / "3.refused").write_bytes(b"x")

    assert unreplayed(tmp_path) == ["2.spool", "3.refused"]


@pytest.mark.parametrize(
    ("case", "planted"),
    [(checker._Case, PLANTED), (checker._SettledCase, PLANTED_IN_SETTLED)],
    ids=["always", "settled"],
)
def test_each_check_is_planted(
    case: type[checker._Case], planted: list[tuple[str, Evidence, tuple[ClientAnswer, ...], str]]
) -> None:
    """Whoever adds a check plants its violation here."""
    checks = [name for name in vars(case) if not name.startswith("_") and name != "counts"]

    missed = [
        name
        for name in checks
        if not any(list(getattr(case(evidence, ANSWERS + more), name)()) for _, evidence, more, _ in planted)
    ]

    assert (len(checks) >= 10, missed) == (True, [])
