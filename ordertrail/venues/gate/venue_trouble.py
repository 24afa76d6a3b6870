"""The last trouble that a process had with its exchange, for people; nothing is decided by it."""

from dataclasses import dataclass
from datetime import datetime

from ordertrail.domain.venue_answer import NoAnswer, NotSent, Unknown
from ordertrail.runtime.clock import Clock
from ordertrail.venues.gate.health_signals import HealthSignal, health_signal_of

# Looked at for every answer, so that nothing more is done about those of an exchange that is well.
MAY_BE_TROUBLE = frozenset({NotSent, Unknown, NoAnswer})


@dataclass(slots=True)
class VenueTrouble:
    """`silent_since`: since when it has not answered at all; `cause` and `at`: the last trouble, silence or not."""

    silent_since: datetime | None = None
    cause: str | None = None
    at: datetime | None = None

    def learn(self, answer: object, clock: Clock) -> None:
        """Take note of an answer of the venue's."""
        signal = health_signal_of(answer)
        if signal is HealthSignal.NOTHING:
            return
        if signal is HealthSignal.HEALTHY:
            self.silent_since = None
            return
        assert isinstance(answer, NotSent | Unknown | NoAnswer)
        self.cause, self.at = answer.cause, clock.now()
        if signal is not HealthSignal.SILENCE:
            self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = self.at
