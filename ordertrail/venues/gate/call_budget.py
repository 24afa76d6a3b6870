"""One budget's way through the gate: pass at once, wait one's turn, or be denied with the cause.

All callers are in one event loop, so nothing here is locked. Those that wait are served in the order in which they
came. Between a permit and its caller nothing can get lost: a caller that was cancelled gives it back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

from ordertrail.domain.reason import Cause
from ordertrail.runtime.clock import Clock
from ordertrail.venues.gate.breaker import Breaker, State
from ordertrail.venues.gate.concurrency import Slots
from ordertrail.venues.gate.denial import BudgetName, CallBudgetState, Denied, StoppedInstrument
from ordertrail.venues.gate.health_signals import HealthSignal, health_signal_of, retry_after_of, signal_of_venue
from ordertrail.venues.gate.instruments import Instrument, Instruments
from ordertrail.venues.gate.limits import CallBudgetLimits
from ordertrail.venues.gate.rate import Bucket
from ordertrail.venues.gate.repeats import Repeats

# Event loops count milliseconds; waiting for less would only turn the loop.
TIMER_SECONDS_MIN = 0.001
INSTRUMENTS_SHOWN_MAX = 20
_HEALTHY = HealthSignal.HEALTHY
_NOTHING = HealthSignal.NOTHING
_THROTTLED = HealthSignal.THROTTLED
_NEVER_REPEATED = (_HEALTHY, _NOTHING)
_NEVER = float("-inf")
_NO_TURN = -1


class GateMetrics(Protocol):
    """Where the gate reports what it does."""

    def refused(self, budget: BudgetName, cause: Cause) -> None:
        """A call was not let through."""
        ...

    def changed(self, budget: BudgetName, state: State) -> None:
        """The breaker of `budget` is now in `state`."""
        ...

    def instrument_changed(self, budget: BudgetName, instrument: str, state: State) -> None:
        """The breaker of an instrument in `budget` is now in `state`."""
        ...


class Timer(Protocol):
    """Something that will be called, unless it is cancelled."""

    def cancel(self) -> None:
        """Don't."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]


