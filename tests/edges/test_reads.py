"""The reads against a real PostgreSQL: the folds in SQL are those in Python, pages are stable, plans are indexed."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ordertrail.domain.order import Side
from ordertrail.domain.trail import (
    PLACED_STATUSES,
    OrderStatus,
    Outcome,
    TrailRow,
    fold_outcome,
    fold_status,
)
from ordertrail.storage.order_reads import OrderFilter, OrderPage, OrderReads, TooSlow
from ordertrail.storage.postgres import read_statements
from ordertrail.storage.postgres import reads as reads_module
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.reads import PostgresReads, list_statement

START = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
REASONS = {
    OrderStatus.EXCHANGE_CREATION_FAILED: ("refused:NO_MONEY", "not_sent:closed", "not_sent:circuit_open"),
    OrderStatus.DATABASE_PERSISTENCE_FAILED: (
        "accepted",
        "accepted:not",
        "refused:NO_MONEY",
        "not_sent:not_recorded",
        "not_sent:closed",
        "unknown:timeout",
        None,
    ),
    OrderStatus.EXCHANGE_OUTCOME_UNKNOWN: ("unknown:timeout",),
    OrderStatus.UNRESOLVED: ("differs_at_exchange", "refused:odd", None),
    OrderStatus.NOT_PLACED: ("proved:not_sent:closed", "presumed:absent"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a test says of a trail; the rest of an order is the same everywhere."""

    id: str
    rows: tuple[TrailRow, ...]
    place_by: datetime | None = None
    attempts: tuple[str | None, ...] = ()
    is_cancel_wanted: bool = False
    instrument: str = "AAPL12345678"
    side: Side = Side.BUY
    client_order_id: str | None = None

    @property
    def status(self) -> OrderStatus:
        return fold_status(self.rows)

    @property
    def outcome(self) -> Outcome:
        return fold_outcome(
            self.rows,
            may_send_again=self.place_by is not None and not self.is_cancel_wanted,
            has_open_claim=any(answer in (None, "unknown", "accepted") for answer in self.attempts),
        )


def trail(*rows: tuple[OrderStatus, str | None], at: datetime = START) -> tuple[TrailRow, ...]:
    initiated = TrailRow(OrderStatus.INITIATED, created_at=at)
    return (initiated, *(TrailRow(status, reason, created_at=at) for status, reason in rows))


COMPLETED = (OrderStatus.COMPLETED, None)
NOT_SENT = (OrderStatus.EXCHANGE_CREATION_FAILED, "not_sent:closed")
REFUSED = (OrderStatus.EXCHANGE_CREATION_FAILED, "refused:NO_MONEY")


def random_order(chance: random.Random, number: int) -> Row:
    """Any set of rows, likely or not, under any id."""
    others = [status for status in OrderStatus if status is not OrderStatus.INITIATED]
    statuses = chance.sample(others, k=chance.choice((0, 0, 1, 1, 1, 2, 2, 3, 5, len(others))))
    unplaced = chance.random() < 0.7
    rows = [
        (status, chance.choice(REASONS.get(status, (None, "verified", "refused:late", "unknown:x", "not_sent:y"))))
        for status in statuses
        if not (unplaced and status in PLACED_STATUSES)
    ]
    return Row(
        id=chance.choice(("", "Z", "a", "é", "\U0001f600", "01980b3e-7c1e-7d0a-", "%_")) + f"{number:06x}",
        rows=trail(*rows),
        place_by=chance.choice((None, START + timedelta(seconds=60))),
        attempts=tuple(
            chance.choice((None, "accepted", "refused", "not_sent", "unknown"))
            for _ in range(chance.choice((0, 0, 0, 1, 2)))
        ),
        is_cancel_wanted=chance.random() < 0.3,
        instrument=chance.choice(("AAPL12345678", "MSFT12345678")),
        side=chance.choice(tuple(Side)),
    )


