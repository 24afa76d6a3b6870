"""The operator's switch in a test's hands; no process is told of it."""

from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.switch import PostgresSwitch
from ordertrail.storage.switch_rows import SwitchRows, Turned

ALICE = Operator("alice", Origin.CLI)
WHY = "the venue asked"


async def halt(switch: SwitchRows, reason: str | None = WHY) -> Turned:
    return await switch.turn(halted=True, operator=ALICE, reason=reason)


async def resume(switch: SwitchRows) -> Turned:
    return await switch.turn(halted=False, operator=ALICE, reason=None)


async def turn(database_url: str, *, halted: bool, reason: str | None = WHY) -> Turned:
    """From outside of every process."""
    database = Database(database_url, timeout_seconds=20, connections_max=1)
    await database.open()
    try:
        return await PostgresSwitch(database).turn(halted=halted, operator=ALICE, reason=reason)
    finally:
        await database.close()
