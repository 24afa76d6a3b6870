"""What only a PostgreSQL of a distribution shows: a failover to its standby, TLS, and a pooler before it."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.postgres.database import Database, DatabaseUnsuitable
from ordertrail.storage.postgres.migrate import migrate
from tests.support.postgres import execute, fetch, open_folder, run
from tests.support.programs import api_program
from tests.support.service import ScriptedVenue, running
from tests.support.system_postgres import (
    SystemPostgres,
    make_certificates,
    needs_pgbouncer,
    needs_system_postgres,
    pgbouncer,
    standby_of,
    system_postgres,
)
from tests.support.until import until

pytestmark = pytest.mark.machine

HOW_IT_IS_CONNECTED = """
SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()
"""


async def first_answer(url: str, sql: str, *, timeout_seconds: float = 20) -> object:
    database = Database(url, timeout_seconds=timeout_seconds, connections_max=2)
    await database.open()
    try:
        return (await database.fetch(sql))[0][0]
    finally:
        await database.close()


@needs_system_postgres
async def test_orders_are_placed_while_a_standby_takes_over(tmp_path: Path) -> None:
    with system_postgres() as primary, standby_of(primary) as standby:
        url = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
        async with running(url, tmp_path, ScriptedVenue()) as service:
            before = await service.place()
            caught_up = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            written = fetch(primary.url, "SELECT pg_current_wal_lsn()::text")[0][0]
            until(lambda: fetch(standby.url, caught_up, written)[0][0])
            await asyncio.to_thread(primary.stop, signal.SIGQUIT)

            placing = [asyncio.create_task(service.place()) for _ in range(4)]
            await asyncio.to_thread(standby.promote)
            replies = await asyncio.gather(*placing)

            assert [reply.status for reply in (before, *replies)] == [201] * 5
            await service.service.watch.run_once()
            assert service.service.watch.problem is None
        assert fetch(standby.url, "SELECT count(*) FROM orders")[0][0] == 10


@needs_system_postgres
async def test_database_that_is_a_standby_is_no_database_yet() -> None:
    with (
        system_postgres() as primary,
        standby_of(primary) as standby,
        pytest.raises(StatementOutcomeUnknown, match="read-only") as caught,
    ):
        await first_answer(standby.url, "SELECT 1")

    assert not caught.value.may_have_happened


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    with open_folder() as folder:
        make_certificates(folder)
        (folder / "other").mkdir()
        make_certificates(folder / "other")
        yield folder


@pytest.fixture(scope="module")
def tls_server(certificates: Path) -> Iterator[SystemPostgres]:
    files = {"ssl_cert_file": str(certificates / "server.pem"), "ssl_key_file": str(certificates / "server.key")}
    with system_postgres(ssl="on", **files) as server:
        (server.folder / "data" / "pg_hba.conf").write_text(
            "hostssl all tls 127.0.0.1/32 trust\nhost all postgres 127.0.0.1/32 trust\n"
        )
        execute(server.url, "CREATE ROLE tls LOGIN")
        execute(server.url, "SELECT pg_reload_conf()")
        yield server


IS_BAD = "certificate verify failed"
TLS_CASES = {
    "require": ("127.0.0.1", "sslmode=require", None),
    "prefer, which is the default": ("127.0.0.1", "", None),
    "disable": ("127.0.0.1", "sslmode=disable", "no encryption|hba"),
    "verify-ca": ("127.0.0.1", "sslmode=verify-ca&sslrootcert={ca}", None),
    "verify-ca, another authority": ("127.0.0.1", "sslmode=verify-ca&sslrootcert={other}", IS_BAD),
    "verify-full": ("localhost", "sslmode=verify-full&sslrootcert={ca}", None),
    "verify-full, another host": ("127.0.0.1", "sslmode=verify-full&sslrootcert={ca}", IS_BAD),
    "verify-full, another authority": ("localhost", "sslmode=verify-full&sslrootcert={other}", IS_BAD),
    "verify-full, the system's authorities": ("localhost", "sslmode=verify-full&sslrootcert=system", IS_BAD),
    "verify-full, no such file": ("localhost", "sslmode=verify-full&sslrootcert=/nowhere", "No such file|root cert"),
}


@needs_system_postgres
@pytest.mark.parametrize("case", TLS_CASES)
async def test_tls_is_as_strict_as_the_url_says(tls_server: SystemPostgres, certificates: Path, case: str) -> None:
    host, query, problem = TLS_CASES[case]
    query = query.format(ca=certificates / "ca.pem", other=certificates / "other" / "ca.pem")
    url = f"postgresql://tls@{host}:{tls_server.port}/postgres?{query}".rstrip("?")

    if problem is None:
        assert await first_answer(url, HOW_IT_IS_CONNECTED) is True
    else:
        with pytest.raises(StatementOutcomeUnknown, match=problem):
            await first_answer(url, HOW_IT_IS_CONNECTED)


@needs_system_postgres
def test_migrations_read_the_same_urls_as_the_pool(tls_server: SystemPostgres, certificates: Path) -> None:
    execute(tls_server.url, "CREATE DATABASE migrated OWNER tls")
    keywords = (
        f"host=localhost port={tls_server.port} user=tls dbname=migrated sslmode=verify-full "
        f"sslrootcert={certificates / 'ca.pem'}"
    )

    run(migrate(keywords))

    found = fetch(tls_server.url.rpartition("/")[0] + "/migrated", "SELECT count(*) FROM orders")
    assert found[0][0] == 0


@needs_pgbouncer
@pytest.mark.parametrize("options", [{}, {"ignore_startup_parameters": "options"}], ids=["as it comes", "lenient"])
async def test_pooler_by_session_is_a_database_like_any_other(tmp_path: Path, options: dict[str, str]) -> None:
    with system_postgres() as server, pgbouncer(server, pool_mode="session", **options) as url:
        async with running(url, tmp_path, ScriptedVenue()) as service:
            assert (await service.place()).status == 201
            assert (await service.call("GET", "/readyz")).status == 200
            settings = await service.service.database.fetch("SHOW enable_seqscan")

    assert settings[0][0] == "off"


@needs_pgbouncer
async def test_pooler_by_session_that_has_no_second_server_is_a_database_too() -> None:
    with system_postgres() as server, pgbouncer(server, pool_mode="session", default_pool_size="1") as url:
        assert await first_answer(url, "SELECT 1", timeout_seconds=4) == 1


@needs_pgbouncer
async def test_pooler_that_moves_a_session_later_is_found_out_by_a_ping() -> None:
    with system_postgres() as server, pgbouncer(server, pool_mode="transaction") as url:
        database = Database(url, timeout_seconds=10, connections_max=2)
        database._connector._is_known_to_be_ours = True
        await database.open()
        async with database.connection() as first, database.connection() as second:
            await first.execute("BEGIN")
            await second.execute("BEGIN")
            await first.execute("COMMIT")
            await second.execute("COMMIT")

        # Each session may have the server on which the other was prepared.
        pings = [await asyncio.gather(database.ping(), return_exceptions=True) for _ in range(3)]
        await database.close()

    assert any(isinstance(ping, DatabaseUnsuitable) for [ping] in pings)


@needs_pgbouncer
@pytest.mark.parametrize("pool_mode", ["transaction", "statement"])
@pytest.mark.parametrize("pool_size", ["20", "1"])
def test_pooler_by_transaction_is_refused_with_a_sentence(tmp_path: Path, pool_mode: str, pool_size: str) -> None:
    with (
        system_postgres() as server,
        pgbouncer(server, pool_mode=pool_mode, default_pool_size=pool_size) as url,
        pytest.raises(
            AssertionError, match=r"ordertrail: .*a pooler hands out its connections by transaction"
        ) as caught,
        api_program(url, tmp_path, exchange_url="simulated:"),
    ):
        pass

    assert "Traceback" not in str(caught.value)
