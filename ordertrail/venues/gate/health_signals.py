"""What an answer says about the exchange's health, whatever it says about the order, and of how much of it.

Silence, failed connections, resets, and a throttle or close without a scope speak of the venue. An error, garbage, and
a word that names the instrument speak of that instrument: the venue has answered.
"""

from enum import Enum, auto

from ordertrail.domain.reason import Cause, http_cause
from ordertrail.domain.venue_answer import NoAnswer, NotSent, Scope, Unknown


class HealthSignal(Enum):
    """How the exchange does, by one answer."""

    HEALTHY = auto()
    """It answered; a no is an answer."""
    TROUBLE = auto()
    """It takes no orders, or cannot do its work."""
    SILENCE = auto()
    """It could not be reached, or did not answer."""
    THROTTLED = auto()
    """It answered, and wants fewer calls."""
    INSTRUMENT_TROUBLE = auto()
    """It answered for this instrument with nothing of use: an error, garbage, closed."""
    INSTRUMENT_THROTTLED = auto()
    """It answered, and wants fewer calls for this instrument."""
    NOTHING = auto()
    """The call was given up on our side, which says nothing about the exchange."""


# Whatever else an adapter returns is the exchange's own answer.
_MAY_BE_TROUBLE = frozenset({NotSent, Unknown, NoAnswer, type(None)})
_BY_CAUSE: dict[str, HealthSignal] = {
    Cause.THROTTLED: HealthSignal.THROTTLED,
    Cause.CLOSED: HealthSignal.TROUBLE,
    Cause.EXCHANGE_BROKEN: HealthSignal.TROUBLE,
    http_cause(429): HealthSignal.THROTTLED,
    Cause.WINDOW_PASSED: HealthSignal.NOTHING,
    Cause.DIFFERS_AT_EXCHANGE: HealthSignal.HEALTHY,
    Cause.TIMEOUT: HealthSignal.SILENCE,
    Cause.CONNECT_FAILED: HealthSignal.SILENCE,
    Cause.CONNECT_TIMEOUT: HealthSignal.SILENCE,
    Cause.CONNECTION_LOST: HealthSignal.SILENCE,
}
_BY_CAUSE_OF_INSTRUMENT: dict[str, HealthSignal] = {
    Cause.THROTTLED: HealthSignal.INSTRUMENT_THROTTLED,
    Cause.CLOSED: HealthSignal.INSTRUMENT_TROUBLE,
}
_OF_VENUE = {
    HealthSignal.INSTRUMENT_TROUBLE: HealthSignal.TROUBLE,
    HealthSignal.INSTRUMENT_THROTTLED: HealthSignal.THROTTLED,
}
_HEALTHY = HealthSignal.HEALTHY  # looked up once: an attribute of an enum costs a search through its metaclass


def health_signal_of(answer: object) -> HealthSignal:
    """The sign of any answer of a `Venue`; None: cancelled before there was one."""
    if type(answer) not in _MAY_BE_TROUBLE:
        return _HEALTHY
    if isinstance(answer, NotSent) and answer.scope is Scope.INSTRUMENT:
        return _BY_CAUSE_OF_INSTRUMENT.get(answer.cause, HealthSignal.INSTRUMENT_TROUBLE)
    if isinstance(answer, NotSent | Unknown | NoAnswer):
        return _BY_CAUSE.get(answer.cause, HealthSignal.INSTRUMENT_TROUBLE)
    return HealthSignal.NOTHING


def signal_of_venue(signal: HealthSignal) -> HealthSignal:
    """The same of the venue, where the call was about no instrument that it could speak of."""
    return _OF_VENUE.get(signal, signal)


def retry_after_of(answer: object) -> float | None:
    """How long the exchange wants no more, where it said so."""
    return answer.retry_after_seconds if isinstance(answer, NotSent) else None
