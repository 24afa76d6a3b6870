"""The instruments that are traded of late, each with a breaker of its own once something went wrong with it.

Their number is bounded, whatever clients order: the least recently used go. Nothing depends on how names are hashed.
"""

from collections.abc import Callable, Iterator

from ordertrail.venues.gate.breaker import Breaker, Reach, State
from ordertrail.venues.gate.rules import BreakerRules

INSTRUMENTS_KEPT_MAX = 1024
OPEN_FOR_VENUE = 3
"""So many open instruments at once speak of the venue."""
USED_SECONDS = 10.0
"""An instrument is used for so long after an order in it."""
_FORGOTTEN_SHARE = 8  # where there are too many, one in so many is forgotten at once: sorting is not for each order
_NEVER = float("-inf")


class Instrument:
    """What the gate knows of one; `fresh_at`: when it was last wanted by an order that is no resend."""

    __slots__ = ("breaker", "fresh_at", "name", "used_at")

    def __init__(self, name: str) -> None:
        self.name = name
        self.breaker: Breaker | None = None
        self.used_at = _NEVER
        self.fresh_at = _NEVER

    @property
    def is_stopped(self) -> bool:
        """Whether its breaker is in the way of a call, or wants it as a probe."""
        return self.breaker is not None and not self.breaker.is_closed

    def is_open(self, now: float) -> bool:
        """Whether it is stopped, and that is no old story: its pause lasts, or it is used."""
        breaker = self.breaker
        if breaker is None or breaker.is_closed:
            return False
        return now - self.used_at < USED_SECONDS or breaker.wait_seconds(now) > 0


class Instruments:
    """Those of one call budget; all times are monotonic seconds."""

    def __init__(
        self,
        rules: BreakerRules,
        *,
        chance: Callable[[], float],
        on_change: Callable[[str, State], None],
        kept_max: int = INSTRUMENTS_KEPT_MAX,
    ) -> None:
        """`on_change(name, state)` is called when a breaker turns."""
        self._rules = rules
        self._chance = chance
        self._on_change = on_change
        self._kept_max = kept_max
        self.by_name: dict[str, Instrument] = {}
        """For a look-up; what is not there is to be had by `add`."""
        self._stopped: dict[str, Instrument] = {}
        self._in_use: Instrument | None = None

    def add(self, name: str) -> Instrument:
        """One that is not there yet; the least recently used make room for it."""
        if len(self.by_name) >= self._kept_max:
            oldest = sorted(self.by_name.values(), key=lambda each: each.used_at)
            for each in oldest[: max(self._kept_max // _FORGOTTEN_SHARE, 1)]:
                del self.by_name[each.name]
                self._stopped.pop(each.name, None)
        instrument = self.by_name[name] = Instrument(name)
        return instrument

    def breaker_of(self, instrument: Instrument) -> Breaker:
        """Its breaker, made if it had none: most instruments never need one."""
        if instrument.breaker is None:
            instrument.breaker = Breaker(
                self._rules, chance=self._chance, on_change=lambda state: self._changed(instrument, state)
            )
        return instrument.breaker

    def open_now(self, now: float) -> Iterator[Instrument]:
        """Those that are open, in the order in which they were stopped."""
        return (each for each in self._stopped.values() if each.is_open(now))

    def stopped(self) -> Iterator[tuple[str, Breaker]]:
        """Those whose breaker is in the way of a call, or wants it as a probe."""
        return ((each.name, each.breaker) for each in self._stopped.values() if each.breaker is not None)

    def reach(self, now: float) -> Reach:
        """Of what their troubles speak now."""
        number_open = 0
        for _ in self.open_now(now):
            number_open += 1
            if number_open == OPEN_FOR_VENUE:
                return Reach.VENUE
        return Reach.ALL_IN_USE if number_open and not self._is_another_in_use(now) else Reach.INSTRUMENT

    def _is_another_in_use(self, now: float) -> bool:
        """Whether one that is not open is used; mostly it is the one that was found the last time."""
        since = now - USED_SECONDS
        if self._in_use is None or self._in_use.used_at <= since or self._in_use.is_stopped:
            used = (each for each in self.by_name.values() if each.used_at > since and not each.is_stopped)
            self._in_use = next(used, None)
        return self._in_use is not None

    def _changed(self, instrument: Instrument, state: State) -> None:
        if self.by_name.get(instrument.name) is not instrument:
            return  # forgotten while a call was under way
        if state is State.CLOSED:
            self._stopped.pop(instrument.name, None)
        else:
            self._stopped.setdefault(instrument.name, instrument)
        self._on_change(instrument.name, state)
