"""The statements of the hot path, planned on an empty table as a new installation's are, look rows up by their keys."""

import pytest

from ordertrail.postgres import statements
from ordertrail.postgres.database import Database
from tests.support.postgres import run

# As many as share a commit under load; for one row even an empty table is read by its key.
IDS = [f"order-{number}" for number in range(50)]


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        (statements.INSERT_COMPLETED, (IDS, ["X-1"] * 50)),
        (statements.INSERT_STEPS, (IDS, ["EXCHANGE_OUTCOME_UNKNOWN"] * 50, ["unknown:timeout"] * 50, [None] * 50)),
        (statements.STEPS_THERE, (IDS, ["COMPLETED"] * 50)),
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
