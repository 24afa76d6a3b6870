"""`ordertrail halt` and `resume` as an operator types them: what they wait for, what they say, what stays."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.switch import PostgresSwitch
from tests.support.http_calls import call
from tests.support.orders import new_id
from tests.support.postgres import execute, fetch
from tests.support.programs import Program, exchange_program
from tests.support.switch import halt
from tests.support.until import until

WAIT_SECONDS = 60


@dataclass
class Site:
    database_url: str
    exchange: Program
    folder: Path

    def environment(self, **settings: object) -> dict[str, str]:
        return {
            **os.environ,
            "ORDERTRAIL_DATABASE_URL": self.database_url,
            "ORDERTRAIL_EXCHANGE_URL": self.exchange.url,
            "ORDERTRAIL_DATA_DIR": str(self.folder),
            "ORDERTRAIL_EXCHANGE_TIMEOUT_SECONDS": "5",
            **{f"ORDERTRAIL_{name.upper()}": str(value) for name, value in settings.items()},
        }

    def command(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ordertrail", *arguments],
            env=self.environment(**settings),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(record) for record in fetch(self.database_url, sql)]

    def actions(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT action, origin, reason FROM operator_actions ORDER BY id")

    def initiated(self, *, send_seconds: float) -> None:
        """An order that a process has recorded and is about to send."""
        order_id = new_id()
        execute(
            self.database_url,
            "INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status, send_by) VALUES"
            f" ('{order_id}', 'limit', 'buy', 'AAPL12345678', 1, 1, 'INITIATED',"
            f" clock_timestamp() + interval '{send_seconds} seconds');"
            f"INSERT INTO order_batches (due_at, order_ids) VALUES (now() + interval '1 hour', ARRAY['{order_id}'])",
        )

    def rest(self, *instruments: str) -> None:
        """Orders that are open at the exchange."""
        for instrument in instruments:
            order = {"type": "limit", "side": "buy", "instrument": instrument, "limit_price": "1", "quantity": 1}
            status, _ = call("POST", f"{self.exchange.url}/v1/orders", {"client_order_id": new_id(), **order})
            assert status == 201


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with exchange_program(tmp_path / "exchange") as exchange:
        yield Site(database_url, exchange, tmp_path)


def test_halt_returns_when_the_send_window_of_what_was_before_is_over(site: Site) -> None:
    site.initiated(send_seconds=4)

    said = site.command("halt", "--reason", "venue asked", send_window_seconds=4)

    assert said.returncode == 0, said.stderr
    assert site.query("SELECT clock_timestamp() >= max(send_by) FROM orders") == [(True,)]
    assert "nothing leaves any more" in said.stdout
    assert "Still on their way: 1 order" in said.stdout
    assert site.actions() == [("halt", "cli", "venue asked")]


def test_halt_returns_at_once_where_nothing_is_under_way(site: Site) -> None:
    said = site.command("halt", send_window_seconds=1000)

    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0] == "Placing is halted, and nothing leaves any more."


def test_hurried_operator_does_not_wait_and_reads_what_may_leave(site: Site) -> None:
    site.initiated(send_seconds=1000)

    said = site.command("halt", "--no-wait", send_window_seconds=1000)

    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Placing is halted; 1 send may still leave within the send window.")


def test_halt_says_what_is_live_at_the_exchange(site: Site) -> None:
    nothing = site.command("halt")
    site.rest("AAPL12345678", "MSFT12345678", "MSFT12345678")

    human, machine = site.command("halt"), site.command("halt", "--json")

    assert "Live at the exchange, by its own list of open orders: none." in nothing.stdout
    assert "open orders: 3 (MSFT12345678 2, AAPL12345678 1)" in human.stdout
    document = json.loads(machine.stdout)
    assert (document["live"], document["live_by_instrument"]) == (3, {"AAPL12345678": 1, "MSFT12345678": 2})
    assert (document["is_halted"], document["startable"], document["unanswered"]) == (True, 0, 0)


@pytest.mark.parametrize("exchange_url", ["http://127.0.0.1:1", "simulated:"])
def test_halt_stands_though_the_exchange_is_out_of_reach(site: Site, exchange_url: str) -> None:
    said = site.command("halt", exchange_url=exchange_url)

    assert said.returncode == 0, said.stderr
    assert "What is live at the exchange is not known: " in said.stdout
    assert site.actions() == [("halt", "cli", None)]


def test_reason_is_kept_as_one_line(site: Site) -> None:
    site.command("halt", "--reason", "two\nlines\x1b[31m " + "x" * 1000)
    resumed = site.command("resume", "--reason", "all well")

    (_, _, why), last = site.actions()
    assert why.startswith("two lines [31m xxx") and len(why) == 200
    assert last == ("resume", "cli", "all well")
    assert "Placing was halted at " in resumed.stdout


def test_person_at_a_terminal_halts_before_giving_a_reason(site: Site) -> None:
    ours, theirs = pty.openpty()
    halting = subprocess.Popen(
        [sys.executable, "-m", "ordertrail", "halt"],
        env=site.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    try:
        until(lambda: site.actions() == [("halt", "cli", None)])
        os.write(ours, b"venue asked\n")
        stdout, _ = halting.communicate(timeout=WAIT_SECONDS)
    finally:
        halting.kill()
        os.close(ours)

    assert halting.returncode == 0
    assert stdout.startswith("Placing is halted")
    assert site.actions() == [("halt", "cli", None), ("halt", "cli", "venue asked")]


def test_halt_that_comes_while_a_person_says_why_to_resume_stands(site: Site) -> None:
    site.command("halt")
    ours, theirs = pty.openpty()
    resuming = subprocess.Popen(
        [sys.executable, "-m", "ordertrail", "resume"],
        env=site.environment(),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        prompt = b""
        while b"Why" not in prompt:
            prompt += os.read(ours, 1000)
        site.command("halt", "--reason", "again")
        os.write(ours, b"all well\n")
        resuming.wait(WAIT_SECONDS)
        said = os.read(ours, 10_000).decode()
    finally:
        resuming.kill()
        os.close(ours)

    assert resuming.returncode == 1
    assert "again. That is a newer halt: nothing was changed." in said
    assert site.actions() == [("halt", "cli", None), ("halt", "cli", "again")]


async def test_statement_older_than_the_halt_is_waited_for(database_url: str) -> None:
    database = Database(database_url, timeout_seconds=20, connections_max=1)
    await database.open()
    switch = PostgresSwitch(database)
    earlier, later = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        await earlier.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await earlier.fetch("SELECT 1")
        halted = await halt(switch)
        before = await switch.under_way(halted)
        await earlier.execute("COMMIT")
        await later.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await later.fetch("SELECT 1")

        after = await switch.under_way(halted)

        assert (before.has_earlier_statements, after.has_earlier_statements) == (True, False)
    finally:
        await asyncio.gather(earlier.close(), later.close(), database.close())


async def test_the_switch_stands_as_who_turned_it_last_left_it(database_url: str) -> None:
    first, second = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    database = Database(database_url, timeout_seconds=20, connections_max=1)
    await database.open()
    lock = "SELECT pg_advisory_xact_lock(7305112027)"
    try:
        await first.execute("BEGIN")
        await first.execute(lock)
        turning = asyncio.create_task(halt(PostgresSwitch(database)))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(WAIT_SECONDS):
            while not await second.fetchval(waiting):
                continue
        await first.execute("INSERT INTO operator_actions (action, operator, origin) VALUES ('resume', 'bob', 'cli')")
        await first.execute("COMMIT")
        await turning

        assert (await PostgresSwitch(database).read()).is_halted
    finally:
        await asyncio.gather(first.close(), second.close(), database.close())
