"""The operator's switch, in SQL: kept in the database, for all processes of an installation."""

from ordertrail.domain.operator_action import Operator
from ordertrail.domain.switch import Switch
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.switch_statements import (
    HALT,
    HALT_UNDER_WAY,
    LOCK_SWITCH,
    READ_SWITCH,
    RESUME,
)
from ordertrail.storage.switch_rows import Turned, UnderWay


class PostgresSwitch:
    """`SwitchRows` of `ordertrail.storage.switch_rows`, on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> Switch:
        records = await self._database.fetch(READ_SWITCH)
        return Switch(**dict(records[0])) if records else Switch()

    async def halt(self, operator: Operator, reason: str | None) -> Turned:
        [record] = await self._database.fetch(HALT, operator.name, operator.origin, reason)
        return Turned(record["turned_at"], record["transaction"])

    async def resume(self, operator: Operator, reason: str | None, *, before: Switch) -> bool:
        arguments = [operator.name, operator.origin, reason, before.id]
        return bool(await self._database.fetch_in_order((LOCK_SWITCH, []), (RESUME, arguments)))

    async def under_way(self, halt: Turned) -> UnderWay:
        [record] = await self._database.fetch(HALT_UNDER_WAY, halt.transaction)
        return UnderWay(**dict(record))
