"""One PostgreSQL with its defaults for all contenders, and a fresh database for every run."""

import asyncio
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from ordertrail.up.embedded_postgres import EmbeddedPostgres
from ordertrail.up.postgres_home import find_home

MAJOR = 18
_RIVALS = Path(__file__).parent / "rivals"
SCHEMA = (_RIVALS / "schema.sql").read_text()
SCRIPT = _RIVALS / "placement.pgbench.sql"


class Postgres:
    """The server, and what the benchmark wants of it."""

    def __init__(self, folder: Path, server: EmbeddedPostgres) -> None:
        self._server = server
        self._pgbench = find_home(folder, MAJOR).program("pgbench")

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """An empty database, gone afterwards; nothing that others have written is left to be flushed meanwhile."""
        name = f"bench_{secrets.token_hex(4)}"
        self.execute(self._server.url, f"CREATE DATABASE {name}")
        self.execute(self._server.url, "CHECKPOINT")
        try:
            yield self._server.url.rpartition("/")[0] + f"/{name}"
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Once no autovacuum is at work in it, which our role may not end; for long, it goes with the server."""
        for _ in range(120):
            with suppress(asyncpg.InsufficientPrivilegeError):
                self.execute(self._server.url, f"DROP DATABASE {name} WITH (FORCE)")
                return
            time.sleep(0.5)
        print(f"{name} is still being vacuumed; it goes with the server", file=sys.stderr)

    def execute(self, url: str, statements: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(url, timeout=30)
            try:
                await connection.execute(statements, timeout=120)
            finally:
                await connection.close()

        asyncio.run(run())

    def query(self, url: str, statement: str) -> list[Any]:
        async def run() -> list[Any]:
            connection = await asyncpg.connect(url, timeout=30)
            try:
                return list(await connection.fetch(statement, timeout=120))
            finally:
                await connection.close()

        return asyncio.run(run())

    def version(self) -> str:
        return str(self.query(self._server.url, "SELECT current_setting('server_version')")[0][0])

    def run_pgbench(self, url: str, *, clients: int, seconds: int) -> str:
        """Its report."""
        options = f"-n -M prepared -c {clients} -j 2 -T {seconds} -f".split()
        done = subprocess.run(
            [self._pgbench, *options, SCRIPT, url],
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"pgbench: {done.stderr[-2000:]}")
        return done.stdout


@contextmanager
def open_postgres(parent: Path, *, options: Mapping[str, str] | None = None) -> Iterator[tuple[Path, Postgres]]:
    """A server of our own below `parent`, and the folder beside its data; all gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ordertrail-bench-", dir=parent))
    folder.chmod(0o755)
    try:
        with EmbeddedPostgres(folder / "postgres", major=MAJOR, options=options) as server:
            yield folder, Postgres(folder / "postgres", server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
