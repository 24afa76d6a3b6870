"""The advice of every problem, as a table; and that all fields of one answer have one voice, over every trail."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from ordertrail.api.advice import MEANINGS, Advice, advice_of
from ordertrail.api.failed_order import failed_order
from ordertrail.api.problems import PROBLEMS
from ordertrail.domain.trail import PLACED_STATUSES, Certainty, OrderStatus, Outcome, TrailRow, fold, fold_status
from tests.unit.api.test_problems import REASONS, trails

WAIT, REPEAT, NEW_KEY, CORRECT, NEVER = Advice
PROVED, PRESUMED = Certainty

# DESIGN, section 7, for problems that speak of no order: (with a key, without).
OF_REQUESTS: dict[str, tuple[Advice, Advice]] = {
    "request-in-progress": (WAIT, WAIT),
    "internal-error": (WAIT, REPEAT),
    "request-timeout": (REPEAT, REPEAT),
    "malformed-request": (CORRECT, CORRECT),
    "payload-too-large": (CORRECT, CORRECT),
    "unsupported-media-type": (CORRECT, CORRECT),
    "headers-too-large": (CORRECT, CORRECT),
    "invalid-request": (CORRECT, CORRECT),
    "key-reused": (NEVER, NEVER),
    "overloaded": (WAIT, REPEAT),
    "spool-full": (WAIT, REPEAT),
    "queue-full": (WAIT, REPEAT),
    "halted": (WAIT, REPEAT),
    "shutting-down": (WAIT, REPEAT),
    "database-unavailable": (WAIT, REPEAT),
}
# And for those that speak of one: by outcome and certainty.
OF_ORDERS: dict[tuple[Outcome, Certainty | None], tuple[Advice, Advice]] = {
    (Outcome.PLACED, None): (WAIT, NEVER),
    (Outcome.PENDING, None): (WAIT, NEVER),
    (Outcome.UNKNOWN, None): (WAIT, NEVER),
    (Outcome.NOT_PLACED, PROVED): (NEW_KEY, NEW_KEY),
    (Outcome.NOT_PLACED, PRESUMED): (NEVER, NEVER),
}
FAILED_TYPES = (
    "exchange-refused", "exchange-unavailable", "exchange-throttled", "circuit-open", "outcome-unknown", "not-recorded",
    "not-placed", "internal-error",
)  # fmt: skip


@pytest.mark.parametrize("name", OF_REQUESTS)
def test_advice_of_a_problem_without_an_order_is_the_documented_one(name: str) -> None:
    assert (advice_of(name, has_key=True), advice_of(name, has_key=False)) == OF_REQUESTS[name]


@pytest.mark.parametrize(("name", "of"), list(product(FAILED_TYPES, OF_ORDERS)))
def test_advice_of_a_failed_order_is_the_documented_one(name: str, of: tuple[Outcome, Certainty | None]) -> None:
    outcome, certainty = of
    advice = tuple(advice_of(name, has_key=has_key, outcome=outcome, certainty=certainty) for has_key in (True, False))

    assert advice == OF_ORDERS[of]


def test_advice_has_these_words() -> None:
    assert [*Advice] == [
        *("wait_then_repeat_same_key", "repeat_request", "new_key_is_safe", "correct_and_repeat", "never_repeat"),
    ]
    assert MEANINGS.keys() == {*Advice}


BOTH = (True, False)


def every_answer() -> Iterator[tuple[list[TrailRow], Outcome, dict[str, bool]]]:
    """Every trail of an order that is answered with a 500, and whatever else may be known of it."""
    for rows, may_send_again, has_open_claim, is_forbidden, has_key in product(
        trails([*REASONS]), BOTH, BOTH, BOTH, BOTH
    ):
        outcome = fold(rows).outcome(may_send_again=may_send_again and not is_forbidden, has_open_claim=has_open_claim)
        yield (
            rows,
            outcome,
            {
                "has_key": has_key,
                "has_open_claim": has_open_claim,
                "is_forbidden": is_forbidden,
            },
        )


def test_every_answer_has_one_voice() -> None:
    types, count = set[str](), 0
    for rows, outcome, known in every_answer():
        answer = failed_order(rows, outcome, **known)
        where = (rows, known, answer)
        types.add(answer.problem)
        count += 1

        assert answer.outcome is outcome, where
        assert answer.is_retryable is (outcome is not Outcome.NOT_PLACED), where
        assert (answer.certainty is not None) is (outcome is Outcome.NOT_PLACED), where
        with_key, without = OF_ORDERS[outcome, answer.certainty]
        assert answer.advice is (with_key if known["has_key"] else without), where
        assert ("a repeat would be another order" in answer.detail) is (
            answer.advice is NEVER and answer.is_retryable
        ), where
        assert "joe" not in answer.detail, where
        assert "operator" not in answer.detail, where
        match answer.problem:
            case "exchange-refused" | "not-placed":
                assert outcome is Outcome.NOT_PLACED, where
            case "outcome-unknown":
                assert outcome is Outcome.UNKNOWN, where
            case "exchange-unavailable" | "exchange-throttled" | "circuit-open":
                assert outcome in (Outcome.PENDING, Outcome.NOT_PLACED), where
            case type:
                assert type == "not-recorded", where
        if answer.problem == "not-placed":
            assert fold_status(rows) is OrderStatus.NOT_PLACED or known["is_forbidden"], where
        elif fold_status(rows) is OrderStatus.NOT_PLACED:
            assert answer.problem == "exchange-refused" or outcome is Outcome.PLACED, where
        match outcome:
            case Outcome.PLACED:
                assert "has accepted it" in answer.detail, where
            case Outcome.PENDING:
                assert "was not sent, and is sent again" in answer.detail, where
            case Outcome.UNKNOWN:
                assert any(
                    words in answer.detail for words in ("may have reached", "is not known yet", "cannot be read")
                ), where
            case Outcome.NOT_PLACED:
                assert "may have" not in answer.detail, where
                assert ("presumed" in answer.detail) <= (answer.certainty is PRESUMED), where
                assert ("proved" in answer.detail) <= (answer.certainty is PROVED), where
    assert count > 10_000
    assert types == {*FAILED_TYPES} - {"internal-error"}


def test_order_that_may_be_recorded_is_reported_with_what_is_known_and_what_may_be_done() -> None:
    """The database was away for a moment: nothing was sent, and no more than that is known."""
    rows = (
        TrailRow(OrderStatus.INITIATED),
        TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "not_sent:not_recorded"),
    )

    answer = failed_order(rows, Outcome.UNKNOWN, has_key=True, may_be_recorded=True)
    keyless = failed_order(rows, Outcome.UNKNOWN, has_key=False, may_be_recorded=True)

    assert (answer.problem, answer.outcome, answer.advice) == ("not-recorded", Outcome.UNKNOWN, WAIT)
    assert "Nothing was sent for this request" in answer.detail
    assert "cannot be read just now" in answer.detail
    assert keyless.advice is NEVER


@pytest.mark.parametrize(
    ("reason", "is_canceled", "words", "certainty"),
    [
        ("proved:absent", False, "has not got it", PROVED),
        ("presumed:absent", False, "can prove no more", PRESUMED),
        ("proved:not_sent:closed", False, "could not be sent in time", PROVED),
        ("proved:not_sent:closed", True, "was canceled before it was sent", PROVED),
        ("operator:joe: the desk says so", False, "A person has settled it.", PRESUMED),
        ("their own", False, "Another program has settled it.", PRESUMED),
    ],
)
def test_settled_order_has_words_of_its_own(reason: str, is_canceled: bool, words: str, certainty: Certainty) -> None:
    rows = [TrailRow(OrderStatus.INITIATED), TrailRow(OrderStatus.NOT_PLACED, reason)]

    answer = failed_order(rows, Outcome.NOT_PLACED, has_key=True, is_forbidden=is_canceled)

    assert answer.problem == "not-placed"
    assert words in answer.detail
    assert "joe" not in answer.detail
    assert answer.certainty is certainty


def test_paper_for_clients_has_every_advice() -> None:
    paper = Path("docs/clients.md").read_text()

    assert all(f"| `{advice}` |" in paper for advice in Advice)


def test_every_problem_of_placing_is_in_these_tables() -> None:
    elsewhere = {
        "order-not-found", "not-cancelable", "not-found", "method-not-allowed", "too-slow", "events-gone",
        "not-acceptable", "too-many-readers",
    }  # fmt: skip

    assert PROBLEMS.keys() == {*OF_REQUESTS, *FAILED_TYPES} | elsewhere
    assert all(fold([TrailRow(status)]).why is None for status in PLACED_STATUSES)
