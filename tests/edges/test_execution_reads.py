"""The reads of executions against a real PostgreSQL: what SQL makes of a set of them is what the domain makes of it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.execution import TRADE, TRADE_CANCEL, TRADE_CORRECT, Execution, average, fold_executions
from ordertrail.storage.execution_reads import NEWEST_EXECUTIONS_MAX, InstrumentPosition, Positions
from ordertrail.storage.postgres import position_statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.execution_reads import PostgresExecutionReads
from ordertrail.storage.postgres.executions import PostgresExecutions
from tests.support.execution_sets import (
    EPOCHS,
    INSERT_EPOCHS,
    INSERT_EXECUTION,
    INSERT_POSITION_SUM,
    INSERT_REVISION,
    execution,
    random_executions,
    row_of,
)

QUANTITY = 20
INSTRUMENTS = ("AAPL12345678", "MSFT12345678", "ZZZZ00000000")
INSERT_ORDER = """
INSERT INTO orders (id, type, side, instrument, quantity, status) VALUES ($1, 'market', $2, $3, $4, 'INITIATED')
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, timeout_seconds=20, connections_max=3)
    await database.open()
    ranks = [(epoch, rank, session) for (session, epoch), rank in EPOCHS.items()]
    await database.fetch(INSERT_EPOCHS, *map(list, zip(*ranks, strict=True)))
    yield database
    await database.close()


@pytest.fixture
def reads(database: Database) -> PostgresExecutionReads:
    return PostgresExecutionReads(database)


async def insert(database: Database, sets: Mapping[str, Sequence[Execution]]) -> None:
    """Orders with their executions; each buys or sells one of the instruments by its number."""
    async with database.connection() as connection, connection.transaction():
        await connection.executemany(
            INSERT_ORDER,
            [
                (order_id, ("buy", "sell")[number % 2], INSTRUMENTS[number % 3], QUANTITY)
                for number, order_id in enumerate(sets)
            ],
        )
        await insert_rows(connection, [row for rows in sets.values() for row in rows])


async def insert_rows(connection: Any, executions: Sequence[Execution]) -> None:
    """As the statement does that applies reports, for its transaction."""
    await connection.executemany(INSERT_EXECUTION, [row_of(each) for each in executions])
    for statement in (INSERT_POSITION_SUM, INSERT_REVISION):
        await connection.executemany(statement, [row_of(each)[:3] for each in executions])


@pytest.mark.parametrize("seed", range(2))
async def test_sql_makes_of_any_set_of_executions_what_the_domain_makes_of_it(
    database: Database, reads: PostgresExecutionReads, seed: int
) -> None:
    chance = random.Random(seed)
    sets = {
        f"order{number}": random_executions(chance, f"order{number}", count=chance.choice((0, 1, 2, 3, 5, 8, 13)))
        for number in range(60)
    }
    sets["long"] = random_executions(chance, "long", count=2 * NEWEST_EXECUTIONS_MAX)
    await insert(database, sets)

    for order_id, rows in sets.items():
        order = await reads.order(order_id)

        assert order is not None
        assert order.progress == fold_executions(rows, quantity=QUANTITY), order_id
        newest = sorted(rows, key=lambda row: row.position)[-NEWEST_EXECUTIONS_MAX:]
        assert [replace(each, recorded_at=None) for each in order.executions] == newest
    assert await all_positions(reads) == expected_positions(sets)


def expected_positions(sets: Mapping[str, Sequence[Execution]]) -> list[InstrumentPosition]:
    """By the domain's fold of each order, added up."""
    filled: dict[tuple[str, str], list[tuple[int, Decimal]]] = defaultdict(list)
    for number, rows in enumerate(sets.values()):
        side, instrument = ("buy", "sell")[number % 2], INSTRUMENTS[number % 3]
        if any(row.exec_type == TRADE for row in rows):
            for row in counted(rows):
                filled[instrument, side].append((row.last_qty, row.last_px or Decimal(0)))
            filled[instrument, side].append((0, Decimal(0)))
    return [
        InstrumentPosition(
            instrument,
            sum(quantity for quantity, _ in filled[instrument, "buy"]),
            average(filled[instrument, "buy"]),
            sum(quantity for quantity, _ in filled[instrument, "sell"]),
            average(filled[instrument, "sell"]),
        )
        for instrument in sorted({instrument for instrument, _ in filled})
    ]


def counted(rows: Sequence[Execution]) -> list[Execution]:
    """The rows that count, found the slow way: from each row up to its trade."""
    by_key = {(row.session, row.exec_id): row for row in rows}

    def trade_of(row: Execution | None) -> Execution | None:
        for _ in rows:
            if row is None or row.exec_type == TRADE:
                break
            row = by_key.get((row.session, row.exec_ref_id)) if row.exec_ref_id is not None else None
        return row if row is not None and row.exec_type == TRADE else None

    counted: dict[str, Execution] = {}
    for row in sorted(rows, key=lambda row: row.position):
        trade = trade_of(row) if row.exec_type in {TRADE, TRADE_CANCEL, TRADE_CORRECT} else None
        if trade is not None:
            counted[f"{trade.session} {trade.exec_id}"] = row
    return [row for row in counted.values() if row.exec_type != TRADE_CANCEL]


