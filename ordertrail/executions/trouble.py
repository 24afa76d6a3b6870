"""A trouble that lasts is said once, and its end once; each time it is counted."""

from ordertrail.queues.queue import Overtaken, QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown

_log = get_logger()


class Trouble:
    """`sentence` says what cannot be done."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._reported: str | None = None

    def report(self, error: Exception) -> None:
        """It went wrong again."""
        metrics.EXECUTION_FAILURES.labels(kind_of(error)).inc()
        text = str(error) or type(error).__name__
        if not isinstance(error, StatementFailed | StatementOutcomeUnknown | QueueUnavailable):
            metrics.INVARIANTS_BROKEN.labels("processor_raised").inc()
            if text != self._reported:
                _log.error(self._sentence, error=text, exc_info=error)
        elif is_database_away(error):
            return  # that the database cannot be reached at all the process's watch says already
        elif text != self._reported:
            _log.warning(self._sentence, error=text)
        self._reported = text

    def is_over(self) -> None:
        """It went well."""
        if self._reported is not None:
            self._reported = None
            _log.info(f"{self._sentence}: that is over")


def is_database_away(error: BaseException | None) -> bool:
    """Whether it is about a statement that was never sent, for the queue in the database or otherwise."""
    if isinstance(error, QueueUnavailable):
        return is_database_away(error.__cause__)
    return isinstance(error, StatementOutcomeUnknown) and not error.may_have_happened


def kind_of(error: Exception) -> str:
    """How a metric calls it."""
    match error:
        case StatementFailed():
            return "statement_failed"
        case StatementOutcomeUnknown():
            return "statement_outcome_unknown"
        case QueueUnavailable():
            return "queue_unavailable"
        case Overtaken():
            return "overtaken"
        case _:
            return "other"
