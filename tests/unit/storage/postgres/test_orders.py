"""What the rows' operations make of a database that fails between two of their statements."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.errors import OrdertrailError
from ordertrail.domain.trail import OrderStatus
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.order_rows import NewTrailRow
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.orders import PostgresRows
from tests.support.orders import an_order

DEADLINES = Deadlines(send_seconds=5, accept_seconds=10, review_seconds=20, retry_seconds=60)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ORDERS = [an_order(), an_order(client_order_id="taken")]


class Script:
    """Answers each statement with the next line: records, or an error."""

    def __init__(self, *lines: list[dict[str, Any]] | Exception) -> None:
        self._lines = list(lines)

    async def fetch(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        line = self._lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return line

    async def fetch_in_order(self, *calls: tuple[str, object]) -> list[dict[str, Any]]:
        return await self.fetch(calls[-1][0])


async def insert_initiated(rows: PostgresRows) -> object:
    return await rows.insert_initiated(ORDERS)


async def insert_initiated_and_completed_without_an_order(rows: PostgresRows) -> object:
    return await rows.insert_initiated_and_completed(ORDERS, [NewTrailRow("placed", OrderStatus.COMPLETED)])


async def insert_initiated_and_completed_without_a_row(rows: PostgresRows) -> object:
    return await rows.insert_initiated_and_completed(
        [], [NewTrailRow(order.id, OrderStatus.COMPLETED) for order in ORDERS]
    )


async def insert_never_sent(rows: PostgresRows) -> object:
    return await rows.insert_never_sent(ORDERS)


async def insert_trail_rows(rows: PostgresRows) -> object:
    return await rows.insert_trail_rows([NewTrailRow(order.id, OrderStatus.COMPLETED) for order in ORDERS])


INSERTS = [
    insert_initiated,
    insert_initiated_and_completed_without_an_order,
    insert_initiated_and_completed_without_a_row,
    insert_never_sent,
    insert_trail_rows,
]


@pytest.mark.parametrize("insert", INSERTS)
@pytest.mark.parametrize(
    "error",
    [StatementOutcomeUnknown("cannot connect", may_have_happened=False), StatementFailed("53200", "out of memory")],
)
async def test_a_failure_after_the_insert_never_says_that_nothing_was_written(
    insert: Callable[[PostgresRows], Awaitable[object]], error: OrdertrailError
) -> None:
    inserted_one = [{"id": ORDERS[0].id, "at": NOW, "is_halted": False, "initiated": 1, "completed": 1}]
    rows = PostgresRows(cast("Database", Script(inserted_one, error)), DEADLINES)

    with pytest.raises(StatementOutcomeUnknown) as caught:
        await insert(rows)

    assert caught.value.may_have_happened


@pytest.mark.parametrize("insert", INSERTS)
@pytest.mark.parametrize(
    "error", [StatementOutcomeUnknown("cannot connect", may_have_happened=False), StatementFailed("23514", "a bad row")]
)
async def test_a_failure_of_the_insert_itself_is_reported_as_it_is(
    insert: Callable[[PostgresRows], Awaitable[object]], error: OrdertrailError
) -> None:
    rows = PostgresRows(cast("Database", Script(error)), DEADLINES)

    with pytest.raises(type(error)) as caught:
        await insert(rows)

    assert caught.value is error
