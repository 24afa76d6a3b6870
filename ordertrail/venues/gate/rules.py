"""When the breakers open, for how long, and when they close."""

from dataclasses import dataclass, replace

INSTRUMENT_CALLS_MIN = 8


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it opens, for how long, and when it closes."""

    window_seconds: float = 10
    calls_min: int = 20
    """Fewer calls in the window prove nothing by their share of troubles …"""
    trouble_share: float = 0.5
    silences_in_a_row: int = 8
    """… but so many unanswered ones, with no answer in between, do."""
    slow_seconds: float | None = None
    """An answer that took so long is a trouble; None: no answer is too slow."""
    pause_seconds: float = 1
    """How long it stays open the first time; doubled each time after that."""
    pause_seconds_max: float = 30
    jitter: float = 0.25
    """A pause is up to this share shorter, so that processes do not probe in step."""
    successes_to_close: int = 3
    probe_seconds_max: float = 60
    """A probe that has not come back by then is taken for lost."""
    throttles_to_back_off: int = 1
    """After so many throttled calls in a row the budget backs off; one among answers speaks of its own order."""
    throttle_seconds: float = 1
    """How long to back off where the exchange throttles and does not say for how long; doubled each time."""
    throttle_seconds_max: float = 60
    """The longest back-off; an exchange that wanted a longer one is tried with one call each time."""
    fresh_seconds: float = 5
    """After a fresh order the next probe is left to the one that follows for so long; then a resend may be it."""


@dataclass(frozen=True, slots=True)
class GateRules:
    """The breakers' rules. Cancels and queries must be repeated anyway: their breakers only slow them down."""

    placing: BreakerRules = BreakerRules()
    cancelling: BreakerRules = BreakerRules(pause_seconds_max=5, successes_to_close=2)
    querying: BreakerRules = BreakerRules(pause_seconds_max=2, successes_to_close=1)


def rules_of_instruments(rules: BreakerRules) -> BreakerRules:
    """Those of each instrument in a budget with these rules: few orders are in one, and one that is well proves it."""
    return replace(rules, calls_min=INSTRUMENT_CALLS_MIN, slow_seconds=None, successes_to_close=1)
