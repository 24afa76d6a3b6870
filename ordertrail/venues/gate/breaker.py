"""The circuit breaker: no calls to an exchange that does not answer, and few to one that wants fewer.

Pure: time and chance are passed in, and nothing waits. Every call that is let through gets a number, and every
turn of the breaker begins a new one. So an answer counts only in the turn in which its call began: what was sent
before the breaker opened neither ends a probe nor opens it again once it has recovered.
"""

from collections.abc import Callable
from enum import Enum, StrEnum, auto

from ordertrail.venues.gate.health_signals import HealthSignal
from ordertrail.venues.gate.rules import BreakerRules
from ordertrail.venues.gate.window import Window

_HEALTHY = HealthSignal.HEALTHY
_OF_INSTRUMENT = (HealthSignal.INSTRUMENT_TROUBLE, HealthSignal.INSTRUMENT_THROTTLED)
_GROWTH_MAX = 16


class State(StrEnum):
    """What the breaker does with a call."""

    CLOSED = "closed"
    """Lets all through."""
    HALF_OPEN = "half_open"
    """Lets one through at a time, to learn from it."""
    THROTTLED = "throttled"
    """Lets none through: the exchange said when it wants the next."""
    OPEN = "open"
    """Lets none through: the exchange is in trouble."""


class Reach(Enum):
    """Of what the troubles of instruments speak, if a breaker is the venue's."""

    INSTRUMENT = auto()
    """Of these instruments, and not of the venue."""
    ALL_IN_USE = auto()
    """Of the venue, until an order in another instrument comes: all that are used have their troubles."""
    VENUE = auto()
    """Of the venue."""


