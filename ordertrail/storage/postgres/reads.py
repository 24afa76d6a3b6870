"""The reads of orders in SQL: one by its id, many by filters, newest first."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import asyncpg

from ordertrail.domain.stored_order import StoredOrder
from ordertrail.storage.order_reads import WALKED_ROWS_MAX, OrderFilter, OrderPage, TooSlow, is_storable
from ordertrail.storage.postgres import connection_statements, order_statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.orders import stored_order
from ordertrail.storage.postgres.read_statements import is_walked, key_is, list_orders

# Below the default DATABASE_TIMEOUT_SECONDS, so that the server says that it took too long before we stop listening:
# only its word tells a slow list from a database that is away.
LIST_TIMEOUT_SECONDS = 1.5

_ABOVE_ALL_IDS = "\U0010ffff" * 2


class PostgresReads:
    """`ordertrail.storage.order_reads.OrderReads` on PostgreSQL."""

    def __init__(self, database: Database, *, list_timeout_seconds: float = LIST_TIMEOUT_SECONDS) -> None:
        self._database = database
        self._list_timeout_ms = max(1, int(list_timeout_seconds * 1000))

    async def one(self, order_id: str) -> StoredOrder | None:
        if not is_storable(order_id):
            return None
        return stored_order(await self._database.fetch(order_statements.READ_ORDER, order_id))

    async def many(self, wanted: OrderFilter, *, limit: int, before_id: str | None) -> OrderPage:
        # One more than the page holds: whether it comes says whether there is another page.
        statement, arguments = list_statement(wanted, limit=limit + 1, before_id=before_id)
        is_bounded = wanted.client_order_id is None and is_walked(wanted.statuses)

        async def fetch_list(connection: Any) -> OrderPage | None:
            page = None
            await connection.execute(connection_statements.BEGIN_READ_ONLY)
            await connection.fetch(connection_statements.LIMIT_STATEMENT_TIME, f"{self._list_timeout_ms}")
            # Caught in here, where the connection is known to be whole: it has answered, and is kept.
            with suppress(asyncpg.QueryCanceledError):
                orders = _orders(await connection.fetch(statement, *arguments))
                page = OrderPage(orders[:limit], orders[limit - 1].order.id if len(orders) > limit else None)
                if is_bounded and page.next_before_id is None:
                    before = before_id or _ABOVE_ALL_IDS
                    reached = await connection.fetch(order_statements.LIST_REACHED, before, WALKED_ROWS_MAX - 1)
                    page = OrderPage(orders, reached[0]["id"] if reached else None)
            await connection.execute(connection_statements.COMMIT)
            return page

        page = await self._database.run(fetch_list)
        if page is None:
            raise TooSlow(f"no answer within {self._list_timeout_ms} ms")
        return page


def _orders(records: Sequence[asyncpg.Record]) -> tuple[StoredOrder, ...]:
    orders = (stored_order(list(trail)) for _, trail in groupby(records, key=lambda record: str(record["id"])))
    return tuple(order for order in orders if order is not None)


def list_statement(wanted: OrderFilter, *, limit: int, before_id: str | None) -> tuple[str, list[object]]:
    """The statement of a list and its arguments.

    The key's number comes first, so that a filter which may be there or not moves no parameter of one that must.
    """
    arguments: list[object] = [limit]

    def bind(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    key = None if wanted.client_order_id is None else bind(wanted.client_order_id)
    before = None if before_id is None else bind(before_id)
    conditions = []
    if wanted.instrument is not None:
        conditions.append(f"o.instrument = {bind(wanted.instrument)}")
    if wanted.side is not None:
        conditions.append(f"o.side = {bind(wanted.side.value)}")
    if key is not None:
        conditions.append(key_is(key))
    if wanted.created_after is not None:
        conditions.append(f"o.created_at > {bind(_column_time(wanted.created_after))}")
    if wanted.created_before is not None:
        conditions.append(f"o.created_at < {bind(_column_time(wanted.created_before))}")
    statement = list_orders(
        statuses=wanted.statuses,
        outcome=wanted.outcome,
        has_key=key is not None,
        before=before,
        conditions=conditions,
    )
    return statement, arguments


def _column_time(moment: datetime) -> datetime:
    """As the column has it: UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)
