"""The database's errors → problems, for every request that reads or cancels."""

from collections.abc import Iterator
from contextlib import contextmanager

from ordertrail.api.problems import ProblemError
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.order_reads import TooSlow

RETRY_AFTER_SECONDS = 1


@contextmanager
def database_errors_as_problems() -> Iterator[None]:
    """Raise a problem where the database cannot serve just now.

    An error that is a mistake of ours goes on its way: it is logged, and answered as any other bug.
    """
    retry_after = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    try:
        yield
    except TooSlow as error:
        raise ProblemError("too-slow", headers=retry_after) from error
    except StatementOutcomeUnknown as error:
        raise ProblemError("database-unavailable", headers=retry_after) from error
    except StatementFailed as error:
        if error.is_unable_to_serve:
            raise ProblemError("database-unavailable", headers=retry_after) from error
        raise
