"""Whatever writers overlap, and however they are held up: a reader gets each row once, in an order of its trail.

Real transactions on PostgreSQL: each takes its id, writes and commits in steps of its own, and a reader reads between
any two of them, from where it has come.
"""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg
import pytest

from ordertrail.domain.reason import NOT_RECORDED
from ordertrail.domain.trail import OrderStatus
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.event_rows import LogMark, LogRow, MarkGone, OrderEvent
from ordertrail.storage.postgres import doubt_statements, order_statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.event_log import PostgresEventLog
from tests.conformance.databases import CONNECTIONS_MAX
from tests.support.orders import new_id

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

WRITERS = 5
STEPS = 250
SEEDS = 6
PLAIN = order_statements.Variant(has_keys=False, has_place_by=False)
ROWS_IN_TRAIL_ORDER = """
SELECT id, status::text AS status FROM orders ORDER BY id, coalesce(recorded_at, created_at), status
"""
NAIVE_PLACE = "ALTER TABLE event_log ALTER txid SET DEFAULT pg_current_xact_id()::text::bigint"


@dataclass
class Reader:
    """Reads what can be read, from its mark."""

    log: PostgresEventLog
    mark: LogMark
    rows: list[tuple[str, str]] = field(default_factory=list)

    async def read(self, *, events_max: int) -> None:
        page = await self.log.read(self.mark, events_max=events_max)
        assert not isinstance(page, MarkGone), page
        for row in page.rows:
            self.rows += _named(row)
            self.mark = row.mark


class Writer:
    """A session and what it has begun: each step is one that another writer, or the reader, may come after."""

    def __init__(self, session: Session, orders: dict[str, list[str]], chance: random.Random) -> None:
        self._session = session
        self._orders = orders
        self._chance = chance
        self._rest: list[Callable[[], object]] = []
        self._order_id: str | None = None

    async def step(self) -> None:
        """The next step of what is under way, or the first of something new."""
        if not self._rest:
            self._begin()
        await self._rest.pop(0)()  # type: ignore[misc]  # each is a coroutine function

    async def end(self) -> None:
        while self._rest:
            await self.step()

    async def give_up(self) -> None:
        """What was under way has failed."""
        self._rest = []
        await self._session.execute("ROLLBACK")

    def _begin(self) -> None:
        order_id = new_id()
        known = list(self._orders)
        kind = self._chance.choice(("new", "new", "next", "never sent", "idle", "rolled back"))
        if kind == "next" and known:
            order_id = self._chance.choice(known)
            self._rest = self._transaction(lambda: self._append(order_id))
        elif kind == "never sent" and known:
            # Its transaction has its id from the first statement on, and writes in the second.
            order_id = self._chance.choice(known)
            self._rest = self._transaction(lambda: self._hold(order_id), lambda: self._never_sent(order_id))
        elif kind == "idle":
            self._rest = self._transaction(lambda: self._session.execute("SELECT pg_current_xact_id()"))
        elif kind == "rolled back":
            self._rest = self._transaction(lambda: self._insert(order_id), commits=False)
        else:
            self._rest = self._transaction(lambda: self._insert(order_id), order_id=order_id)

    def _transaction(
        self, *acts: Callable[[], object], commits: bool = True, order_id: str | None = None
    ) -> list[Callable[[], object]]:
        async def end() -> None:
            await self._session.execute("COMMIT" if commits else "ROLLBACK")
            if order_id is not None:
                self._orders[order_id] = []

        return [lambda: self._session.execute("BEGIN"), *acts, end]

    async def _insert(self, order_id: str) -> None:
        columns = ([order_id], ["limit"], ["buy"], ["A"], [1.0], [1])
        await self._session.fetch(order_statements.INSERT_INITIATED[PLAIN], 50, 60, 70, 80, *columns, None, None)

    async def _append(self, order_id: str) -> None:
        left = [str(status) for status in OrderStatus if str(status) not in self._orders[order_id]][1:]
        if not left:
            return
        status = self._chance.choice(left)
        self._orders[order_id].append(status)
        await self._session.fetch(order_statements.INSERT_TRAIL_ROWS, [order_id], [status], ["unknown:x"], [None])

    async def _hold(self, order_id: str) -> None:
        await self._session.fetch(order_statements.HOLD, [order_id])

    async def _never_sent(self, order_id: str) -> None:
        self._orders[order_id].append("DATABASE_PERSISTENCE_FAILED")
        await self._session.fetch(order_statements.INSERT_NEVER_SENT, [order_id], NOT_RECORDED.text)


@dataclass
class World:
    url: str
    log: PostgresEventLog
    connection: Session


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    database = Database(database_url, timeout_seconds=30, connections_max=CONNECTIONS_MAX)
    await database.open()
    connection = await asyncpg.connect(database_url)
    try:
        yield World(database_url, PostgresEventLog(database, SystemClock()), connection)
    finally:
        await connection.close()
        await database.close()


