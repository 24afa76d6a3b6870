"""What a database is, for `ordertrail check`; nothing is changed in it."""

from dataclasses import dataclass
from datetime import datetime

from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.event_log_statements import INSPECT_LOG
from ordertrail.storage.postgres.installation_statements import INSPECT_SERVER, SCHEMA_VERSION
from ordertrail.storage.postgres.migrate import SCHEMA_HEAD

OLDEST_VERSION_NUMBER = 150000
_UNDEFINED_TABLE = "42P01"


@dataclass(frozen=True, slots=True)
class ServerInspection:
    """A server's version, and its clock's time."""

    version: str
    version_number: int
    now: datetime

    @property
    def is_new_enough(self) -> bool:
        return self.version_number >= OLDEST_VERSION_NUMBER


async def inspect_server(database: Database) -> ServerInspection:
    """Raises StatementFailed and StatementOutcomeUnknown."""
    return ServerInspection(**dict((await database.fetch(INSPECT_SERVER))[0]))


async def schema_problem(database: Database) -> str | None:
    """Why the schema is not the one that this version works with; None: it is. Raises as above."""
    try:
        records = await database.fetch(SCHEMA_VERSION)
    except StatementFailed as error:
        if error.code != _UNDEFINED_TABLE:
            raise
        records = []
    version = records[0]["version_num"] if records else None
    if version == SCHEMA_HEAD:
        return None
    if version is not None and version > SCHEMA_HEAD:
        return f"it is {version}, made by a newer version; this one knows {SCHEMA_HEAD}"
    return f"it is {version or 'not there'}, this version works with {SCHEMA_HEAD}; `ordertrail migrate` makes it that"


@dataclass(frozen=True, slots=True)
class EventLogInspection:
    """What the role may do for the event log. `is_here`: it is not a copy that was restored from another server.

    `may_see_running` and `may_see_since_when`: of the transactions of others, which may hold events back.
    """

    is_here: bool
    may_keep: bool
    may_see_running: bool
    may_see_since_when: bool


async def inspect_event_log(database: Database) -> EventLogInspection:
    """Raises StatementFailed and StatementOutcomeUnknown."""
    return EventLogInspection(**dict((await database.fetch(INSPECT_LOG))[0]))
