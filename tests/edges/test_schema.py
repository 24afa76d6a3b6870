"""The tables as PostgreSQL has them: the seed's columns first, statuses in order of precedence, and no row changes."""

import asyncpg
import pytest

from ordertrail.domain.trail import PRECEDENCE
from tests.support.postgres import execute, fetch

ROW = """
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)
VALUES ('order-1', 'limit', 'buy', 'AAPL12345678', 150.25, 10, 'INITIATED')
"""


@pytest.mark.parametrize(
    "statement", ["UPDATE orders SET quantity = 1", "DELETE FROM orders", "TRUNCATE orders"], ids=lambda sql: sql[:8]
)
def test_the_table_takes_no_change(database_url: str, statement: str) -> None:
    execute(database_url, ROW)

    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        execute(database_url, statement)

    assert [tuple(row) for row in fetch(database_url, "SELECT id, quantity FROM orders")] == [("order-1", 10)]


def test_statuses_rank_in_the_database_as_in_the_domain(database_url: str) -> None:
    records = fetch(database_url, "SELECT unnest(enum_range(NULL::order_status_enum))::text AS status")

    assert [record["status"] for record in records] == list(PRECEDENCE)


def test_columns_of_the_seed_come_first_as_the_seed_has_them(database_url: str) -> None:
    records = fetch(
        database_url,
        "SELECT column_name, coalesce(nullif(data_type, 'USER-DEFINED'), udt_name) AS type, is_nullable FROM "
        "information_schema.columns WHERE table_schema = 'public' AND table_name = 'orders' ORDER BY ordinal_position",
    )

    assert [tuple(record) for record in records[:8]] == [
        ("id", "character varying", "NO"),
        ("created_at", "timestamp without time zone", "YES"),
        ("type", "character varying", "NO"),
        ("side", "character varying", "NO"),
        ("instrument", "character varying", "NO"),
        ("limit_price", "double precision", "YES"),
        ("quantity", "integer", "NO"),
        ("status", "order_status_enum", "NO"),
    ]
    assert all(record["is_nullable"] == "YES" for record in records[8:])