async def insert(database: Database, orders: Sequence[Row]) -> None:
    rows = [(order, row) for order in orders for row in order.rows]
    sends = [(order.id, number, answer) for order in orders for number, answer in enumerate(order.attempts, start=2)]
    async with database.connection() as connection, connection.transaction():
        await connection.executemany(
            "INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason,"
            " client_order_id, place_by) VALUES ($1, $2, 'limit', $3, $4, 150, 10, $5, $6, $7, $8)",
            [
                (
                    order.id,
                    (row.created_at or START).replace(tzinfo=None),
                    order.side,
                    order.instrument,
                    row.status,
                    row.reason,
                    order.client_order_id if row.status is OrderStatus.INITIATED else None,
                    order.place_by if row.status is OrderStatus.INITIATED else None,
                )
                for order, row in rows
            ],
        )
        await connection.executemany(
            "INSERT INTO order_keys VALUES ($1, $2)",
            [(order.client_order_id, order.id) for order in orders if order.client_order_id is not None],
        )
        await connection.executemany(
            "INSERT INTO attempts (order_id, number, fence, claimed_by, send_by) VALUES ($1, $2, 1, 'test', $3)",
            [(order_id, number, START) for order_id, number, _ in sends],
        )
        await connection.executemany(
            "INSERT INTO attempt_answers (order_id, number, answer) VALUES ($1, $2, $3)",
            [send for send in sends if send[2] is not None],
        )
        await connection.executemany(
            "INSERT INTO cancel_requests (order_id) VALUES ($1)",
            [(order.id,) for order in orders if order.is_cancel_wanted],
        )


# One order in a hundred is refused, the other ninety-nine are filled out to the happy path's two rows.
MANY = """
INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason, client_order_id)
SELECT lpad(n::text, 12, '0'), timestamp '2026-11-22 09:30' + n * interval '1 ms', 'limit', 'buy', 'AAPL12345678',
       150, 10, status::order_status_enum,
       CASE WHEN status = 'EXCHANGE_CREATION_FAILED' THEN 'refused:NO_MONEY' END,
       CASE WHEN status = 'INITIATED' THEN 'key' || n END
  FROM generate_series(1, 100000) AS n
 CROSS JOIN LATERAL unnest(ARRAY['INITIATED',
                                 CASE WHEN n % 100 = 0 THEN 'EXCHANGE_CREATION_FAILED' ELSE 'COMPLETED' END]) AS status
"""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, timeout_seconds=20, connections_max=4)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


@pytest.fixture
def reads(database: Database) -> OrderReads:
    return PostgresReads(database)


async def all_ids(reads: OrderReads, wanted: OrderFilter, *, limit: int = 97) -> list[str]:
    """Every id of a list, page by page."""
    page = await reads.many(wanted, limit=limit, before_id=None)
    ids = [stored.order.id for stored in page.orders]
    while page.next_before_id is not None:
        page = await reads.many(wanted, limit=limit, before_id=page.next_before_id)
        ids += [stored.order.id for stored in page.orders]
    return ids


def newest_first(ids: Sequence[str]) -> list[str]:
    """As the C collation has it: by bytes."""
    return sorted(ids, key=lambda text: text.encode(), reverse=True)


@pytest.mark.parametrize("seed", range(3))
async def test_the_folds_in_sql_are_those_in_python_for_any_set_of_rows(
    database: Database, reads: OrderReads, seed: int
) -> None:
    chance = random.Random(seed)
    orders = [random_order(chance, number) for number in range(1200)]
    await insert(database, orders)

    for status in (None, *OrderStatus):
        for outcome in (None, *Outcome):
            expected = [
                order.id
                for order in orders
                if (status is None or order.status is status) and (outcome is None or order.outcome is outcome)
            ]

            found = await all_ids(reads, OrderFilter(statuses=() if status is None else (status,), outcome=outcome))

            assert found == newest_first(expected), (status, outcome)


async def test_any_of_several_statuses_will_do(database: Database, reads: OrderReads) -> None:
    chance = random.Random(4)
    orders = [random_order(chance, number) for number in range(400)]
    await insert(database, orders)

    for count in (2, 2, 2, 3, 3, 5):
        statuses = tuple(chance.sample(list(OrderStatus), k=count))
        found = await all_ids(reads, OrderFilter(statuses=statuses))

        assert found == newest_first([order.id for order in orders if order.status in statuses]), statuses


@pytest.mark.parametrize("status", OrderStatus)
async def test_a_page_that_had_to_read_too_much_ends_early_and_the_next_goes_on(
    database: Database, reads: OrderReads, monkeypatch: pytest.MonkeyPatch, status: OrderStatus
) -> None:
    chance = random.Random(3)
    orders = [random_order(chance, number) for number in range(60)]
    await insert(database, orders)
    for module in (read_statements, reads_module):
        monkeypatch.setattr(module, "WALKED_ROWS_MAX", 7)

    found = await all_ids(reads, OrderFilter(statuses=(status,)), limit=3)

    assert found == newest_first([order.id for order in orders if order.status is status])