async def all_positions(reads: PostgresExecutionReads, *, limit: int = 2) -> list[InstrumentPosition]:
    found: list[InstrumentPosition] = []
    while page := (await reads.positions(limit=limit, after=found[-1].instrument if found else "")).positions:
        found += page
    return found


async def test_executions_come_in_pages_oldest_first(database: Database, reads: PostgresExecutionReads) -> None:
    rows = random_executions(random.Random(5), "a", count=50)
    await insert(database, {"a": rows, "b": [execution("E1", order_id="b")]})
    expected = sorted(rows, key=lambda row: row.position)

    found: list[Execution] = []
    while page := await reads.executions("a", limit=7, after=found[-1].position if found else None):
        found += page

    assert [replace(each, recorded_at=None) for each in found] == expected
    assert await reads.executions("a", limit=7, after=found[-1].position) == []


async def test_an_order_without_executions_is_not_an_unknown_one(
    database: Database, reads: PostgresExecutionReads
) -> None:
    await insert(database, {"a": []})

    assert await reads.executions("a", limit=7, after=None) == []
    assert await reads.executions("b", limit=7, after=None) is None
    assert await reads.executions("nul\0", limit=7, after=None) is None
    assert await reads.order("b") is None and await reads.order("nul\0") is None


async def test_without_executions_there_are_no_positions(reads: PostgresExecutionReads) -> None:
    assert await reads.positions(limit=7, after="") == Positions((), None)


async def test_positions_are_as_of_the_newest_row_that_changed_them(
    database: Database, reads: PostgresExecutionReads
) -> None:
    bust = execution("E2", TRADE_CANCEL, seq=2, order_id="a", exec_ref_id="E1")
    await insert(database, {"a": [execution("E1", order_id="a"), execution("E9", "new", seq=9, order_id="a")]})
    before = await reads.positions(limit=7, after="")
    async with database.connection() as connection:
        await insert_rows(connection, [bust])

    after = await reads.positions(limit=7, after="")

    assert before.as_of is not None and after.as_of is not None and before.as_of < after.as_of
    assert before.positions == (InstrumentPosition(INSTRUMENTS[0], 10, Decimal("150.25"), 0, None),)
    assert after.positions == (InstrumentPosition(INSTRUMENTS[0], 0, None, 0, None),)


@pytest.mark.parametrize("moment", ["20000-01-01Z", "0044-03-15Z BC", "infinity", "-infinity"])
async def test_a_clock_that_is_far_off_hides_no_order(
    database: Database, reads: PostgresExecutionReads, moment: str
) -> None:
    await insert(database, {"a": [execution("E1", order_id="a")]})
    await database.fetch(
        "INSERT INTO executions SELECT order_id, session, 'E2', epoch, 2, exec_type, ord_status, exchange_order_id,"
        " last_qty, last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, $1::text::timestamptz"
        "  FROM executions",
        moment,
    )

    order = await reads.order("a")
    page = await reads.executions("a", limit=9, after=None)

    assert order is not None and [each.exec_id for each in order.executions] == ["E1", "E2"]
    assert page == list(order.executions)
    assert await reads.executions("a", limit=9, after=page[0].position) == [page[1]]


async def test_an_average_that_lies_just_below_a_half_is_rounded_once(
    database: Database, reads: PostgresExecutionReads
) -> None:
    # So many that the ninth decimal and all after it are 4999999…: a quotient of 16 digits is a half already.
    quantity = 10**12 + 1
    cents = (quantity - 1) // 2 * pow(10**6, -1, quantity) % quantity
    rows = [
        execution("E1", order_id="a", last_qty=quantity - 1, last_px=Decimal(150)),
        execution("E2", order_id="a", seq=2, last_qty=1, last_px=150 + Decimal(cents) / 100),
    ]
    await insert(database, {"a": rows})

    order = await reads.order("a")

    assert order is not None
    assert order.progress.avg_px == fold_executions(rows, quantity=QUANTITY).avg_px
    assert (await all_positions(reads))[0].buy_avg_px == order.progress.avg_px