def later_in_loop(seconds: float, call: Callable[[], None]) -> Timer:
    """Call back by the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, call)


class Permit:
    """One call on its way; its caller must leave exactly once, whatever happens."""

    __slots__ = ("_budget", "entered_at", "instrument", "instrument_turn", "turn")

    def __init__(
        self, budget: "CallBudget", turn: int, entered_at: float, instrument: Instrument | None, instrument_turn: int
    ) -> None:
        self._budget: CallBudget | None = budget
        self.turn = turn
        self.entered_at = entered_at
        self.instrument = instrument
        self.instrument_turn = instrument_turn

    def leave(self, answer: object, now: float, order_id: str | None = None) -> None:
        """The call is over with any answer of a `Venue`; None: cancelled, which says nothing of the exchange.

        The same answer to the same order counts once.
        """
        budget, self._budget = self._budget, None
        assert budget is not None, "a permit was left twice"
        budget.leave(self, answer, now, order_id)


@dataclass(frozen=True, slots=True)
class _Waiting:
    deadline: float
    instrument: Instrument | None
    is_resend: bool


class CallBudget:
    """One budget; all times are monotonic seconds of `clock`."""

    def __init__(
        self,
        budget: BudgetName,
        limits: CallBudgetLimits,
        breaker: Breaker,
        instruments: Instruments,
        repeats: Repeats,
        *,
        clock: Clock,
        metrics: GateMetrics,
        later: Later = later_in_loop,
    ) -> None:
        self.budget = budget
        self._breaker = breaker
        self._instruments = instruments
        self._instrument_by_name = instruments.by_name
        self._repeats = repeats
        self._fresh_at = _NEVER
        self._slots = Slots(limits.in_flight_max)
        self._bucket = Bucket(per_second=limits.per_second, burst=limits.burst) if limits.per_second else None
        self._waiting_max = limits.waiting_max
        self._clock = clock
        self._metrics = metrics
        self._later = later
        self._line: OrderedDict[asyncio.Future[Permit | Denied], _Waiting] = OrderedDict()
        self._timer: Timer | None = None
        self._is_halted = False

    def try_enter(
        self, now: float, instrument: str | None = None, *, is_resend: bool = False
    ) -> Permit | Denied | None:
        """Pass, or learn why not, without waiting; None: `enter` would wait.

        `instrument` is the order's, where the call is about one. A resend is no probe while fresh orders come.
        """
        used = None
        is_free = True
        if instrument is not None:
            used = self._instrument_by_name.get(instrument) or self._instruments.add(instrument)
            used.used_at = now
            if not is_resend:
                used.fresh_at = now
            is_free = used.breaker is None or used.breaker.is_closed
        if is_free and not is_resend:
            # An order that the breaker of its own instrument is in the way of is no probe for the others.
            self._fresh_at = now
        if not is_free or not self._breaker.is_closed or self._is_halted:
            denied = self._denial(now, used, is_resend)
            if denied is not None:
                return self._deny(denied)
        return None if self._line else self._take(now, used)

    def reserve(self, now: float, *, calls_max: int) -> list[Permit]:
        """Permits for calls that could pass at once, for a caller that learns only then what they are about.

        None while others wait for their turn, the operator has halted, or the breaker lets none through; one where it
        wants a probe. Each is for `assign` or `give_back`.
        """
        permits: list[Permit] = []
        while len(permits) < calls_max and not self._line and not self._is_halted:
            if self._breaker.wait_seconds(now) > 0 or not self._slots.take():
                break
            if self._bucket is not None and not self._bucket.take(now):
                self._slots.give_back()
                break
            permits.append(Permit(self, self._breaker.enter(now), now, None, 0))
        return permits

    def assign(self, permit: Permit, now: float, instrument: str) -> None:
        """Say what a reserved call is about: an order in this instrument, and no resend."""
        used = self._instrument_by_name.get(instrument) or self._instruments.add(instrument)
        used.used_at = used.fresh_at = self._fresh_at = now
        permit.instrument, permit.entered_at = used, now
        if used.breaker is not None:
            # One that has opened since the order was chosen is told nothing by its answer.
            permit.instrument_turn = used.breaker.enter(now) if used.breaker.wait_seconds(now) <= 0 else _NO_TURN

    def give_back(self, permits: Iterable[Permit], now: float) -> None:
        """Reserved calls that are not made."""
        for permit in permits:
            permit.leave(None, now)
            if self._bucket is not None:
                self._bucket.give_back()

    def room_in_seconds(self, now: float) -> float:
        """How long until `reserve` may give a permit, as far as one can see; 0 where a call that leaves makes room."""
        if self._is_halted:
            return float("inf")
        free_at = now if self._bucket is None else self._bucket.free_at(now, ahead=len(self._line))
        return max(self._breaker.wait_seconds(now), free_at - now)

    def stopped_instruments(self, now: float) -> tuple[list[str], list[str]]:
        """Those of which no call may pass, and those of which one may, as a probe."""
        closed: list[str] = []
        probing: list[str] = []
        for name, breaker in self._instruments.stopped():
            (closed if breaker.wait_seconds(now) > 0 else probing).append(name)
        return closed, probing

    async def enter(
        self, *, deadline: float, instrument: str | None = None, is_resend: bool = False
    ) -> Permit | Denied:
        """Pass in turn and before `deadline`; what cannot be in time, as far as one can see, is denied at once."""
        now = self._clock.monotonic()
        if now >= deadline:
            return self._deny(Denied(Cause.WINDOW_PASSED))
        passed = self.try_enter(now, instrument, is_resend=is_resend)
        if passed is not None:
            return passed
        used = None if instrument is None else self._instrument_by_name.get(instrument)
        return await self._wait(now, _Waiting(deadline, used, is_resend))

    def denial(self, now: float, instrument: str | None = None, *, is_resend: bool = False) -> Denied | None:
        """Why no such call may pass now, limits aside; takes nothing and counts nothing."""
        return self._denial(now, self._instrument_by_name.get(instrument or ""), is_resend)

    def leave(self, permit: Permit, answer: object, now: float, order_id: str | None) -> None:
        """For `Permit` alone."""
        self._slots.give_back()
        signal = health_signal_of(answer)
        instrument = permit.instrument
        if signal is _HEALTHY and (instrument is None or instrument.breaker is None):
            self._breaker.leave(permit.turn, signal, now=now, took_seconds=now - permit.entered_at)
        else:
            self._learn(permit, answer, signal, now, order_id)
        if self._line:
            self._advance(now)

    def halt(self, *, is_halted: bool) -> None:
        """Refuse all, also those that wait; or let them pass again."""
        self._is_halted = is_halted
        self._advance(self._clock.monotonic())

    def state(self, now: float) -> CallBudgetState:
        """This call budget at one moment."""
        calls, troubles = self._breaker.counts(now)
        return CallBudgetState(
            budget=self.budget,
            breaker=self._breaker.state,
            denied_seconds=self._breaker.wait_seconds(now),
            calls=calls,
            troubles=troubles,
            in_flight=self._slots.taken,
            waiting=len(self._line),
            instruments_open=sum(1 for _ in self._instruments.open_now(now)),
            open_instruments=tuple(
                StoppedInstrument(each.name, breaker.state, breaker.wait_seconds(now))
                for each in islice(self._instruments.open_now(now), INSTRUMENTS_SHOWN_MAX)
                if (breaker := each.breaker) is not None
            ),
        )

    def _denial(self, now: float, instrument: Instrument | None, is_resend: bool) -> Denied | None:
        """The longer of what the venue and the instrument have against it."""
        if self._is_halted:
            return Denied(Cause.HALTED)
        own = None if instrument is None else instrument.breaker
        own_seconds = 0.0
        if instrument is not None and own is not None and not own.is_closed:
            own_seconds = own.resend_wait_seconds(now, instrument.fresh_at) if is_resend else own.wait_seconds(now)
        breaker = self._breaker
        seconds = 0.0
        if not breaker.is_closed and not self._is_refuted(instrument):
            seconds = breaker.resend_wait_seconds(now, self._fresh_at) if is_resend else breaker.wait_seconds(now)
        if own is not None and own_seconds > seconds:
            breaker, seconds = own, own_seconds
        if seconds <= 0:
            return None
        return Denied(Cause.THROTTLED if breaker.is_throttled else Cause.CIRCUIT_OPEN, retry_after_seconds=seconds)

    def _is_refuted(self, instrument: Instrument | None) -> bool:
        """Whether the venue's breaker is open for all instruments that are used, and now there is one that is not."""
        return self._breaker.rests_on_all_in_use and (instrument is None or not instrument.is_stopped)

    def _learn(self, permit: Permit, answer: object, signal: HealthSignal, now: float, order_id: str | None) -> None:
        """First of the instrument, then of the venue, for which its trouble means what that of the others says."""
        breaker, instrument = self._breaker, permit.instrument
        if instrument is None:
            signal = signal_of_venue(signal)
        is_new = order_id is None or signal in _NEVER_REPEATED or not self._repeats.is_repeat(order_id, signal, now)
        if instrument is not None:
            self._learn_of_instrument(instrument, permit, answer, signal if is_new else _NOTHING, now)
        if signal is not _THROTTLED:
            reach = self._instruments.reach(now)
            took_seconds = now - permit.entered_at
            breaker.leave(permit.turn, signal if is_new else _NOTHING, now=now, took_seconds=took_seconds, reach=reach)
        elif is_new or not breaker.is_closed:
            # While we back off every wish counts, whoever it was said to.
            breaker.back_off(now, retry_after_of(answer))

    def _learn_of_instrument(
        self, instrument: Instrument, permit: Permit, answer: object, signal: HealthSignal, now: float
    ) -> None:
        turn, took_seconds = permit.instrument_turn, now - permit.entered_at
        match signal:
            case HealthSignal.INSTRUMENT_THROTTLED:
                self._instruments.breaker_of(instrument).back_off(now, retry_after_of(answer))
            case HealthSignal.INSTRUMENT_TROUBLE:
                breaker = self._instruments.breaker_of(instrument)
                breaker.leave(turn, HealthSignal.TROUBLE, now=now, took_seconds=took_seconds)
            case _ if instrument.breaker is not None:
                heard = signal if signal is _HEALTHY else _NOTHING
                instrument.breaker.leave(turn, heard, now=now, took_seconds=took_seconds)
            case _:
                pass

    def _take(self, now: float, instrument: Instrument | None) -> Permit | None:
        if not self._slots.take():
            return None
        if self._bucket is not None and not self._bucket.take(now):
            self._slots.give_back()
            return None
        breaker = self._breaker
        if not breaker.is_closed and self._is_refuted(instrument):
            breaker.withdraw(now)
        own_turn = 0 if instrument is None or instrument.breaker is None else instrument.breaker.enter(now)
        return Permit(self, breaker.enter(now), now, instrument, own_turn)

    async def _wait(self, now: float, waiting: "_Waiting") -> Permit | Denied:
        deadline = waiting.deadline
        free_at = now if self._bucket is None else self._bucket.free_at(now, ahead=len(self._line))
        if free_at >= deadline:
            return self._deny(Denied(Cause.RATE_LIMITED, free_at - now))
        if len(self._line) >= self._waiting_max:
            return self._deny(Denied(Cause.QUEUE_FULL, free_at - now or None))
        turn: asyncio.Future[Permit | Denied] = asyncio.get_running_loop().create_future()
        self._line[turn] = waiting
        timer = self._later(deadline - now, partial(self._expire, turn))
        self._arm(now)
        try:
            return await turn
        except asyncio.CancelledError:
            self._line.pop(turn, None)
            if not turn.cancelled() and isinstance(passed := turn.result(), Permit):
                passed.leave(None, self._clock.monotonic())
            raise
        finally:
            timer.cancel()

    def _advance(self, now: float) -> None:
        """Serve those that wait, from the first, as far as can be."""
        while self._line:
            turn, waiting = next(iter(self._line.items()))
            passed: Permit | Denied | None = None
            if not turn.done():
                passed = (
                    Denied(Cause.WINDOW_PASSED)
                    if now >= waiting.deadline
                    else self._denial(now, waiting.instrument, waiting.is_resend) or self._take(now, waiting.instrument)
                )
                if passed is None:
                    break
            del self._line[turn]
            if passed is not None:
                turn.set_result(self._deny(passed) if isinstance(passed, Denied) else passed)
        self._arm(now)

    def _arm(self, now: float) -> None:
        """Come back when there is a token; where a slot is missing, the next call that leaves comes back."""
        if self._line and self._timer is None and self._bucket is not None:
            seconds = max(self._bucket.free_at(now) - now, TIMER_SECONDS_MIN)
            self._timer = self._later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        if self._slots.taken < self._slots.number:
            self._advance(now)

    def _expire(self, turn: "asyncio.Future[Permit | Denied]") -> None:
        if self._line.pop(turn, None) is not None and not turn.done():
            turn.set_result(self._deny(Denied(Cause.WINDOW_PASSED)))

    def _deny(self, denied: Denied) -> Denied:
        self._metrics.refused(self.budget, denied.cause)
        return denied
