"""A trouble that lasts: said once, ended once, counted each time; what a person hears of it elsewhere is not said."""

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from ordertrail.executions.trouble import Trouble, is_database_away, kind_of
from ordertrail.queues.queue import Overtaken, QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown

AWAY = StatementOutcomeUnknown("cannot be reached", may_have_happened=False)
LOST = StatementOutcomeUnknown("the connection is gone", may_have_happened=True)
DEADLOCK = StatementFailed("40P01", "deadlock detected")
BUG = ValueError("a bug")


def queue_away(cause: BaseException | None) -> QueueUnavailable:
    error = QueueUnavailable("the queue in the database does not answer")
    error.__cause__ = cause
    return error


def said(*errors: Exception | None) -> list[EventDict]:
    """What is said of them, one after the other; None: it went well."""
    trouble = Trouble("it cannot be done")
    with capture_logs() as logs:
        for error in errors:
            if error is None:
                trouble.is_over()
            else:
                trouble.report(error)
    return [{name: each[name] for name in ("event", "log_level", "error") if name in each} for each in logs]


OVER = {"event": "it cannot be done: that is over", "log_level": "info"}


def begins(text: str, level: str = "warning") -> EventDict:
    return {"event": "it cannot be done", "log_level": level, "error": text}


def test_a_trouble_that_lasts_is_said_once_and_its_end_once() -> None:
    assert said(LOST, LOST, LOST, None, None) == [begins("the connection is gone"), OVER]


def test_a_trouble_that_comes_again_is_said_again() -> None:
    assert said(LOST, None, LOST) == [begins("the connection is gone"), OVER, begins("the connection is gone")]


def test_another_trouble_is_said_and_both_end_together() -> None:
    assert said(LOST, DEADLOCK, None) == [
        begins("the connection is gone"),
        begins("40P01: deadlock detected"),
        OVER,
    ]


def test_what_goes_well_from_the_beginning_is_no_news() -> None:
    assert said(None, None) == []


def test_a_bug_is_an_error_with_its_traceback_and_said_once() -> None:
    with capture_logs() as logs:
        trouble = Trouble("it cannot be done")
        trouble.report(BUG)
        trouble.report(BUG)

    [line] = logs
    assert (line["log_level"], line["error"], line["exc_info"]) == ("error", "a bug", BUG)


def test_an_error_without_words_is_called_by_its_kind() -> None:
    assert said(TimeoutError()) == [begins("TimeoutError", "error")]


@pytest.mark.parametrize("error", [AWAY, queue_away(AWAY)])
def test_a_database_that_cannot_be_reached_is_left_to_those_who_watch_it(error: Exception) -> None:
    assert said(error, error, None) == []


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (AWAY, True),
        (queue_away(AWAY), True),
        (queue_away(queue_away(AWAY)), True),
        (LOST, False),
        (queue_away(LOST), False),
        (queue_away(None), False),
        (DEADLOCK, False),
        (BUG, False),
        (None, False),
    ],
)
def test_a_database_is_away_where_the_statement_was_never_sent(error: BaseException | None, is_away: bool) -> None:
    assert is_database_away(error) is is_away


@pytest.mark.parametrize(
    ("error", "kind", "is_a_bug"),
    [
        (DEADLOCK, "statement_failed", False),
        (LOST, "statement_outcome_unknown", False),
        (AWAY, "statement_outcome_unknown", False),
        (queue_away(None), "queue_unavailable", False),
        (Overtaken(), "overtaken", True),
        (BUG, "other", True),
    ],
)
def test_each_failure_is_counted_by_its_kind_and_a_bug_as_one(error: Exception, kind: str, is_a_bug: bool) -> None:
    before = counted(kind)
    trouble = Trouble("it cannot be done")

    trouble.report(error)
    trouble.report(error)

    assert kind_of(error) == kind
    failures, bugs = counted(kind)
    assert (failures - before[0], bugs - before[1]) == (2, 2 if is_a_bug else 0)


def counted(kind: str) -> tuple[float, float]:
    """Failures of that kind, and bugs."""
    failures: float = metrics.EXECUTION_FAILURES.labels(kind)._value.get()
    bugs: float = metrics.INVARIANTS_BROKEN.labels("processor_raised")._value.get()
    return failures, bugs
