"""The databases that the suite is run against: PostgreSQL itself, and the one of the simulation.

Time passes by the suite's word alone, apart from the little that its statements take: all windows here are many times
as long.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import asyncpg

from ordertrail.domain.deadlines import Deadlines
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.comparison_rows import ComparisonRows
from ordertrail.storage.doubt_rows import DoubtRows, OrphanRows, SweepRows
from ordertrail.storage.event_rows import EventLog
from ordertrail.storage.execution_rows import ExecutionRows, FeedRows, InboxRows
from ordertrail.storage.order_queue_rows import OrderQueueRows
from ordertrail.storage.order_rows import Rows
from ordertrail.storage.parked_rows import ParkedRows
from ordertrail.storage.postgres.comparisons import PostgresComparisons
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts
from ordertrail.storage.postgres.event_log import PostgresEventLog
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.order_queue import PostgresOrderQueue
from ordertrail.storage.postgres.orders import PostgresRows
from ordertrail.storage.postgres.parked import PostgresParked
from ordertrail.storage.postgres.switch import PostgresSwitch
from ordertrail.storage.switch_rows import SwitchRows
from tests.simulation.database import SimulatedDatabase
from tests.support.clocks import TickingClock

T = TypeVar("T")

DEADLINES = Deadlines(send_seconds=100, accept_seconds=200, review_seconds=500, retry_seconds=1000, queue_seconds=700)
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
# What a transaction takes in the simulated one, so that no two have the same time.
STEP = timedelta(milliseconds=1)
CONNECTIONS_MAX = 10
# Who does the same thing at once, where only one may.
RACERS = 20
# Text that no column can have, with the code that says so: a NUL, and half of a pair of surrogates.
UNSTORABLE = [("a\x00b", "22021"), ("a\ud800b", "22000")]
WAIT_SECONDS_MAX = 30

# What is kept, table by table; only columns that an operation reads or a person is shown.
COLUMNS = {
    "orders": (
        "id", "status", "created_at", "type", "side", "instrument", "limit_price", "quantity", "reason",
        "exchange_order_id", "client_order_id", "place_by", "send_by", "accept_by", "start_by",
    ),
    "order_keys": ("client_order_id", "order_id"),
    "order_queue": ("order_id", "instrument", "queued_at", "start_by"),
    "order_queue_sums": ("delta",),
    "order_batches": ("due_at", "order_ids"),
    "attempts": ("order_id", "number", "fence", "claimed_by", "send_by", "accept_by"),
    "attempt_answers": ("order_id", "number", "answer", "reason", "exchange_order_id"),
    "doubts": ("order_id", "since", "next_at", "leased_until", "fence", "tries", "last_seen", "settled_at"),
    "cancel_requests": ("order_id", "requested_at"),
    "sightings": ("order_id", "exchange_order_id"),
    "orphans": (
        "venue", "epoch", "client_order_id", "exchange_order_id", "instrument", "side", "quantity", "closed_at",
    ),
    "parked": (
        "parked_at", "venue", "kind", "field", "reason", "raw", "fingerprint", "order_id", "epoch", "seq", "closed_at",
    ),
    "sweep_positions": ("venue", "epoch", "seq", "leased_until"),
    "venue_epochs": ("venue", "epoch", "begun_at"),
    "execution_epochs": ("venue", "epoch", "session"),
    "executions": (
        "order_id", "session", "exec_id", "epoch", "seq", "exec_type", "ord_status", "exchange_order_id", "last_qty",
        "last_px", "cum_qty", "leaves_qty", "avg_px", "exec_ref_id", "reject_reason", "transact_time",
    ),
    "execution_coverage": ("venue", "epoch", "seqs"),
    "position_sums": ("instruments", "sides", "quantities", "notionals"),
    "position_revisions": ("order_id", "session", "exec_id", "noted_at", "reviewed_at"),
    "execution_inbox": ("venue", "epoch", "exec_id_scope", "count", "first_seq", "last_seq", "body", "put_at"),
    "feeds": ("venue", "holder", "leased_until", "fence", "epoch", "seq", "changed_at"),
    "parked_retries": ("tries", "due_at"),
    "event_log": ("count", "order_ids", "statuses", "session", "execution_order_ids", "exec_ids"),
}  # fmt: skip
# `claimed_by` is no time.
TIMES = {
    table: [name for name in names if name == "since" or name.endswith(("_at", "_until", "_by"))]
    for table, names in COLUMNS.items()
} | {"attempts": ["send_by", "accept_by"]}

APPEND_ONLY = (
    "orders", "order_keys", "attempts", "attempt_answers", "cancel_requests", "sightings", "orphans", "venue_epochs",
    "parked", "operator_actions", "execution_epochs", "executions", "event_log",
)  # fmt: skip

GUARDED = [*((table, "append_only") for table in APPEND_ONLY), ("orphans", "closed_once"), ("parked", "closed_once")]

Record = dict[str, Any]
Contents = dict[str, list[Record]]


class Doubts(DoubtRows, SweepRows, OrphanRows, Protocol):
    """All in one, as the service has them."""


class Executions(ExecutionRows, InboxRows, FeedRows, Protocol):
    """All in one, as PostgreSQL has them."""


class DatabaseSubject(Protocol):
    """A database under test, and a hand on its clock."""

    @property
    def executions(self) -> Executions: ...

    @property
    def comparisons(self) -> ComparisonRows: ...

    @property
    def doubts(self) -> Doubts: ...

    @property
    def switch(self) -> SwitchRows: ...

    @property
    def parked(self) -> ParkedRows: ...

    def order_queue(self, deadlines: Deadlines = DEADLINES) -> OrderQueueRows: ...

    @property
    def event_log(self) -> EventLog: ...

    def rows(self, deadlines: Deadlines = DEADLINES) -> Rows: ...

    async def now(self) -> datetime:
        """The time by the database's clock."""
        ...

    async def let_pass(self, seconds: float) -> None:
        """Afterwards all that is kept is so much older."""
        ...

    async def contents(self) -> Contents:
        """Every row of every table, sorted; times are aware."""
        ...

    async def actions(self) -> list[Record]:
        """What operators did beside turning the switch, in its order."""
        ...

    async def clear(self) -> None:
        """Empty every table."""
        ...

    async def together(self, *calls: Coroutine[Any, Any, T]) -> list[T]:
        """What comes of calls that are made at once: as many as have a connection begin before any goes on."""
        ...