async def test_a_page_may_be_empty_and_go_on(
    database: Database, reads: OrderReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = (*trail(COMPLETED, (OrderStatus.FILLED, None)),)
    await insert(database, [Row("1", trail(COMPLETED)), *(Row(name, filled) for name in "234")])
    for module in (read_statements, reads_module):
        monkeypatch.setattr(module, "WALKED_ROWS_MAX", 4)

    first = await reads.many(OrderFilter(statuses=(OrderStatus.COMPLETED,)), limit=9, before_id=None)
    last = await reads.many(OrderFilter(statuses=(OrderStatus.COMPLETED,)), limit=9, before_id="2")

    assert first == OrderPage((), "3")
    assert ([stored.order.id for stored in last.orders], last.next_before_id) == (["1"], None)


async def test_a_list_and_a_single_read_say_the_same(database: Database, reads: OrderReads) -> None:
    chance = random.Random(7)
    orders = {order.id: order for order in (random_order(chance, number) for number in range(300))}
    await insert(database, list(orders.values()))

    listed = (await reads.many(OrderFilter(), limit=500, before_id=None)).orders

    assert len(listed) == len(orders)
    for stored in listed:
        single = await reads.one(stored.order.id)
        assert single == replace(stored, read_at=single.read_at if single else stored.read_at)
        assert (stored.status, stored.outcome) == (orders[stored.order.id].status, orders[stored.order.id].outcome)


@pytest.mark.parametrize("answer", [None, "unknown", "accepted"])
async def test_a_resend_that_may_have_arrived_leaves_the_outcome_unknown_even_when_canceled(
    database: Database, reads: OrderReads, answer: str | None
) -> None:
    await insert(database, [Row("a", trail(NOT_SENT), START, attempts=(answer,), is_cancel_wanted=True)])

    stored = await reads.one("a")

    assert stored is not None and stored.outcome is Outcome.UNKNOWN


async def test_a_cancel_turns_a_pending_order_into_one_that_is_not_placed(
    database: Database, reads: OrderReads
) -> None:
    await insert(database, [Row("a", trail(NOT_SENT), START), Row("b", trail(NOT_SENT), START, is_cancel_wanted=True)])

    assert await all_ids(reads, OrderFilter(outcome=Outcome.PENDING)) == ["a"]
    assert await all_ids(reads, OrderFilter(outcome=Outcome.NOT_PLACED)) == ["b"]


async def test_a_late_row_moves_the_order_to_another_filter(database: Database, reads: OrderReads) -> None:
    await insert(database, [Row("a", trail((OrderStatus.NOT_PLACED, "presumed:absent")))])
    assert await all_ids(reads, OrderFilter(outcome=Outcome.NOT_PLACED)) == ["a"]

    late = TrailRow(OrderStatus.COMPLETED, "verified", created_at=START)
    await insert(database, [Row("a", (late,))])

    assert await all_ids(reads, OrderFilter(outcome=Outcome.NOT_PLACED)) == []
    assert await all_ids(reads, OrderFilter(statuses=(OrderStatus.NOT_PLACED,))) == []
    assert await all_ids(reads, OrderFilter(statuses=(OrderStatus.COMPLETED,), outcome=Outcome.PLACED)) == ["a"]


async def test_filters_combine(database: Database, reads: OrderReads) -> None:
    chance = random.Random(11)
    orders = [
        replace(
            random_order(chance, number),
            client_order_id=f"key{number}",
            rows=trail(chance.choice((COMPLETED, NOT_SENT, REFUSED)), at=START + timedelta(seconds=number)),
        )
        for number in range(200)
    ]
    await insert(database, orders)
    wanted = OrderFilter(
        outcome=Outcome.NOT_PLACED,
        instrument="MSFT12345678",
        side=Side.SELL,
        created_after=START + timedelta(seconds=20),
        created_before=START + timedelta(seconds=180),
    )

    expected = [
        order
        for number, order in enumerate(orders)
        if order.outcome is Outcome.NOT_PLACED
        and order.instrument == "MSFT12345678"
        and order.side is Side.SELL
        and 20 < number < 180
    ]

    assert expected
    assert await all_ids(reads, wanted, limit=3) == newest_first([order.id for order in expected])
    keyed = replace(wanted, client_order_id=expected[0].client_order_id, statuses=(expected[0].status,))
    assert await all_ids(reads, keyed) == [expected[0].id]
    assert await all_ids(reads, replace(keyed, outcome=Outcome.PLACED)) == []
    assert await all_ids(reads, replace(keyed, statuses=(OrderStatus.FILLED,))) == []


async def test_neither_bound_of_time_includes_its_own_moment(database: Database, reads: OrderReads) -> None:
    moments = {name: START + timedelta(microseconds=n) for n, name in enumerate("abc")}
    await insert(database, [Row(name, trail(at=at)) for name, at in moments.items()])

    assert await all_ids(reads, OrderFilter(created_after=moments["b"])) == ["c"]
    assert await all_ids(reads, OrderFilter(created_before=moments["b"])) == ["a"]


async def test_pages_stay_as_they_are_while_new_orders_arrive(database: Database, reads: OrderReads) -> None:
    await insert(database, [Row(f"{number:04}", trail(COMPLETED)) for number in range(50)])
    first = await reads.many(OrderFilter(), limit=20, before_id=None)

    await insert(database, [Row(f"{number:04}", trail(COMPLETED)) for number in range(50, 90)])
    second = await reads.many(OrderFilter(), limit=40, before_id=first.next_before_id)

    assert [s.order.id for s in (*first.orders, *second.orders)] == [f"{number:04}" for number in reversed(range(50))]


@pytest.mark.parametrize("order_id", ["", "nul\0", "\ud800", "x" * 10_000, "ü😀", "' OR 1=1 --", "%"])
async def test_any_text_may_be_queried(reads: OrderReads, order_id: str) -> None:
    assert await reads.one(order_id) is None


async def plan_of(connection: Any, wanted: OrderFilter, *, limit: int, before_id: str | None, mode: str) -> str:
    statement, arguments = list_statement(wanted, limit=limit, before_id=before_id)
    await connection.execute(f"SET plan_cache_mode = {mode}")
    rows: list[asyncpg.Record] = await connection.fetch("EXPLAIN " + statement, *arguments)
    return "\n".join(row[0] for row in rows)


async def test_lists_are_read_off_indexes_in_a_large_table(database: Database) -> None:
    await database.fetch(MANY)
    await database.fetch("INSERT INTO order_keys SELECT client_order_id, id FROM orders WHERE status = 'INITIATED'")
    await database.fetch("ANALYZE")
    indexed = [
        OrderFilter(),
        OrderFilter(client_order_id="key5000"),
        OrderFilter(client_order_id="key5000", statuses=(OrderStatus.COMPLETED,), outcome=Outcome.UNKNOWN),
        OrderFilter(statuses=(OrderStatus.COMPLETED,)),
        OrderFilter(outcome=Outcome.PLACED),
    ]
    troubles = [
        OrderFilter(statuses=(OrderStatus.EXCHANGE_CREATION_FAILED,)),
        OrderFilter(statuses=(OrderStatus.UNRESOLVED,)),
        OrderFilter(outcome=Outcome.NOT_PLACED),
        OrderFilter(outcome=Outcome.PENDING),
        OrderFilter(statuses=(OrderStatus.EXCHANGE_CREATION_FAILED,), outcome=Outcome.NOT_PLACED, side=Side.BUY),
    ]

    ended = [
        OrderFilter(statuses=(OrderStatus.EXPIRED,)),
        OrderFilter(statuses=(OrderStatus.CANCELED,), instrument="AAPL12345678"),
    ]

    async with database.connection() as connection:
        for wanted in indexed + troubles + ended:
            for before_id in (None, "000000050000"):
                for limit in (2, 501):
                    plan = await plan_of(connection, wanted, limit=limit, before_id=before_id, mode="force_custom_plan")
                    assert "Seq Scan on orders" not in plan, plan
                    assert wanted not in troubles or "using orders_failed" in plan, plan
                    assert wanted not in ended or "using orders_ended" in plan, plan
                    assert "Sort Key: l.id" not in plan and "Sort Key: r.id DESC, r.status DESC" not in plan, plan


async def test_a_list_that_takes_too_long_says_so_and_keeps_its_connection(database_url: str) -> None:
    async with opened(database_url) as database:
        await database.fetch(MANY)
        impatient = PostgresReads(database, list_timeout_seconds=0.005)

        with pytest.raises(TooSlow):
            await impatient.many(OrderFilter(outcome=Outcome.UNKNOWN), limit=100, before_id=None)

        settings = await database.fetch("SELECT current_setting('statement_timeout') AS timeout")
        assert settings[0]["timeout"] == "20s"
