"""The operator's switch: halted, nothing is placed; kept in the database, for all processes of an installation."""

from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.halt_statements import READ_HALT, SET_HALT


async def is_halted(database: Database) -> bool:
    """Whether placing is halted."""
    records = await database.fetch(READ_HALT)
    return bool(records and records[0]["is_on"])


async def set_halted(database: Database, *, halted: bool, changed_by: str, reason: str | None) -> None:
    """Halt or resume."""
    await database.fetch(SET_HALT, halted, changed_by, reason)
