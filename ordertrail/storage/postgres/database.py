"""A pool of connections to PostgreSQL, and the one place where its failures get our names."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg

from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.postgres.address import read_address
from ordertrail.storage.postgres.connecting import (
    NOT_WRITABLE,
    PLANNER_SETTINGS,
    POOLED,
    UNREACHABLE,
    Connector,
    Session,
    UnsuitableError,
)
from ordertrail.storage.postgres.connection_statements import BEGIN, COMMIT, PING
from ordertrail.storage.statement_deadline import seconds_for

# Errors after which the statement may have been committed all the same: the operator or the network ended it.
_LOST_CLASSES = ("08", "57", "58")
# Canceled by its own time limit: the server has rolled it back, and says so.
_CANCELED_CODE = "57014"
# The server takes no writes any more, since a failover or for want of space: neither will it on any other connection.
_READ_ONLY_CODE = "25006"
# The statement was prepared for a schema that has changed, or is unknown to the session; it is prepared anew.
_STALE_STATEMENT_CODES = frozenset({"0A000", "26000", "42P05"})
_USELESS_SESSION_CODES = _STALE_STATEMENT_CODES | {_READ_ONLY_CODE}
# Ended for the sake of others, who are done in a moment: serialization, deadlock, a lock that was not to be had.
_CONFLICT_CODES = frozenset({"40001", "40P01", "55P03"})

# What was certainly not executed is repeated so often, within the time of one statement.
REPEATS_MAX = 4
# Before a repeat after a conflict, at most, and twice as long each time; a chance part of it, so that those who met do
# not meet again.
CONFLICT_PAUSE_SECONDS = 0.02
# A connection that has been idle for longer is given up: it may have died without a sign. Firewalls forget sooner or
# later, the quickest known after 4 minutes.
IDLE_SECONDS_MAX = 60.0
# Longer than any of ours can take, with all its statements: an open transaction keeps events from their readers. What
# stays open on an older server ends by the limits of its statements and of the pauses between them.
TRANSACTION_STATEMENTS_MAX = 3

T = TypeVar("T")


class _ReadOnly(StatementOutcomeUnknown):
    """Refused by a session that takes no writes any more; another one may."""


class DatabaseUnsuitable(StatementOutcomeUnknown):
    """Connected to what we must not work with; a person must change something."""

    def __init__(self, text: str) -> None:
        super().__init__(text, may_have_happened=False)


class Database:
    """A pool that connects when it is first needed, so that a process can wait for its database.

    Every call has `timeout_seconds`, with its repeats. A connection on which anything but a plain answer came is
    thrown away; where one was lost or the server takes no writes, all that are idle are, for they may be no better.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        connections_max: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._connections_max = connections_max
        self._chance = chance
        self._connector = Connector(
            read_address(url), session_settings(timeout_seconds=timeout_seconds), timeout_seconds=timeout_seconds
        )
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        # Kept at hand, for the pool's own way in and out takes longer than a statement's; with the time since when.
        self._idle: list[tuple[Any, float]] = []
        self._wanted = 0
        # What waits in the pool since before is no better.
        self._given_up_at = -math.inf

    async def open(self) -> None:
        """Prepare the pool; does not connect."""
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self._connections_max,
            connect=self._connect,
            connection_class=Session,
            reset=_keep_session,
            max_inactive_connection_lifetime=0,
        )

    async def close(self) -> None:
        """Close every connection, at once those that do not answer."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    while self._idle:
                        await self._pool.release(self._idle.pop()[0])
                    await self._pool.close()
            except UNREACHABLE:
                self._pool.terminate()

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement in a transaction of its own."""
        deadline = self._deadline()
        try:
            async with self._connection(deadline) as connection:
                records: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
                return records
        except (StatementFailed, StatementOutcomeUnknown) as error:
            failure = error
        return await self._repeat(lambda connection: connection.fetch(sql, *arguments), failure, deadline)

    async def run(self, act: Callable[[Any], Awaitable[T]]) -> T:
        """Run what may be several statements on one connection; again from its beginning, if it was not executed."""
        deadline = self._deadline()
        try:
            async with self._connection(deadline) as connection:
                return await act(connection)
        except (StatementFailed, StatementOutcomeUnknown) as error:
            failure = error
        return await self._repeat(act, failure, deadline)

    async def fetch_in_order(self, *calls: tuple[str, Sequence[object]]) -> list[asyncpg.Record]:
        """Run statements in one transaction, each of which sees what was committed before it began.

        Returns what the last one returned.
        """

        async def fetch_all(connection: Any) -> list[asyncpg.Record]:
            records: list[asyncpg.Record] = []
            # Not the driver's own transaction: it would wait without end to roll back on a connection that is silent.
            await connection.execute(BEGIN)
            for sql, arguments in calls:
                records = await connection.fetch(sql, *arguments)
            await connection.execute(COMMIT)
            return records

        return await self.run(fetch_all)

    async def ping(self) -> None:
        """Raise if the database cannot be written to; give up connections that have been idle for too long."""
        self._give_up_idle(until=asyncio.get_running_loop().time() - IDLE_SECONDS_MAX)
        async with self.connection() as connection:
            [record] = await connection.fetch(PING)
            is_the_same_session = record["backend_pid"] == connection.backend_pid
        if not is_the_same_session:
            self._give_up_idle()
            raise DatabaseUnsuitable(POOLED)
        if record["is_read_only"]:
            self._give_up_idle()
            raise StatementOutcomeUnknown(f"cannot connect: {NOT_WRITABLE}", may_have_happened=False)

    def connection(self) -> AbstractAsyncContextManager[Any]:
        """A connection, with failures inside the block renamed; connecting and the block together have the timeout."""
        return self._connection(self._deadline())

    @asynccontextmanager
    async def _connection(self, deadline: float) -> AsyncIterator[Any]:
        assert self._pool is not None, "open() comes first"
        connection = self._take_idle()
        if connection is None:
            self._wanted += 1
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await self._acquire()
            except UnsuitableError as error:
                raise DatabaseUnsuitable(str(error)) from error
            except Exception as error:
                # Here too the driver raises others than its own errors, where the server goes away as we connect.
                raise StatementOutcomeUnknown(f"cannot connect: {_text(error)}", may_have_happened=False) from error
            finally:
                self._wanted -= 1
        is_clean = False
        try:
            async with asyncio.timeout_at(deadline):
                yield connection
            is_clean = True
        except asyncpg.PostgresError as error:
            is_clean = error.sqlstate not in _USELESS_SESSION_CODES and _is_idle(connection)
            raise self._renamed(error) from error
        except Exception as error:
            # Beside its own errors the driver raises others where a connection is cut under a statement.
            self._give_up_idle()
            raise StatementOutcomeUnknown(f"{type(error).__name__}: {error}", may_have_happened=True) from error
        finally:
            if is_clean and not self._wanted:
                self._idle.append((connection, asyncio.get_running_loop().time()))
            else:
                await self._let_go(connection, is_clean=is_clean)

    def _renamed(self, error: asyncpg.PostgresError) -> StatementFailed | StatementOutcomeUnknown:
        code = error.sqlstate or ""
        text = f"{code} {_text(error)}"
        if code == _READ_ONLY_CODE:
            self._give_up_idle()
            return _ReadOnly(text, may_have_happened=False)
        if code == _CANCELED_CODE:
            return StatementOutcomeUnknown(text, may_have_happened=False)
        if code[:2] in _LOST_CLASSES or not code:
            self._give_up_idle()
            return StatementOutcomeUnknown(text, may_have_happened=True)
        return StatementFailed(code, _text(error))

    async def _repeat(
        self, act: Callable[[Any], Awaitable[T]], failure: StatementFailed | StatementOutcomeUnknown, deadline: float
    ) -> T:
        """Run again what was certainly not executed, while there is time; all other failures are the caller's."""
        for number in range(REPEATS_MAX):
            pause = 0.0
            if isinstance(failure, StatementFailed) and failure.code in _CONFLICT_CODES:
                pause = CONFLICT_PAUSE_SECONDS * 2**number * self._chance()
            elif not isinstance(failure, _ReadOnly) and not (
                isinstance(failure, StatementFailed) and failure.code in _STALE_STATEMENT_CODES
            ):
                break
            if asyncio.get_running_loop().time() + pause >= deadline:
                break
            if pause:
                await asyncio.sleep(pause)
            try:
                async with self._connection(deadline) as connection:
                    return await act(connection)
            except (StatementFailed, StatementOutcomeUnknown) as error:
                failure = error
        raise failure

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + seconds_for(self._timeout_seconds)

    async def _acquire(self) -> Any:
        """A new connection, or one that was left in the pool for somebody else who waited then."""
        assert self._pool is not None
        while True:
            connection: Any = await self._pool.acquire()
            oldest = max(self._given_up_at, asyncio.get_running_loop().time() - IDLE_SECONDS_MAX)
            if connection.left_at > oldest:
                return connection
            await self._let_go(connection, is_clean=False)

    def _take_idle(self) -> Any:
        """A connection that is at hand, still open, and was in use not long ago; None: there is none."""
        if not self._idle:
            return None
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS_MAX
        while self._idle:
            connection, since = self._idle.pop()
            # The pool has let go already of most that closed, and such a one then refuses to answer.
            with suppress(asyncpg.InterfaceError):
                if since > oldest and not connection.is_closed():
                    return connection
            _terminate(connection)
        return None

    def _give_up_idle(self, *, until: float = math.inf) -> None:
        """Close the connections that have been idle since `until` or longer, and do not wait for it."""
        self._given_up_at = max(self._given_up_at, min(until, asyncio.get_running_loop().time()))
        kept = self._idle
        self._idle = []
        for connection, since in kept:
            if since > until:
                self._idle.append((connection, since))
            else:
                _terminate(connection)

    async def _let_go(self, connection: Any, *, is_clean: bool) -> None:
        assert self._pool is not None
        if is_clean:
            connection.leave(asyncio.get_running_loop().time())
        else:
            _terminate(connection)
        # Whether the statement was committed is known by now; how the connection ends must not change that.
        with suppress(*UNREACHABLE):
            await self._pool.release(connection)

    async def _connect(self, *_: object, **__: object) -> Session:
        """As the pool calls it."""
        return await self._connector.connect()


def session_settings(*, timeout_seconds: float) -> dict[str, str]:
    """What bounds the statements of a session, beside the settings that all connections have.

    A statement to which nobody listens any more ends, and a transaction that a stopped process has left open.
    """
    milliseconds = f"{max(1, int(timeout_seconds * 1000))}ms"
    in_all = f"{max(1, int(timeout_seconds * 1000 * TRANSACTION_STATEMENTS_MAX))}ms"
    return {
        **PLANNER_SETTINGS,
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        "transaction_timeout": in_all,
        "lock_timeout": f"{max(1, int(timeout_seconds * 1000 / 4))}ms",
    }


async def _keep_session(connection: Any) -> None:
    """No statement of ours leaves anything behind that asyncpg's reset would have to clear."""


def _is_idle(connection: Any) -> bool:
    try:
        return not connection.is_in_transaction()
    except asyncpg.InterfaceError:
        return False


def _terminate(connection: Any) -> None:
    # The pool has let go already of a connection that was cut from the other side, and then refuses to answer.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
