"""The operator's switch: halted, nothing is placed; kept in the database, for all processes of an installation."""

from ordertrail.storage.postgres.database import Database

_READ = "SELECT is_on FROM switches WHERE name = 'halt'"

_SET = """
INSERT INTO switches (name, is_on, changed_by, reason) VALUES ('halt', $1, $2, $3)
ON CONFLICT (name) DO UPDATE
   SET is_on = excluded.is_on, changed_at = clock_timestamp(), changed_by = excluded.changed_by,
       reason = excluded.reason
"""


async def is_halted(database: Database) -> bool:
    """Whether placing is halted."""
    records = await database.fetch(_READ)
    return bool(records and records[0]["is_on"])


async def set_halted(database: Database, *, halted: bool, changed_by: str, reason: str | None) -> None:
    """Halt or resume."""
    await database.fetch(_SET, halted, changed_by, reason)
