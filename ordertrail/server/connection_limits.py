"""How long a connection may stay in each phase of a request, and how much it may take of memory."""

import enum
from dataclasses import dataclass

from ordertrail.runtime.settings import Settings

SWEEP_SECONDS_MAX = 1.0


class Phase(enum.Enum):
    """Where a connection stands in its latest request."""

    CONNECTED = "connected"
    HEAD = "head"
    BODY = "body"
    ANSWERING = "answering"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take of time and memory, and how many there may be."""

    header_timeout_seconds: float
    body_timeout_seconds: float
    keep_alive_seconds: float
    answer_timeout_seconds: float
    header_bytes_max: int
    body_bytes_max: int
    connections_max: int

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        """As they are set."""
        return cls(
            header_timeout_seconds=settings.header_timeout_seconds,
            body_timeout_seconds=settings.body_timeout_seconds,
            keep_alive_seconds=settings.keep_alive_seconds,
            answer_timeout_seconds=settings.answer_timeout_seconds,
            header_bytes_max=settings.header_bytes_max,
            body_bytes_max=settings.body_bytes_max,
            connections_max=settings.connections_max,
        )

    def timeout_seconds_of(self, phase: Phase) -> float:
        """How long a connection may stay in a phase; answering has deadlines of its own."""
        match phase:
            case Phase.CONNECTED | Phase.HEAD:
                return self.header_timeout_seconds
            case Phase.BODY:
                return self.body_timeout_seconds
            case Phase.IDLE:
                return self.keep_alive_seconds
            case Phase.ANSWERING:
                return float("inf")

    @property
    def sweep_seconds(self) -> float:
        """How often to check, so that no timeout is late by more than a quarter."""
        shortest = min(
            self.header_timeout_seconds,
            self.body_timeout_seconds,
            self.keep_alive_seconds,
            self.answer_timeout_seconds,
        )
        return min(SWEEP_SECONDS_MAX, shortest / 4)
