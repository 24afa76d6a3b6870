"""The simulated database as the operations on rows see it: `Rows`, `DoubtRows` and `SweepRows` on tables in memory.

The operations themselves are PostgreSQL's own; what lies below them are the statements of `tables.py`. So an operation
that is several transactions in PostgreSQL is as many here, and its failures between them are the same.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar, cast

from ordertrail.domain.deadlines import Deadlines
from ordertrail.runtime.clock import Clock
from ordertrail.storage.postgres.comparisons import PostgresComparisons
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts
from ordertrail.storage.postgres.event_log import PostgresEventLog
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.order_queue import PostgresOrderQueue
from ordertrail.storage.postgres.orders import PostgresRows
from ordertrail.storage.postgres.parked import PostgresParked
from ordertrail.storage.postgres.switch import PostgresSwitch
from tests.simulation import tables
from tests.simulation.tables import Connection, Tables

T = TypeVar("T")


class Direct:
    """A connection on which nothing goes wrong."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def transact(self, name: str, work: Callable[[datetime], T]) -> T:
        """Run `work` after everybody else has had a turn."""
        await asyncio.sleep(0)
        return work(self._now())


class SimulatedDatabase:
    """The server: its tables outlive whoever is connected. `now` is its clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._server = tables.SimulatedDatabase()

    @property
    def tables(self) -> Tables:
        """Everything that is committed, to be read."""
        return self._server.tables

    def direct(self) -> Direct:
        """A connection without faults."""
        return Direct(self._now)

    def rows(self, deadlines: Deadlines, connection: Connection) -> PostgresRows:
        """`Rows` over a connection."""
        return PostgresRows(self._over(connection), deadlines)

    def doubts(self, connection: Connection) -> PostgresDoubts:
        """`DoubtRows` and `SweepRows` over a connection."""
        return PostgresDoubts(self._over(connection))

    def switch(self, connection: Connection) -> PostgresSwitch:
        """`SwitchRows` over a connection."""
        return PostgresSwitch(self._over(connection))

    def parked(self, connection: Connection) -> PostgresParked:
        """`ParkedRows` over a connection."""
        return PostgresParked(self._over(connection))

    def executions(self, connection: Connection) -> PostgresExecutions:
        """`ExecutionRows`, `InboxRows` and `FeedRows` over a connection."""
        return PostgresExecutions(self._over(connection))

    def comparisons(self, connection: Connection) -> PostgresComparisons:
        """`ComparisonRows` over a connection."""
        return PostgresComparisons(self._over(connection))

    def order_queue(self, deadlines: Deadlines, connection: Connection) -> PostgresOrderQueue:
        """`OrderQueueRows` over a connection."""
        return PostgresOrderQueue(self._over(connection), deadlines)

    def event_log(self, connection: Connection, clock: Clock) -> PostgresEventLog:
        """`EventLog` over a connection."""
        return PostgresEventLog(self._over(connection), clock)

    def _over(self, connection: Connection) -> Database:
        return cast("Database", self._server.session(connection))
