"""An adapter that raised, which it must not: counted and logged, wherever what it has proved so far is known."""

from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger

_log = get_logger()


def adapter_raised(venue: str, order_id: str | None, error: Exception) -> str:
    """Count and log it; returns what may stand at the order: the kind of error, for its text may be the exchange's."""
    metrics.INVARIANTS_BROKEN.labels("venue_raised").inc()
    _log.error("the venue's adapter raised", order_id=order_id, venue=venue, exc_info=error)
    return type(error).__name__
