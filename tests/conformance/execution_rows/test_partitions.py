"""Executions are append-only by whatever name somebody reaches for them."""

from datetime import UTC, datetime

import asyncpg
import pytest

PARTITIONS = """
SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'executions'::regclass ORDER BY 1
"""
CHANGES = ("UPDATE {} SET epoch = 'other'", "DELETE FROM {}", "TRUNCATE {}")
MONTHS_AHEAD = 2


async def test_every_partition_refuses_change(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT make_executions_partition('2031-05-01')")
        partitions = [record["name"] for record in await connection.fetch(PARTITIONS)]

        # The one before this month, this, those ahead, the one that was asked for, and the default.
        assert len(partitions) == MONTHS_AHEAD + 4, partitions
        assert "executions_2031_05" in partitions
        for table in ("executions", *partitions):
            for change in CHANGES:
                with pytest.raises(asyncpg.RestrictViolationError):
                    await connection.execute(change.format(table))
    finally:
        await connection.close()


async def test_an_order_is_kept_in_the_month_of_its_id(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT make_executions_partition('2031-05-01')")
        month = int(datetime(2031, 5, 1, tzinfo=UTC).timestamp()) * 1000
        for number, milliseconds in enumerate((f"{month:012x}", f"{month - 1:012x}")):
            order_id = f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-{number:012d}"
            await connection.execute(
                "INSERT INTO executions (order_id, session, exec_id, epoch, exec_type, ord_status, last_qty, cum_qty, "
                "leaves_qty, transact_time) VALUES ($1, 1, 'x', 'e', 'new', 'new', 0, 0, 1, now())",
                order_id,
            )
        places = await connection.fetch("SELECT tableoid::regclass::text AS place FROM executions ORDER BY order_id")

        assert [record["place"] for record in places] == ["executions_default", "executions_2031_05"]
    finally:
        await connection.close()
