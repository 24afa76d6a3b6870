"""Watches the database: migrates it as soon as it is there, and says so when it comes and goes."""

from datetime import datetime

from ordertrail.runtime.clock import Clock, SystemClock
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.postgres.connecting import UNREACHABLE, UnsuitableError
from ordertrail.storage.postgres.database import Database, DatabaseUnsuitable
from ordertrail.storage.postgres.migrate import migrate

_log = get_logger()


class DatabaseWatch:
    """`problem` is a sentence while the database cannot be used, None while it can; `since` when that began.

    `is_unsuitable`: it is there, and must not be used before a person has changed something.
    """

    def __init__(self, database: Database, url: str, *, clock: Clock | None = None) -> None:
        self._database = database
        self._url = url
        self._clock = clock or SystemClock()
        self._is_migrated = False
        self.problem: str | None = "The database has not been reached yet."
        self.is_unsuitable = False
        self.since: datetime | None = None

    async def run_once(self) -> None:
        """Migrate if that has not been done, then ask for a sign of life."""
        try:
            # First, for it finds out whether this is a database that may be worked with.
            await self._database.ping()
            if not self._is_migrated:
                await migrate(self._url)
                self._is_migrated = True
        except (StatementFailed, StatementOutcomeUnknown, *UNREACHABLE) as error:
            self.is_unsuitable = isinstance(error, DatabaseUnsuitable | UnsuitableError)
            self._set(f"The database cannot be used: {str(error) or type(error).__name__}.")
        except Exception as error:  # noqa: BLE001
            # A failed migration: nothing works without it, and the next time tries again.
            self._set(f"The database cannot be migrated: {error}.")
        else:
            self.is_unsuitable = False
            self._set(None)

    def _set(self, problem: str | None) -> None:
        if self.since is None or (problem is None) is not (self.problem is None):
            self.since = self._clock.now()
        if problem is not None and self.problem is None:
            _log.error("the database is away", problem=problem)
        elif problem is not None and problem != self.problem:
            _log.warning("the database is not there yet", problem=problem)
        elif problem is None and self.problem is not None:
            _log.info("the database is there")
        self.problem = problem
