"""The statements of the hot path, planned on an empty table as a new installation's are, look rows up by their keys."""

import pytest

from ordertrail.postgres import statements
from ordertrail.postgres.database import Database
from tests.support.postgres import run

IDS = ["01a20516-d46a-767d-926f-baf70a3e01aa"]


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        (statements.INSERT_COMPLETED, (IDS, ["X-1"])),
        (statements.INSERT_STEPS, (IDS, ["EXCHANGE_OUTCOME_UNKNOWN"], ["unknown:timeout"], [None])),
        (statements.STEPS_THERE, (IDS, ["COMPLETED"])),
        (statements.INITIATED_TIMES, (IDS,)),
    ],
)
def test_a_plan_that_is_kept_does_not_read_all_orders(
    database_url: str, statement: str, arguments: tuple[object, ...]
) -> None:
    async def explain() -> str:
        database = Database(database_url, timeout_seconds=5, connections_max=1)
        await database.open()
        try:
            async with database.connection() as connection:
                await connection.execute("SET plan_cache_mode = force_generic_plan")
                return "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + statement, *arguments))
        finally:
            await database.close()

    plan = run(explain())

    assert "Seq Scan on orders" not in plan
    assert "Hash Join" not in plan
