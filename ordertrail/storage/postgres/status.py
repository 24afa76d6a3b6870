"""What the database knows of what waits for a person, read in one statement."""

from dataclasses import dataclass
from datetime import datetime

from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.status_statements import STATUS_FIGURES


@dataclass(frozen=True, slots=True)
class StatusFigures:
    """As of `read_at`, by the database's clock. `live_late_arrivals`: ids of some that are not over.

    `feed_…`: of the venue whose reports were fed last; all None where none ever were. `applied_up_to`: all of the
    feed's epoch up to there is rows or parked. `inbox_…`: of the queue in the database, empty where there is another.
    """

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
    feed_venue: str | None = None
    feed_holder: str | None = None
    feed_is_owned: bool | None = None
    feed_epoch: str | None = None
    feed_seq: int | None = None
    feed_free_seconds: float | None = None
    applied_up_to: int | None = None
    inbox_frames: int = 0
    parked_reports: int = 0
    inbox_oldest_seconds: float | None = None
    last_trade_applied_at: datetime | None = None
    queued_orders: int = 0
    queued_oldest_seconds: float | None = None
    events_oldest_day: str | None = None
    events_misplaced: int = 0


async def read_figures(database: Database) -> StatusFigures:
    """Raises StatementFailed and StatementOutcomeUnknown."""
    return StatusFigures(**dict((await database.fetch(STATUS_FIGURES))[0]))
