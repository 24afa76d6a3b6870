"""What an answer says about the exchange's health, whatever it says about the order."""

from enum import Enum, auto

from ordertrail.domain.reason import Cause, http_cause
from ordertrail.domain.venue_answer import NoAnswer, NotSent, Unknown


class HealthSignal(Enum):
    """How the exchange does, by one answer."""

    HEALTHY = auto()
    """It answered; a no is an answer."""
    TROUBLE = auto()
    """It answered with nothing of use: an error, garbage, closed."""
    SILENCE = auto()
    """It could not be reached, or did not answer."""
    THROTTLED = auto()
    """It answered, and wants fewer calls."""
    NOTHING = auto()
    """The call was given up on our side, which says nothing about the exchange."""


# Whatever else an adapter returns is the exchange's own answer.
_MAY_BE_TROUBLE = frozenset({NotSent, Unknown, NoAnswer, type(None)})
_BY_CAUSE: dict[str, HealthSignal] = {
    Cause.THROTTLED: HealthSignal.THROTTLED,
    http_cause(429): HealthSignal.THROTTLED,
    Cause.WINDOW_PASSED: HealthSignal.NOTHING,
    Cause.DIFFERS_AT_EXCHANGE: HealthSignal.HEALTHY,
    Cause.TIMEOUT: HealthSignal.SILENCE,
    Cause.CONNECT_FAILED: HealthSignal.SILENCE,
    Cause.CONNECT_TIMEOUT: HealthSignal.SILENCE,
    Cause.CONNECTION_LOST: HealthSignal.SILENCE,
}
_HEALTHY = HealthSignal.HEALTHY  # looked up once: an attribute of an enum costs a search through its metaclass


def health_signal_of(answer: object) -> HealthSignal:
    """The sign of any answer of a `Venue`; None: cancelled before there was one."""
    if type(answer) not in _MAY_BE_TROUBLE:
        return _HEALTHY
    if isinstance(answer, NotSent | Unknown | NoAnswer):
        return _BY_CAUSE.get(answer.cause, HealthSignal.TROUBLE)
    return HealthSignal.NOTHING


def retry_after_of(answer: object) -> float | None:
    """How long the exchange wants no more, where it said so."""
    return answer.retry_after_seconds if isinstance(answer, NotSent) else None
