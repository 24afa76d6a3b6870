"""The checker of what must always hold notices each violation, planted one at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulated_exchange.entries import AcceptedLine, LoggedOrder, RejectedLine
from tests.support import checker
from tests.support.checker import Answer, Evidence, Report, Row, check

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


def placed(key: str | None, order_id: str, exchange_order_id: str, **changes: Any) -> Answer:
    body = {
        **REQUEST,
        "id": order_id,
        "status": "COMPLETED",
        "outcome": "placed",
        "exchange_order_id": exchange_order_id,
    }
    return Answer(key, REQUEST, 201, body | changes, at(4))


def failed(key: str | None, order_id: str, outcome: str | None) -> Answer:
    return Answer(key, REQUEST, 500, {"order_id": order_id, "outcome": outcome}, at(4))


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
    Answer("k", REQUEST, None),
    Answer("k", REQUEST, 409, {"order_id": "a"}),
    placed("k", "a", "x-1"),
    failed("r", "b", "not_placed"),
    Answer(None, REQUEST, None),
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


PLANTED: list[tuple[str, Evidence, tuple[Answer, ...], str]] = [
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
    ("key told wrong", SAFE, (Answer("k", REQUEST, 409, {"order_id": "c"}),), "key k: its clients were told of"),
    ("key not kept", replace(changed("a", "INITIATED", client_order_id=None), keys=()), (), "it belongs to None"),
    ("201 without acceptance", replace(SAFE, lines=LINES[1:]), (), "a: 201, and the exchange has not accepted it"),
    ("201 of another", SAFE, (placed("k", "a", "x-3"),), "a: 201 names the exchange order x-3"),
    ("201 without COMPLETED", without("a", "COMPLETED"), (), "a: 201, and its rows are ['INITIATED']"),
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
    ("placed taken back", SAFE, (failed("k", "a", "unknown"),), "key k: unknown after placed"),
    ("no taken back", SAFE, (failed("r", "b", "pending"),), "key r: pending after not_placed"),
    (
        "refused with effect",
        replace(with_rows(row("d", "INITIATED", 1, client_order_id="q"))),
        (Answer("q", REQUEST, 503, {}),),
        "key q: only ever refused",
    ),
]


@pytest.mark.parametrize(("evidence", "more", "words"), [p[1:] for p in PLANTED], ids=[p[0] for p in PLANTED])
def test_violation_is_noticed(evidence: Evidence, more: tuple[Answer, ...], words: str) -> None:
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


def test_each_check_is_planted() -> None:
    """Whoever adds a check plants its violation here."""
    checks = [name for name in vars(checker._Case) if not name.startswith("_") and name != "counts"]

    missed = [
        name
        for name in checks
        if not any(list(getattr(checker._Case(evidence, ANSWERS + more), name)()) for _, evidence, more, _ in PLANTED)
    ]

    assert (len(checks) >= 10, missed) == (True, [])
