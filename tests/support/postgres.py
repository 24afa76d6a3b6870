"""Real PostgreSQL for tests: one embedded server for each xdist worker, one database for each test.

`database_url` is a fresh, migrated database; `empty_database_url` one without tables; `own_postgres` a server
that a test may kill; `postgres_16_url` an empty database on the other major version, for an external server.
"""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from ordertrail.storage.postgres.migrate import migrate
from ordertrail.up.embedded_postgres import STOP_QUICKLY, EmbeddedPostgres

# What the driver raises where a server is not there, or goes away.
UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

T = TypeVar("T")

TEMPLATE = "migrated"

# Nothing here outlives the machine, so nothing needs to reach its disk.
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "max_wal_size": "128MB",
    # Its workers keep a database from being dropped by a role that may not end them.
    "autovacuum": "off",
}
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 2**30


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that every account may enter, in memory where that is ample; pytest's are for one account."""
    is_ample = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    folder = Path(tempfile.mkdtemp(prefix="ordertrail-test-", dir=MEMORY if is_ample else None))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def temporary_postgres(major: int = 18) -> Iterator[EmbeddedPostgres]:
    with open_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres", major=major, options=OPTIONS)
        server.start()
        try:
            yield server
        finally:
            server.stop(STOP_QUICKLY)


@contextmanager
def temporary_database(server: EmbeddedPostgres, template: str = "template1") -> Iterator[str]:
    """A database that is gone afterwards, whoever is still connected to it."""
    name = f"test_{secrets.token_hex(6)}"
    execute(server.url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield url_of(server, name)
    finally:
        execute(server.url, f"DROP DATABASE {name} WITH (FORCE)")


def url_of(server: EmbeddedPostgres, name: str) -> str:
    return server.url.rpartition("/")[0] + f"/{name}"


def execute(url: str, statement: str) -> None:
    """Run one statement over a connection of its own, from synchronous code."""

    async def connect_and_execute() -> None:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    run(connect_and_execute())


def refuse_connections(url: str) -> None:
    """Take this database away: it takes no connections, and those there are end."""
    name = url.rpartition("/")[2]
    execute(_elsewhere(url), f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    execute(_elsewhere(url), f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def allow_connections(url: str) -> None:
    """Bring it back."""
    execute(_elsewhere(url), f"ALTER DATABASE {url.rpartition('/')[2]} ALLOW_CONNECTIONS true")


def _elsewhere(url: str) -> str:
    """The server's maintenance database, for a database that is taken away cannot be asked."""
    return url.rpartition("/")[0] + "/postgres"


def fetch(url: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """Read over a connection of its own, from synchronous code."""

    async def connect_and_fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            records: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return records
        finally:
            await connection.close()

    return run(connect_and_fetch())


def trail(url: str, order_id: str) -> list[tuple[str, str | None]]:
    """Status and reason of an order's rows, in the order of the statuses' names."""
    records = fetch(url, "SELECT status::text, reason FROM orders WHERE id = $1 ORDER BY status::text", order_id)
    return [(record["status"], record["reason"]) for record in records]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a thread of its own, for this one's event loop may be somebody else's."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: EmbeddedPostgres) -> str:
    execute(postgres_server.url, f"CREATE DATABASE {TEMPLATE}")
    run(migrate(url_of(postgres_server, TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    with temporary_database(postgres_server, migrated_template) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_16() -> Iterator[EmbeddedPostgres]:
    with temporary_postgres(major=16) as server:
        yield server


@pytest.fixture
def postgres_16_url(postgres_16: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_16) as url:
        yield url
