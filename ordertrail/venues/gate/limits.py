"""What an installation may do to its exchange, and one process's share of it."""

from dataclasses import dataclass

# After a quiet time, this much of a second's calls may go at once: timers are no finer than a millisecond.
BURST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class CallBudgetLimits:
    """The limits of one budget: rate and number in flight for the installation, waiting for a process."""

    in_flight_max: int
    per_second: float = 0
    """0: no limit."""
    waiting_max: int = 4096

    @property
    def burst(self) -> float:
        """How many calls may go at once after a quiet time."""
        return max(self.per_second * BURST_SECONDS, 1)

    def for_share(self, processes: int) -> "CallBudgetLimits":
        """One process's share; never less than one in flight, for a process that may send nothing is none."""
        return CallBudgetLimits(
            in_flight_max=max(self.in_flight_max // processes, 1),
            per_second=self.per_second / processes,
            waiting_max=self.waiting_max,
        )


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The limits of all budgets."""

    placing: CallBudgetLimits = CallBudgetLimits(in_flight_max=8192)
    cancelling: CallBudgetLimits = CallBudgetLimits(in_flight_max=1024)
    querying: CallBudgetLimits = CallBudgetLimits(in_flight_max=1024)

    def for_share(self, *, processes: int) -> "GateLimits":
        """What each of `processes` equal processes may do, so that together they keep to these limits."""
        assert processes >= 1
        return GateLimits(
            placing=self.placing.for_share(processes),
            cancelling=self.cancelling.for_share(processes),
            querying=self.querying.for_share(processes),
        )
