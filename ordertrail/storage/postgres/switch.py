"""The operator's switch, in SQL: kept in the database, for all processes of an installation."""

from ordertrail.domain.operator_action import Operator, OperatorAction
from ordertrail.domain.switch import Switch
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.switch_statements import HALT_UNDER_WAY, READ_SWITCH, TURN_SWITCH
from ordertrail.storage.switch_rows import Turned, UnderWay


class PostgresSwitch:
    """`SwitchRows` of `ordertrail.storage.switch_rows`, on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> Switch:
        records = await self._database.fetch(READ_SWITCH)
        return Switch(**dict(records[0])) if records else Switch()

    async def turn(self, *, halted: bool, operator: Operator, reason: str | None) -> Turned:
        action = OperatorAction.HALT if halted else OperatorAction.RESUME
        [record] = await self._database.fetch(TURN_SWITCH, action, operator.name, operator.origin, reason)
        return Turned(record["turned_at"], record["transaction"])

    async def under_way(self, halt: Turned) -> UnderWay:
        [record] = await self._database.fetch(HALT_UNDER_WAY, halt.transaction)
        return UnderWay(**dict(record))
