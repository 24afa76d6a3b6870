"""Connections to PostgreSQL, and the one place where its failures get our names."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.postgres.connection_statements import BEGIN, COMMIT, PREPARE_SESSION

# Errors after which the statement may have been committed all the same: the operator or the network ended it.
_LOST_CLASSES = ("08", "57", "58")

# Every statement of ours finds rows by their keys. Planned while a table is still small, one may be kept that reads
# all of it, and is slower with every order.
SESSION_SETTINGS = {
    "application_name": "ordertrail",
    "timezone": "UTC",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class Database:
    """A pool that connects when it is first needed, so that a process can wait for its database.

    Every call has `timeout_seconds`. A connection on which anything but a plain answer came is thrown away.
    """

    def __init__(self, url: str, *, timeout_seconds: float, connections_max: int) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._connections_max = connections_max
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        # Kept at hand, for the pool's own way in and out takes longer than a statement's.
        self._idle: list[Any] = []
        self._wanted = 0

    async def open(self) -> None:
        """Prepare the pool; does not connect."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._connections_max,
            timeout=self._timeout_seconds,
            init=_prepare_session,
            reset=_keep_session,
            max_inactive_connection_lifetime=0,
            server_settings={
                **SESSION_SETTINGS,
                "lock_timeout": f"{max(1, int(self._timeout_seconds * 1000 / 4))}",
            },
        )

    async def close(self) -> None:
        """Close every connection, at once those that do not answer."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    while self._idle:
                        await self._pool.release(self._idle.pop())
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement in a transaction of its own."""
        async with self.connection() as connection:
            records: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return records

    async def fetch_in_order(self, *calls: tuple[str, Sequence[object]]) -> list[asyncpg.Record]:
        """Run statements in one transaction, each of which sees what was committed before it began.

        Returns what the last one returned.
        """
        records: list[asyncpg.Record] = []
        async with self.connection() as connection:
            # Not the driver's own transaction: it would wait without end to roll back on a connection that is silent.
            await connection.execute(BEGIN)
            for sql, arguments in calls:
                records = await connection.fetch(sql, *arguments)
            await connection.execute(COMMIT)
        return records

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection, with failures inside the block renamed; the block as a whole has the timeout."""
        assert self._pool is not None, "open() comes first"
        connection = self._take_idle()
        if connection is None:
            self._wanted += 1
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    connection = await self._pool.acquire()
            except Exception as error:
                # Here too the driver raises others than its own errors, where the server goes away as we connect.
                raise StatementOutcomeUnknown(f"cannot connect: {_text(error)}", may_have_happened=False) from error
            finally:
                self._wanted -= 1
        is_clean = False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield connection
            is_clean = True
        except asyncpg.PostgresError as error:
            code = error.sqlstate or ""
            if code[:2] in _LOST_CLASSES or not code:
                raise StatementOutcomeUnknown(f"{code} {_text(error)}", may_have_happened=True) from error
            is_clean = _is_idle(connection)
            raise StatementFailed(code, _text(error)) from error
        except Exception as error:
            # Beside its own errors the driver raises others where a connection is cut under a statement.
            raise StatementOutcomeUnknown(f"{type(error).__name__}: {error}", may_have_happened=True) from error
        finally:
            if is_clean and not self._wanted:
                self._idle.append(connection)
            else:
                await self._let_go(connection, is_clean=is_clean)

    def _take_idle(self) -> Any:
        """A connection that is at hand and still open; None: there is none."""
        while self._idle:
            connection = self._idle.pop()
            # The pool has let go already of most that closed, and such a one then refuses to answer.
            with suppress(asyncpg.InterfaceError):
                if not connection.is_closed():
                    return connection
            _terminate(connection)
        return None

    async def _let_go(self, connection: Any, *, is_clean: bool) -> None:
        assert self._pool is not None
        if not is_clean:
            _terminate(connection)
        # Whether the statement was committed is known by now; how the connection ends must not change that.
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._pool.release(connection)


async def _prepare_session(connection: Any) -> None:
    await connection.execute(PREPARE_SESSION)


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