AS_TEXT = {"status": "text", "seqs": "text", "statuses": "text[]"}
JSON = ("before", "after")
ACTIONS = """
SELECT action, operator, origin, reason, order_id, subject, before, after
  FROM operator_actions WHERE action NOT IN ('halt', 'resume') ORDER BY id
"""
WAITING = """
SELECT count(DISTINCT pid) FROM pg_locks
 WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Postgres:
    """The real one. `connection` is the suite's own, of the tables' owner."""

    def __init__(self, database: Database, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._database = database
        self._connection = connection
        self.doubts: Doubts = PostgresDoubts(database)
        self.switch: SwitchRows = PostgresSwitch(database)
        self.parked: ParkedRows = PostgresParked(database)
        self.executions: Executions = PostgresExecutions(database)
        self.comparisons: ComparisonRows = PostgresComparisons(database)
        self.event_log: EventLog = PostgresEventLog(database, SystemClock())

    def rows(self, deadlines: Deadlines = DEADLINES) -> Rows:
        return PostgresRows(self._database, deadlines)

    def order_queue(self, deadlines: Deadlines = DEADLINES) -> OrderQueueRows:
        return PostgresOrderQueue(self._database, deadlines)

    async def now(self) -> datetime:
        now: datetime = await self._connection.fetchval("SELECT clock_timestamp()")
        return now

    async def let_pass(self, seconds: float) -> None:
        async with self._history_can_change():
            for table, columns in TIMES.items():
                if columns:
                    back = ", ".join(f"{column} = {column} - $1::float8 * interval '1 second'" for column in columns)
                    await self._connection.execute(f"UPDATE {table} SET {back}", seconds)

    async def contents(self) -> Contents:
        contents = {}
        for table, columns in COLUMNS.items():
            names = ", ".join(f"{name}::{AS_TEXT[name]}" if name in AS_TEXT else name for name in columns)
            records = await self._connection.fetch(f"SELECT {names} FROM {table}")
            contents[table] = in_order([dict(record) for record in records])
        return contents

    async def actions(self) -> list[Record]:
        records = await self._connection.fetch(ACTIONS)
        loaded = [
            {**record, **{name: record[name] and json.loads(record[name]) for name in JSON}} for record in records
        ]
        return [dict(record) for record in loaded]

    async def clear(self) -> None:
        async with self._history_can_change():
            for table in reversed(("operator_actions", *COLUMNS)):
                await self._connection.execute(f"DELETE FROM {table}")

    async def together(self, *calls: Coroutine[Any, Any, T]) -> list[T]:
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._connection.transaction():
            await self._connection.execute(f"LOCK TABLE {', '.join(COLUMNS)}")
            tasks = [asyncio.create_task(call) for call in calls]
            while await self._connection.fetchval(WAITING) < min(len(tasks), CONNECTIONS_MAX):
                continue
        return await asyncio.gather(*tasks)

    @contextlib.asynccontextmanager
    async def _history_can_change(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            for table, trigger in GUARDED:
                await self._connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
            yield
            for table, trigger in GUARDED:
                await self._connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


class Simulated:
    """The simulation's, with a clock of the suite's."""

    def __init__(self) -> None:
        self._clock = TickingClock(BEGINNING, STEP)
        self._database = SimulatedDatabase(self._clock.now)
        self._connection = self._database.direct()
        self.doubts: Doubts = self._database.doubts(self._connection)
        self.switch: SwitchRows = self._database.switch(self._connection)
        self.parked: ParkedRows = self._database.parked(self._connection)
        self.executions: Executions = self._database.executions(self._connection)
        self.comparisons: ComparisonRows = self._database.comparisons(self._connection)
        self.event_log: EventLog = self._database.event_log(self._connection, SystemClock())

    def rows(self, deadlines: Deadlines = DEADLINES) -> Rows:
        return self._database.rows(deadlines, self._connection)

    def order_queue(self, deadlines: Deadlines = DEADLINES) -> OrderQueueRows:
        return self._database.order_queue(deadlines, self._connection)

    async def now(self) -> datetime:
        return self._clock.now()

    async def let_pass(self, seconds: float) -> None:
        self._clock.time += timedelta(seconds=seconds)

    async def contents(self) -> Contents:
        tables = self._database.tables
        rows: dict[str, list[tuple[Any, ...]]] = {
            "order_keys": list(tables.keys.items()),
            "order_queue": [(order_id, *waiting) for order_id, waiting in tables.queue.items()],
            "order_queue_sums": [(delta,) for delta in tables.queue_sums],
            "order_batches": list(tables.batches.values()),
            "attempts": [
                (order_id, number, attempt.fence, attempt.claimed_by, attempt.send_by, attempt.accept_by)
                for order_id, attempts in tables.attempts.items()
                for number, attempt in attempts.items()
            ],
            "attempt_answers": [(*claim, *answer) for claim, answer in tables.answers.items()],
            "doubts": [
                (order_id, *(getattr(doubt, name) for name in COLUMNS["doubts"][1:]))
                for order_id, doubt in tables.doubts.items()
            ],
            "cancel_requests": list(tables.cancels.items()),
            "sightings": list(tables.sightings.items()),
            "orphans": [tuple(orphan[name] for name in COLUMNS["orphans"]) for orphan in tables.orphans.values()],
            "parked": [tuple(row[name] for name in COLUMNS["parked"]) for row in tables.parked.values()],
            "sweep_positions": [(venue, *position) for venue, position in tables.sweeps.items()],
            "venue_epochs": [(*epoch, begun_at) for epoch, begun_at in tables.epochs.items()],
            **self._reports(),
        }
        orders = [
            {name: row[name] for name in COLUMNS["orders"]} for all_ in tables.orders.values() for row in all_.values()
        ]
        others = {
            table: in_order([dict(zip(COLUMNS[table], row, strict=True)) for row in rows[table]]) for table in rows
        }
        return {"orders": in_order(orders), **others}

    def _reports(self) -> dict[str, list[tuple[Any, ...]]]:
        reports = self._database.tables.reports
        executions = [row for rows in reports.executions.values() for row in rows.values()]
        kept = {"executions": executions, "execution_inbox": reports.inbox.values(), "feeds": reports.feeds.values()}
        return {
            **{table: [tuple(row[name] for name in COLUMNS[table]) for row in rows] for table, rows in kept.items()},
            "execution_epochs": [(*epoch, session) for epoch, session in reports.epochs.items()],
            "execution_coverage": [
                (venue, epoch, "{" + ",".join(f"[{first},{last + 1})" for first, last in ranges) + "}")
                for venue, epoch, ranges in reports.coverage
            ],
            "position_sums": [
                (
                    [instrument for instrument, _ in sorted(sums)],
                    [side for _, side in sorted(sums)],
                    [Decimal(sums[key][0]) for key in sorted(sums)],
                    [sums[key][1] for key in sorted(sums)],
                )
                for sums in reports.position_sums
            ],
            "position_revisions": [(*key, *times) for key, times in reports.revisions.items()],
            "parked_retries": list(reports.retries.values()),
            "event_log": [tuple(row[name] for name in COLUMNS["event_log"]) for row in self._database.tables.log.rows],
        }

    async def actions(self) -> list[Record]:
        return list(self._database.tables.actions)

    async def clear(self) -> None:
        self._database = SimulatedDatabase(self._clock.now)
        self._connection = self._database.direct()
        self.doubts = self._database.doubts(self._connection)
        self.switch = self._database.switch(self._connection)
        self.parked = self._database.parked(self._connection)
        self.executions = self._database.executions(self._connection)
        self.comparisons = self._database.comparisons(self._connection)
        self.event_log = self._database.event_log(self._connection, SystemClock())

    async def together(self, *calls: Coroutine[Any, Any, T]) -> list[T]:
        return await asyncio.gather(*calls)


def in_order(records: list[Record]) -> list[Record]:
    """Sorted, for tables have no order; `created_at`, which does not say so, is in UTC; the exchange's is no age."""
    for record in records:
        for name, value in record.items():
            if name == "transact_time":
                record[name] = value.astimezone(UTC).isoformat()
            elif isinstance(value, datetime) and value.tzinfo is None:
                record[name] = value.replace(tzinfo=UTC)
    return sorted(records, key=lambda record: [str(value) for value in record.values()])


@contextlib.asynccontextmanager
async def postgres(database_url: str) -> AsyncIterator[DatabaseSubject]:
    """PostgreSQL, through the connections that the service has."""
    database = Database(database_url, timeout_seconds=WAIT_SECONDS_MAX, connections_max=CONNECTIONS_MAX)
    await database.open()
    connection = await asyncpg.connect(database_url)
    try:
        yield Postgres(database, connection)
    finally:
        await connection.close()
        await database.close()


@contextlib.asynccontextmanager
async def simulated() -> AsyncIterator[DatabaseSubject]:
    """The simulated database, over connections on which nothing goes wrong."""
    yield Simulated()
