"""The statements that processors send are prepared once a connection, and planned a few times, not for each batch."""

import pytest

from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.executions import PostgresExecutions
from tests.support.executions import VENUE, frame, report

KEPT = """
SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%json_to_recordset%'
   AND statement NOT LIKE '%pg_prepared%'
"""
# PostgreSQL plans so often for the values at hand, before it settles.
CUSTOM_PLANS = 5


@pytest.mark.parametrize("way", ["from_memory", "from_inbox"])
async def test_plans_are_kept(database_url: str, way: str) -> None:
    database = Database(database_url, timeout_seconds=30, connections_max=1)
    await database.open()
    executions = PostgresExecutions(database)

    for seq in range(1, CUSTOM_PLANS + 4):
        if way == "from_inbox":
            await executions.put_in_inbox(frame(report(seq)), after=None)
            await executions.apply_inbox(VENUE, reports_max=1000)
        else:
            await executions.apply_reports([frame(report(seq))])
    [kept] = await database.fetch(KEPT)
    await database.close()

    assert (kept["custom_plans"], kept["generic_plans"]) == (CUSTOM_PLANS, 3)
