"""Until when an order may be sent again is one rule, in the domain and in the statements that record new orders."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.order import Order, OrderType
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.orders import PostgresRows
from tests.support.orders import LATER, a_market_order, an_order, new_id

DEADLINES = Deadlines(send_seconds=5, accept_seconds=10, review_seconds=20, retry_seconds=60)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, timeout_seconds=20, connections_max=1)
    await database.open()
    yield database
    await database.close()


async def insert_initiated(rows: PostgresRows, order: Order) -> object:
    return await rows.insert_initiated([order])


async def insert_initiated_and_completed(rows: PostgresRows, order: Order) -> object:
    return await rows.insert_initiated_and_completed([order], [])


async def insert_never_sent(rows: PostgresRows, order: Order) -> object:
    return await rows.insert_never_sent([order])


@pytest.mark.parametrize("retry_seconds", [60, 0])
@pytest.mark.parametrize("insert", [insert_initiated, insert_initiated_and_completed, insert_never_sent])
async def test_the_database_and_the_domain_agree_on_place_by(
    database: Database, insert: Callable[[PostgresRows, Order], Awaitable[object]], retry_seconds: float
) -> None:
    deadlines = replace(DEADLINES, retry_seconds=retry_seconds)
    rows = PostgresRows(database, deadlines)
    kinds = {OrderType.LIMIT: an_order(), OrderType.MARKET: a_market_order()}
    assert set(kinds) == set(OrderType)

    for kind in kinds.values():
        for place_by in (None, LATER):
            for key in (None, new_id()):
                order = replace(kind, id=new_id(), place_by=place_by, client_order_id=key)
                await insert(rows, order)

                stored = await rows.read(order.id)

                assert stored is not None
                assert stored.order.place_by == deadlines.place_by(order, stored.created_at), order


def test_only_orders_with_a_price_of_their_own_are_sent_again_by_default() -> None:
    limit, market = an_order(), a_market_order()

    assert DEADLINES.place_by(limit, LATER) is not None
    assert DEADLINES.place_by(market, LATER) is None
    assert DEADLINES.place_by(replace(market, place_by=LATER), LATER) == LATER
    assert replace(DEADLINES, retry_seconds=0).place_by(limit, LATER) is None
