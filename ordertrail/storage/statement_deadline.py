"""By when the caller of a statement needs its answer, where that is sooner than the statement's own limit."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SECONDS: ContextVar[float | None] = ContextVar("seconds", default=None)


@contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Statements that are begun in the block have no more than so many seconds each."""
    token = _SECONDS.set(seconds)
    try:
        yield
    finally:
        _SECONDS.reset(token)


def seconds_for(statement_seconds: float) -> float:
    """How long a statement that is begun now may take, with a limit of its own."""
    seconds = _SECONDS.get()
    return statement_seconds if seconds is None or seconds > statement_seconds else seconds
