"""The gate and the gateway behind it, put together as the service does it, for tests without a service."""

import random
from collections.abc import Callable

from ordertrail.runtime.clock import Clock
from ordertrail.runtime.settings import Settings
from ordertrail.server.service import gate_limits_of
from ordertrail.venues.gate.call_budget import GateMetrics
from ordertrail.venues.gate.gate import Gate
from ordertrail.venues.gate.report import GateReport
from ordertrail.venues.gate.rules import BreakerRules, GateRules
from ordertrail.venues.gateway import Gateway
from ordertrail.venues.venue import Venue

TIMEOUT_SECONDS = 1.0


def service_gate(
    clock: Clock,
    *,
    settings: Settings | None = None,
    chance: Callable[[], float] = random.random,
    metrics: GateMetrics | None = None,
) -> Gate:
    """A gate with the limits of these settings, or of the defaults; by itself it reports as the scripted venue's."""
    return Gate(
        gate_limits_of(settings or Settings(_env_file=None)),
        GateRules(placing=BreakerRules(throttles_to_back_off=3)),
        clock=clock,
        chance=chance,
        metrics=metrics or GateReport(venue="scripted"),
    )


def gateway_to(
    venue: Venue, clock: Clock, *, gate: Gate | None = None, timeout_seconds: float = TIMEOUT_SECONDS
) -> Gateway:
    """The way to this venue, through a gate of its own if none is given."""
    return Gateway(venue, gate or service_gate(clock), clock, timeout_seconds=timeout_seconds)
