"""What a run of the generator found, as it goes from its process to ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClosedResult:
    """Answers within the measured time, and in all (the warm-up and what was under way at the end too)."""

    seconds: float
    generator_cpu_share: float
    statuses: dict[str, int]
    statuses_in_all: dict[str, int]
    lost: int


@dataclass(frozen=True)
class OpenResult:
    """Latencies from the moment a request was due, whether or not it could be sent then."""

    rate_wanted: float
    rate_answered: float
    generator_cpu_share: float
    statuses_in_all: dict[str, int]
    lost: int
    latency_ms: dict[str, float]
    # How late requests were sent though a connection was free: the generator's own share of the latency.
    send_lag_ms: dict[str, float]
    # Requests that were due and found no connection free.
    waited_for_connection: int
