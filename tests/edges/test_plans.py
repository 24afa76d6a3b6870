"""Statements planned on an empty table, as a new installation's are, look rows up by their keys: plans are kept."""

import re
from datetime import UTC, datetime

import pytest

from ordertrail.storage.postgres import (
    doubt_statements,
    order_statements,
    status_statements,
    sweep_statements,
    switch_statements,
)
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.order_statements import Variant
from tests.support.postgres import run

# As many as share a commit under load; for one row even an empty table is read by its key.
NEVER = datetime(2999, 1, 1, tzinfo=UTC)
BY_TIME = {
    "doubts_due",
    "order_batches_pkey",
    "operator_actions_switch",  # by its name
    "event_log_default_pkey",  # counted up to a limit
    "execution_epochs_pkey",  # by the epoch, of which there are few
    "execution_inbox_pkey",
    "order_queue_pkey",  # the oldest
    "position_sums_pkey",
}
IDS = [f"order-{number}" for number in range(50)]
NEW_ORDERS = (IDS, ["limit"] * 50, ["buy"] * 50, ["AAPL"] * 50, [1.0] * 50, [1] * 50)


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        (order_statements.INSERT_COMPLETED, (IDS, ["X-1"] * 50)),
        (
            order_statements.INSERT_INITIATED_AND_COMPLETED[Variant(has_keys=False, has_place_by=False)],
            (1.0, 2.0, 3.0, 4.0, *NEW_ORDERS, None, None, IDS, ["X-1"] * 50),
        ),
        (
            order_statements.INSERT_INITIATED_AND_COMPLETED[Variant(has_keys=True, has_place_by=True)],
            (1.0, 2.0, 3.0, 4.0, *NEW_ORDERS, IDS, [NEVER] * 50, IDS, ["X-1"] * 50),
        ),
        (
            order_statements.INSERT_TRAIL_ROWS,
            (IDS, ["EXCHANGE_OUTCOME_UNKNOWN"] * 50, ["unknown:timeout"] * 50, [None] * 50),
        ),
        (order_statements.TRAIL_ROWS_THERE, (IDS, ["COMPLETED"] * 50)),
        (order_statements.NEVER_SENT_ROWS_THERE, (IDS, "not_sent:not_recorded")),
        (order_statements.INITIATED_TIMES, (IDS,)),
        (order_statements.HOLD, (IDS,)),
        (order_statements.INSERT_NEVER_SENT, (IDS, "not_sent:not_recorded")),
        (doubt_statements.ENQUEUE_DUE_BATCHES, (10,)),
        (doubt_statements.LEASE, (50, 1.0)),
        (doubt_statements.LOAD, (IDS,)),
        (
            doubt_statements.APPLY_VERDICTS,
            (IDS, [1] * 50, [True] * 50, [1.0] * 50, ["x"] * 50, IDS, ["NOT_PLACED"] * 50, ["x"] * 50, [None] * 50),
        ),
        (doubt_statements.CLAIM_SENDS, (IDS, [1] * 50, [NEVER] * 50, "r", 1.0, 1.0)),
        (doubt_statements.MAKE_DUE, (50,)),
        (sweep_statements.STATUSES_OF, (IDS,)),
        (sweep_statements.KEEP_OBSERVATIONS, (IDS, IDS)),
        (doubt_statements.COUNTS, ()),
        (doubt_statements.OLDEST, (50,)),
        (status_statements.STATUS_FIGURES, ()),
        (switch_statements.READ_SWITCH, ()),
        (switch_statements.HALT_UNDER_WAY, ("1",)),
        (doubt_statements.LOCK_DOUBT, ("order-1",)),
        (doubt_statements.RESOLVE, ("order-1", ["COMPLETED"], "x", "ada", "cli", "x", 1, "1.5")),
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
    for node in re.split(r"(?=->)", plan):
        index = re.search(r"(?:Index Scan|Index Only Scan).* (?:using|on) (\w+_pkey|orders_\w+|doubts_\w+)\b", node)
        if index is not None and index[1] not in BY_TIME:
            assert re.search(r"Index Cond: .*\b(order_)?id\)?(::text)? = ", node), plan
