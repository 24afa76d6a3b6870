"""The gate's own answers: why a call may not pass, and its state at one moment."""

from dataclasses import dataclass
from enum import StrEnum

from ordertrail.domain.reason import Cause
from ordertrail.venues.gate.breaker import State


class BudgetName(StrEnum):
    """What is kept apart, so that trouble with one never starves the others."""

    PLACE = "place"
    CANCEL = "cancel"
    QUERY = "query"


DENIAL_CAUSES = (
    Cause.CIRCUIT_OPEN,
    Cause.THROTTLED,
    Cause.RATE_LIMITED,
    Cause.QUEUE_FULL,
    Cause.WINDOW_PASSED,
    Cause.HALTED,
)
"""Why a call may not pass: the gate says no other."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No: nothing is sent. `retry_after_seconds` is an estimate; None: not known."""

    cause: Cause
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StoppedInstrument:
    """One instrument that is open at one moment, in this process."""

    instrument: str
    breaker: State
    denied_seconds: float
    """Until the next call may be tried; 0: it would be the probe."""


@dataclass(frozen=True, slots=True)
class CallBudgetState:
    """One budget at one moment, in this process."""

    budget: BudgetName
    breaker: State
    denied_seconds: float
    """Until the next call may be tried; 0 where calls pass."""
    calls: int
    """In the breaker's window, like `troubles`."""
    troubles: int
    in_flight: int
    waiting: int
    instruments_open: int = 0
    open_instruments: tuple[StoppedInstrument, ...] = ()
    """The first of them, for people."""


@dataclass(frozen=True, slots=True)
class GateState:
    """All budgets at one moment, in this process."""

    is_halted: bool
    budgets: tuple[CallBudgetState, ...]