async def walk(world: World, seed: int) -> list[tuple[str, str]]:
    """Everything that the reader got."""
    chance = random.Random(seed)
    orders: dict[str, list[str]] = {}
    sessions = [await asyncpg.connect(world.url) for _ in range(WRITERS)]
    try:
        for session in sessions:
            # Two that want the same order's row wait for each other; the walk is in one hand, so neither would go on.
            await session.execute("SET lock_timeout = '20ms'")
        writers = [Writer(session, orders, chance) for session in sessions]
        reader = Reader(world.log, await world.log.newest())
        for _ in range(STEPS):
            writer = chance.choice(writers)
            try:
                await writer.step()
            except asyncpg.PostgresError:
                await writer.give_up()
            if chance.random() < 0.4:
                await reader.read(events_max=chance.choice((1, 3, 100)))
            if chance.random() < 0.05:
                # It comes again with the mark that it had, which is all that a client keeps.
                reader = Reader(PostgresEventLog(world.log._database, SystemClock()), reader.mark, reader.rows)
        for writer in writers:
            try:
                await writer.end()
            except asyncpg.PostgresError:
                await writer.give_up()
        while True:
            before = len(reader.rows)
            await reader.read(events_max=100)
            if len(reader.rows) == before:
                return reader.rows
    finally:
        for session in sessions:
            session.terminate()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_reader_gets_each_row_once_and_in_the_order_of_its_trail(world: World, seed: int) -> None:
    got = await walk(world, seed)

    written = [(record["id"], record["status"]) for record in await world.connection.fetch(ROWS_IN_TRAIL_ORDER)]
    assert sorted(got) == sorted(written)
    assert len(set(got)) == len(got)
    assert begins_each_trail(got)


def begins_each_trail(got: list[tuple[str, str]]) -> bool:
    """Whether INITIATED comes before whatever follows it; all that follows was written by who had seen it committed."""
    begun: set[str] = set()
    for order_id, status in got:
        if status != "INITIATED" and order_id not in begun:
            return False
        begun.add(order_id)
    return True


async def an_early_id_with_a_late_row(world: World) -> list[tuple[str, str]]:
    """A transaction takes its id; another records an order and commits; the first then appends to that order."""
    start = await world.log.newest()
    early, late = [await asyncpg.connect(world.url) for _ in range(2)]
    try:
        writers = [Writer(session, {}, random.Random(0)) for session in (early, late)]
        order_id = new_id()
        await early.execute("BEGIN")
        await early.fetch("SELECT pg_current_xact_id()")
        await writers[1]._insert(order_id)
        await early.fetch(order_statements.INSERT_TRAIL_ROWS, [order_id], ["UNRESOLVED"], ["unknown:x"], [None])
        await early.execute("COMMIT")
    finally:
        early.terminate()
        late.terminate()
    reader = Reader(world.log, start)
    await reader.read(events_max=100)
    return reader.rows


async def test_a_transaction_that_took_its_id_early_writes_after_what_it_read(world: World) -> None:
    got = await an_early_id_with_a_late_row(world)

    assert [status for _, status in got] == ["INITIATED", "UNRESOLVED"]


async def test_without_what_was_read_an_early_id_would_turn_a_trail_round(world: World) -> None:
    """The canary of the test before it: the place is the transaction's id alone."""
    await world.connection.execute(NAIVE_PLACE)

    got = await an_early_id_with_a_late_row(world)

    assert [status for _, status in got] == ["UNRESOLVED", "INITIATED"]


async def test_a_cursor_of_the_newest_row_skips_what_is_committed_late(world: World) -> None:
    """The canary of the walk: a reader that does not stop at what is still running."""
    slow, quick = [await asyncpg.connect(world.url) for _ in range(2)]
    try:
        writers = [Writer(session, {}, random.Random(0)) for session in (slow, quick)]
        await slow.execute("BEGIN")
        await writers[0]._insert(new_id())
        await writers[1]._insert(new_id())
        naive = await world.connection.fetchrow("SELECT max(txid) AS txid FROM event_log")
        start = await world.log.newest()
        await slow.execute("COMMIT")
    finally:
        slow.terminate()
        quick.terminate()
    assert naive is not None
    skipped = await world.connection.fetchval("SELECT count(*) FROM event_log WHERE txid < $1", naive["txid"])
    reader = Reader(world.log, start)
    await reader.read(events_max=100)

    assert skipped == 1
    assert len(reader.rows) == 2


async def test_a_verdict_and_its_reader_meet_without_a_gap(world: World) -> None:
    """Every statement that writes rows names them: one that did not would be a row that no reader ever gets."""
    order_id = new_id()
    start = await world.log.newest()
    session = await asyncpg.connect(world.url)
    try:
        await Writer(session, {}, random.Random(0))._insert(order_id)
        await session.fetch(doubt_statements.REOPEN, [order_id])
        fence = (await session.fetch(doubt_statements.LEASE, 10, 60.0))[0]["fence"]
        row = ([order_id], ["NOT_PLACED"], ["proved:absent"], [None])
        await session.fetch(doubt_statements.APPLY_VERDICTS, [order_id], [fence], [True], [0.0], ["x"], *row)
    finally:
        session.terminate()

    reader = Reader(world.log, start)
    await reader.read(events_max=100)
    assert [status for _, status in reader.rows] == ["INITIATED", "NOT_PLACED"]


def _named(row: LogRow) -> list[tuple[str, str]]:
    return [(event.order_id, str(event.row.status)) for event in row.events if isinstance(event, OrderEvent)]
