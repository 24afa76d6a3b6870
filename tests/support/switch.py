"""The operator's switch in a test's hands; no process is told of it."""

from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.switch import Switch
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.switch import PostgresSwitch
from ordertrail.storage.switch_rows import SwitchRows, Turned

ALICE = Operator("alice", Origin.CLI)
WHY = "the venue asked"


async def halt(switch: SwitchRows, reason: str | None = WHY) -> Turned:
    return await switch.halt(ALICE, reason)


async def resume(switch: SwitchRows) -> None:
    assert await switch.resume(ALICE, None, before=await switch.read())


async def turn(database_url: str, *, halted: bool, reason: str | None = WHY) -> Switch:
    """From outside of every process; how it stands then."""
    database = Database(database_url, timeout_seconds=20, connections_max=1)
    await database.open()
    try:
        switch = PostgresSwitch(database)
        await (halt(switch, reason) if halted else resume(switch))
        return await switch.read()
    finally:
        await database.close()