class Breaker:
    """One breaker; all times are monotonic seconds."""

    __slots__ = (
        "_back_offs",
        "_chance",
        "_closed_at",
        "_on_change",
        "_pauses",
        "_probe_lost_at",
        "_rules",
        "_silences",
        "_successes",
        "_successes_needed",
        "_throttles",
        "_turn",
        "_until",
        "_window",
        "is_closed",
        "is_throttled",
        "rests_on_all_in_use",
        "state",
    )

    def __init__(self, rules: BreakerRules, *, chance: Callable[[], float], on_change: Callable[[State], None]) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._rules = rules
        self._chance = chance
        self._on_change = on_change
        self._window = Window(rules.window_seconds)
        self.state = State.CLOSED
        self.is_closed = True
        self.is_throttled = False
        self.rests_on_all_in_use = False
        self._turn = 0
        self._closed_at = float("-inf")
        self._silences = 0
        self._until = 0.0
        self._pauses = 0
        self._back_offs = 0
        self._throttles = 0
        self._probe_lost_at: float | None = None
        self._successes = 0
        self._successes_needed = rules.successes_to_close

    def wait_seconds(self, now: float) -> float:
        """How long until a call may be let through, by what is known now; 0: at once."""
        if self.is_closed:
            return 0
        if self.state is State.HALF_OPEN:
            # How long the probe takes is not known; a pause is a fair guess.
            is_out = self._probe_lost_at is not None and now < self._probe_lost_at
            return self._rules.pause_seconds if is_out else 0
        return max(self._until - now, 0)

    def resend_wait_seconds(self, now: float, fresh_at: float) -> float:
        """The same for a resend, where the last fresh order came at `fresh_at`.

        While fresh orders come the probes are theirs; where none of them has closed or opened the breaker for so long
        after the pause, resends are let through as well.
        """
        if self.is_closed:
            return 0
        left_to_fresh = min(fresh_at, self._until) + self._rules.fresh_seconds - now
        return max(self.wait_seconds(now), left_to_fresh)

    def enter(self, now: float) -> int:
        """Let a call through, for which `wait_seconds` must be 0; gives the number to `leave` with."""
        if not self.is_closed:
            self._turn += 1
            self._probe_lost_at = now + self._rules.probe_seconds_max
            self._become(State.HALF_OPEN)
        return self._turn

    def leave(
        self,
        turn: int,
        signal: HealthSignal,
        *,
        now: float,
        took_seconds: float,
        reach: Reach = Reach.INSTRUMENT,
    ) -> None:
        """Learn from the call that was let through as `turn`; what was throttled is for `back_off`.

        `reach` says of what troubles of instruments speak; an instrument's own breaker is given none.
        """
        if turn != self._turn:
            return
        slow_seconds = self._rules.slow_seconds
        if signal is _HEALTHY and slow_seconds is not None and took_seconds >= slow_seconds:
            signal = HealthSignal.TROUBLE
        if not self.is_closed:
            self._learn_from_probe(signal, now, reach)
        elif signal is _HEALTHY:
            self._silences = 0
            self._throttles = 0
            self._window.add(now, is_trouble=False)
        elif signal is not HealthSignal.NOTHING:
            self._count_trouble(signal, now, reach)

    def back_off(self, now: float, retry_after_seconds: float | None) -> None:
        """No call until the exchange wants one; then one must be answered before all may pass.

        The turn of the call that was throttled does not matter: the exchange's wish counts from when it is heard.
        """
        rules = self._rules
        if self.is_closed:
            self._throttles += 1
            if self._throttles < rules.throttles_to_back_off:
                return
        is_stopped = self.state in {State.THROTTLED, State.OPEN}
        if retry_after_seconds is None:
            growth = 0 if is_stopped else min(self._back_offs, _GROWTH_MAX)
            retry_after_seconds = rules.throttle_seconds * 2.0**growth
        until = now + min(max(retry_after_seconds, 0), rules.throttle_seconds_max)
        if is_stopped:
            # Many calls were under way: their answers are one wish, the longest of them.
            self._until = max(self._until, until)
            return
        self._forgive(now)
        if self.is_closed:
            self._successes_needed = 1
        self._back_offs += 1
        self._until = until
        self.is_throttled = True
        self.rests_on_all_in_use = False
        self._stop(State.THROTTLED)

    def withdraw(self, now: float) -> None:
        """Close, for another instrument is used now: what it was opened for does not hold any more."""
        self._close(now)

    def counts(self, now: float) -> tuple[int, int]:
        """Calls in the window, and how many of them were troubles."""
        self._window.move_to(now)
        return self._window.calls, self._window.troubles

    def _learn_from_probe(self, signal: HealthSignal, now: float, reach: Reach) -> None:
        self._probe_lost_at = None
        if signal is _HEALTHY:
            self._successes += 1
            if self._successes >= self._successes_needed:
                self._close(now)
        elif signal in _OF_INSTRUMENT:
            if reach is not Reach.INSTRUMENT:
                self._open(now, rests_on_all_in_use=reach is Reach.ALL_IN_USE)
        elif signal is not HealthSignal.NOTHING:
            self._open(now)

    def _count_trouble(self, signal: HealthSignal, now: float, reach: Reach) -> None:
        if signal in _OF_INSTRUMENT:
            self._window.add_instrument_trouble(now)
        else:
            self._window.add(now, is_trouble=True)
        self._silences = self._silences + 1 if signal is HealthSignal.SILENCE else 0
        calls, troubles, rules = self._window.calls, self._window.troubles, self._rules
        # At high rates a run of silences is only chance: there the share decides.
        if calls >= rules.calls_min:
            if troubles >= rules.trouble_share * calls:
                self._open(now)
                return
            troubles += self._window.instrument_troubles
            if reach is not Reach.INSTRUMENT and troubles >= rules.trouble_share * calls:
                self._open(now, rests_on_all_in_use=reach is Reach.ALL_IN_USE)
        elif self._silences >= rules.silences_in_a_row:
            self._open(now)

    def _open(self, now: float, *, rests_on_all_in_use: bool = False) -> None:
        """Open, each time for longer, until it has stayed closed for as long as the longest pause."""
        rules = self._rules
        self._forgive(now)
        pause = min(rules.pause_seconds * 2.0 ** min(self._pauses, _GROWTH_MAX), rules.pause_seconds_max)
        self._pauses += 1
        self._until = now + pause * (1 - rules.jitter * self._chance())
        self._successes_needed = rules.successes_to_close
        self.is_throttled = False
        self.rests_on_all_in_use = rests_on_all_in_use
        self._stop(State.OPEN)

    def _forgive(self, now: float) -> None:
        if self.is_closed and now - self._closed_at >= self._rules.pause_seconds_max:
            self._pauses = 0

    def _stop(self, state: State) -> None:
        self._turn += 1
        self._silences = 0
        self._throttles = 0
        self._successes = 0
        self.is_closed = False
        self._become(state)

    def _close(self, now: float) -> None:
        self._closed_at = now
        self._back_offs = 0
        if not self.is_throttled:  # a throttling exchange may be in trouble too, and that must still add up
            self._window.clear()
        self.is_closed = True
        self.is_throttled = False
        self._become(State.CLOSED)

    def _become(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._on_change(state)
