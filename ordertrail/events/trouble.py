"""A trouble with the event log that lasts is said once, and its end once; each time it is counted."""

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
        text = str(error) or type(error).__name__
        match error:
            case StatementFailed() | StatementOutcomeUnknown():
                metrics.EVENT_LOG_FAILURES.labels("database").inc()
                if isinstance(error, StatementOutcomeUnknown) and not error.may_have_happened:
                    return  # that the database cannot be reached at all the process's watch says already
                if text != self._reported:
                    _log.warning(self._sentence, error=text)
            case _:
                metrics.EVENT_LOG_FAILURES.labels("other").inc()
                metrics.INVARIANTS_BROKEN.labels("event_reader_raised").inc()
                if text != self._reported:
                    _log.error(self._sentence, error=text, exc_info=error)
        self._reported = text

    def is_over(self) -> None:
        """It went well."""
        if self._reported is not None:
            self._reported = None
            _log.info(f"{self._sentence}: that is over")
