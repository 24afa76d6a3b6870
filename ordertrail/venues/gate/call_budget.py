"""One budget's way through the gate: pass at once, wait one's turn, or be denied with the cause.

All callers are in one event loop, so nothing here is locked. Those that wait are served in the order in which they
came. Between a permit and its caller nothing can get lost: a caller that was cancelled gives it back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ordertrail.domain.reason import Cause
from ordertrail.runtime.clock import Clock
from ordertrail.venues.gate.breaker import Breaker, State
from ordertrail.venues.gate.concurrency import Slots
from ordertrail.venues.gate.denial import BudgetName, CallBudgetState, Denied
from ordertrail.venues.gate.health_signals import HealthSignal, health_signal_of, retry_after_of
from ordertrail.venues.gate.limits import CallBudgetLimits
from ordertrail.venues.gate.rate import Bucket

# Event loops count milliseconds; waiting for less would only turn the loop.
TIMER_SECONDS_MIN = 0.001
_THROTTLED = HealthSignal.THROTTLED


class GateMetrics(Protocol):
    """Where the gate reports what it does."""

    def refused(self, budget: BudgetName, cause: Cause) -> None:
        """A call was not let through."""
        ...

    def changed(self, budget: BudgetName, state: State) -> None:
        """The breaker of `budget` is now in `state`."""
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

    __slots__ = ("_budget", "_entered_at", "_turn")

    def __init__(self, budget: "CallBudget", turn: int, entered_at: float) -> None:
        self._budget: CallBudget | None = budget
        self._turn = turn
        self._entered_at = entered_at

    def leave(self, answer: object, now: float) -> None:
        """The call is over with any answer of a `Venue`; None: cancelled, which says nothing of the exchange."""
        budget, self._budget = self._budget, None
        assert budget is not None, "a permit was left twice"
        budget.leave(self._turn, answer, now=now, took_seconds=now - self._entered_at)


class CallBudget:
    """One budget; all times are monotonic seconds of `clock`."""

    def __init__(
        self,
        budget: BudgetName,
        limits: CallBudgetLimits,
        breaker: Breaker,
        *,
        clock: Clock,
        metrics: GateMetrics,
        later: Later = later_in_loop,
    ) -> None:
        self.budget = budget
        self._breaker = breaker
        self._slots = Slots(limits.in_flight_max)
        self._bucket = Bucket(per_second=limits.per_second, burst=limits.burst) if limits.per_second else None
        self._waiting_max = limits.waiting_max
        self._clock = clock
        self._metrics = metrics
        self._later = later
        self._line: OrderedDict[asyncio.Future[Permit | Denied], float] = OrderedDict()
        self._timer: Timer | None = None
        self._is_halted = False

    def try_enter(self, now: float) -> Permit | Denied | None:
        """Pass, or learn why not, without waiting; None: `enter` would wait."""
        if not self._breaker.is_closed or self._is_halted:
            denied = self.denial(now)
            if denied is not None:
                return self._deny(denied)
        return None if self._line else self._take(now)

    async def enter(self, *, deadline: float) -> Permit | Denied:
        """Pass in turn and before `deadline`; what cannot be in time, as far as one can see, is denied at once."""
        now = self._clock.monotonic()
        if now >= deadline:
            return self._deny(Denied(Cause.WINDOW_PASSED))
        passed = self.try_enter(now)
        return await self._wait(now, deadline) if passed is None else passed

    def denial(self, now: float) -> Denied | None:
        """Why no call may pass now, limits aside; takes nothing and counts nothing."""
        if self._is_halted:
            return Denied(Cause.HALTED)
        wait_seconds = self._breaker.wait_seconds(now)
        if wait_seconds > 0:
            return Denied(
                Cause.THROTTLED if self._breaker.is_throttled else Cause.CIRCUIT_OPEN,
                retry_after_seconds=wait_seconds,
            )
        return None

    def leave(self, turn: int, answer: object, *, now: float, took_seconds: float) -> None:
        """For `Permit` alone."""
        self._slots.give_back()
        signal = health_signal_of(answer)
        if signal is _THROTTLED:
            self._breaker.back_off(now, retry_after_of(answer))
        else:
            self._breaker.leave(turn, signal, now=now, took_seconds=took_seconds)
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
        )

    def _take(self, now: float) -> Permit | None:
        if not self._slots.take():
            return None
        if self._bucket is not None and not self._bucket.take(now):
            self._slots.give_back()
            return None
        return Permit(self, self._breaker.enter(now), now)

    async def _wait(self, now: float, deadline: float) -> Permit | Denied:
        free_at = now if self._bucket is None else self._bucket.free_at(now, ahead=len(self._line))
        if free_at >= deadline:
            return self._deny(Denied(Cause.RATE_LIMITED, free_at - now))
        if len(self._line) >= self._waiting_max:
            return self._deny(Denied(Cause.QUEUE_FULL, free_at - now or None))
        turn: asyncio.Future[Permit | Denied] = asyncio.get_running_loop().create_future()
        self._line[turn] = deadline
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
            turn, deadline = next(iter(self._line.items()))
            passed: Permit | Denied | None = None
            if not turn.done():
                passed = Denied(Cause.WINDOW_PASSED) if now >= deadline else self.denial(now) or self._take(now)
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
