"""What the database knows of what waits for a person, read in one statement."""

from dataclasses import dataclass
from datetime import datetime

from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.status_statements import STATUS_FIGURES


@dataclass(frozen=True, slots=True)
class StatusFigures:
    """As of `read_at`, by the database's clock. `live_late_arrivals`: ids of some that are not over."""

    read_at: datetime
    schema_version: str
    doubts: int
    unresolved: int
    oldest_seconds: float
    parked: int
    orphans: int
    late_arrivals: int
    live_late_arrivals: list[str]
    is_halted: bool
    halt_operator: str | None
    halt_acted_at: datetime | None
    halt_reason: str | None


async def read_figures(database: Database) -> StatusFigures:
    """Raises StatementFailed and StatementOutcomeUnknown."""
    return StatusFigures(**dict((await database.fetch(STATUS_FIGURES))[0]))
