"""`ParkedRows` in PostgreSQL."""

from collections.abc import Sequence

from ordertrail.domain.operator_action import Operator
from ordertrail.storage.parked_rows import PARKED_OPEN_MAX, ParkedThing, ParkedView
from ordertrail.storage.postgres import parked_statements as statements
from ordertrail.storage.postgres.database import Database


class PostgresParked:
    """What could not be understood, kept in the table `parked`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def park(
        self, venue: str, things: Sequence[ParkedThing], *, new_max: int, open_max: int = PARKED_OPEN_MAX
    ) -> dict[bytes, bool]:
        records = await self._database.fetch(
            statements.PARK,
            venue,
            [each.kind for each in things],
            [each.field for each in things],
            [each.reason for each in things],
            [each.raw for each in things],
            [each.fingerprint for each in things],
            [each.order_id for each in things],
            [each.epoch for each in things],
            [each.seq for each in things],
            new_max,
            open_max,
        )
        return {bytes(record["fingerprint"]): record["is_new"] for record in records}

    async def count_parked(self) -> int:
        return int((await self._database.fetch(statements.COUNT_PARKED, PARKED_OPEN_MAX))[0]["count"])

    async def parked(self, *, limit: int, is_open: bool = True) -> list[ParkedView]:
        records = await self._database.fetch(statements.LIST_PARKED, limit, is_open)
        return [ParkedView(**dict(record)) for record in records]

    async def parked_thing(self, parked_id: int) -> ParkedView | None:
        records = await self._database.fetch(statements.READ_PARKED, parked_id)
        return ParkedView(**dict(records[0])) if records else None

    async def close_parked(self, parked_id: int, *, operator: Operator, evidence: str) -> bool:
        return bool(
            await self._database.fetch(statements.CLOSE_PARKED, parked_id, operator.name, operator.origin, evidence)
        )