@pytest.mark.parametrize("seed", range(3))
async def test_positions_are_right_at_every_moment_whatever_comes_first_and_whenever_it_is_reckoned_in(
    database: Database, reads: PostgresExecutionReads, seed: int
) -> None:
    chance = random.Random(seed)
    upkeep = PostgresExecutions(database)
    arrived: dict[str, list[Execution]] = {f"order{number}": [] for number in range(12)}
    await insert(database, arrived)
    coming = [row for id_ in arrived for row in random_executions(chance, id_, count=chance.choice((3, 5, 8, 13)))]
    chance.shuffle(coming)

    while coming:
        together, coming = coming[: (size := chance.randrange(1, 9))], coming[size:]
        async with database.connection() as connection, connection.transaction():
            await insert_rows(connection, together)
        for row in together:
            arrived[row.order_id].append(row)
        if chance.random() < 0.5:
            await upkeep.compact("venue")

        assert await all_positions(reads, limit=9) == expected_positions(arrived)
    [kept] = await database.fetch("SELECT count(*) AS count FROM position_revisions")
    assert kept["count"] < sum(row.exec_ref_id is not None for rows in arrived.values() for row in rows)


IS_WAITED_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'position_revisions'::regclass AND NOT granted)"
TRADE_OF_TEN = execution("E1", order_id="a")
CORRECTION = execution("E2", TRADE_CORRECT, seq=2, order_id="a", exec_ref_id="E1", last_qty=7)
BUST = execution("E3", TRADE_CANCEL, seq=3, order_id="a", exec_ref_id="E2", last_qty=0, last_px=None)


async def bought(reads: PostgresExecutionReads) -> list[int]:
    return [each.buy_qty for each in await all_positions(reads)]


@pytest.mark.parametrize("late", [TRADE_OF_TEN, CORRECTION, BUST], ids=lambda row: str(row.exec_type))
async def test_what_is_committed_beside_a_reckoning_is_counted_once(
    database: Database, reads: PostgresExecutionReads, late: Execution
) -> None:
    rows = [TRADE_OF_TEN, CORRECTION, BUST]
    await insert(database, {"a": [row for row in rows if row is not late]})
    upkeep = PostgresExecutions(database)
    async with database.connection() as connection:
        late_commit = connection.transaction()
        await late_commit.start()
        await insert_rows(connection, [late])
        await upkeep.compact("venue")
        before = await bought(reads)
        await late_commit.commit()

    after = await bought(reads)
    await upkeep.compact("venue")

    expected = {"trade": [], "trade_correct": [10], "trade_cancel": [7]}[late.exec_type]
    assert (before, after, await bought(reads)) == (expected, [0], [0])
    assert await database.fetch("SELECT 1 FROM position_revisions") == []


async def test_who_reckons_second_sees_what_the_first_has_reckoned(
    database: Database, reads: PostgresExecutionReads
) -> None:
    await insert(database, {"a": [TRADE_OF_TEN, CORRECTION]})
    async with database.connection() as first, database.connection() as other:
        reckoning = first.transaction()
        await reckoning.start()
        await first.execute(position_statements.LOCK_REVISIONS)
        await first.fetch(position_statements.RECKON_REVISIONS, 10)
        await insert_rows(other, [BUST])
        second = asyncio.create_task(PostgresExecutions(database).compact("venue"))
        while not await other.fetchval(IS_WAITED_FOR):
            continue
        await reckoning.commit()
        await second

    assert await bought(reads) == [0]
    assert await database.fetch("SELECT 1 FROM position_revisions") == []


async def test_a_chain_is_reckoned_in_whole_though_the_turn_was_one_report_of_it(
    database: Database, reads: PostgresExecutionReads
) -> None:
    await insert(database, {"a": [TRADE_OF_TEN, CORRECTION, BUST]})

    async with database.connection() as connection:
        await connection.fetch(position_statements.RECKON_REVISIONS, 1)
    once = await bought(reads)
    await PostgresExecutions(database).compact("venue")

    assert (once, await bought(reads)) == ([0], [0])


async def test_a_reckoning_that_is_not_committed_has_changed_nothing(
    database: Database, reads: PostgresExecutionReads
) -> None:
    await insert(database, {"a": [TRADE_OF_TEN, BUST, CORRECTION]})
    async with database.connection() as connection:
        killed = connection.transaction()
        await killed.start()
        await connection.fetch(position_statements.RECKON_REVISIONS, 10)
        beside = await bought(reads)
        await killed.rollback()

    assert (beside, await bought(reads)) == ([0], [0])
    await PostgresExecutions(database).compact("venue")
    assert await bought(reads) == [0]


async def test_a_trade_that_comes_long_after_its_bust_is_found_by_the_processors(
    database: Database, reads: PostgresExecutionReads
) -> None:
    upkeep = PostgresExecutions(database)
    await insert(database, {"a": [CORRECTION]})
    await upkeep.compact("venue")
    await database.fetch(
        "UPDATE position_revisions SET noted_at = noted_at - $1::interval, reviewed_at = reviewed_at - $1::interval",
        timedelta(hours=1),
    )
    async with database.connection() as connection:
        await insert_rows(connection, [TRADE_OF_TEN])

    await upkeep.compact("venue")

    assert await bought(reads) == [7]
    assert await database.fetch("SELECT 1 FROM position_revisions") == []
