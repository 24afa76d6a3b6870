"""`ordertrail feed`, `process` and `parked replay` as a person runs them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ordertrail.cli.main import main
from ordertrail.queues.queue import Frame
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.inbox_queue import InboxQueue
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.executions import PostgresExecutions
from tests.support.executions import VENUE, frame, report
from tests.support.postgres import execute, fetch, run
from tests.support.programs import exchange_program
from tests.support.until import until

WAIT_SECONDS = 60
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """A command of ours in this process: exit code, what it printed, and what it said beside."""
    monkeypatch.setenv("ORDERTRAIL_DATABASE_URL", database_url)
    monkeypatch.setenv("ORDERTRAIL_EXCHANGE_URL", "simulated:")
    monkeypatch.setenv("ORDERTRAIL_DATA_DIR", str(tmp_path))

    def act(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return act


def put(url: str, *frames: Frame) -> None:
    async def publish() -> None:
        database = Database(url, timeout_seconds=20, connections_max=1)
        await database.open()
        try:
            queue = InboxQueue(PostgresExecutions(database), SystemClock(), venue=VENUE, bytes_max=10**9)
            for each in frames:
                await queue.publish(each, after=None)
        finally:
            await database.close()

    run(publish())


def accept(url: str, order_id: str) -> None:
    for status in ("INITIATED", "COMPLETED"):
        execute(
            url,
            "INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status) "
            f"VALUES ('{order_id}', now(), 'limit', 'buy', 'AAPL12345678', 150, 10, '{status}')",
        )


def test_what_waits_is_worked_off_once_and_said(database_url: str, command: Command) -> None:
    accept(database_url, "order-1")
    put(database_url, frame(report(1), report(2)), frame(report(1)))

    code, printed, _ = command("process", "--once", "--json")
    again, nothing, _ = command("process", "--once")

    assert (code, json.loads(printed)) == (0, {"reports": 3, "rows": 1, "parked": 1, "frames_left": 0})
    assert (again, nothing.startswith("Applied 0 reports")) == (0, True)


@pytest.mark.parametrize("role", ["feed", "process"])
def test_a_role_that_knows_no_exchange_does_not_start(role: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ordertrail", role],
        env=_inherited() | {"ORDERTRAIL_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )

    assert (ended.returncode, "ORDERTRAIL_EXCHANGE_URL is not set" in ended.stderr) == (2, True)


def test_a_parked_report_is_applied_once_its_order_is_there(database_url: str, command: Command) -> None:
    put(database_url, frame(report(1)))
    command("process", "--once")
    [parked] = fetch(database_url, "SELECT id FROM parked")
    number = str(parked["id"])

    too_early, _, why = command("parked", "replay", number)
    accept(database_url, "order-1")
    code, printed, _ = command("parked", "replay", number)
    again, _, nothing = command("parked", "replay", number)

    assert (too_early, f"{number} stays parked" in why) == (1, True)
    assert (code, printed) == (0, f"{number}: it is applied, and closed.\n")
    assert (again, "Nothing that is open" in nothing) == (1, True)
    [row] = fetch(database_url, "SELECT exec_id FROM executions")
    assert row["exec_id"] == "x1"


def test_what_is_no_report_is_not_replayed(database_url: str, command: Command) -> None:
    execute(
        database_url,
        "INSERT INTO parked (venue, kind, reason, raw, fingerprint) VALUES ('v', 'open_order', 'x', '{}', 'f')",
    )
    [parked] = fetch(database_url, "SELECT id FROM parked")

    code, _, said = command("parked", "replay", str(parked["id"]))

    assert (code, "is no execution report" in said) == (1, True)


@pytest.fixture
def started(database_url: str, tmp_path: Path) -> Iterator[Callable[[str, str], "subprocess.Popen[str]"]]:
    """Starts a role as a process, and returns once it says that it runs."""
    processes: list[subprocess.Popen[str]] = []

    def start(role: str, exchange_url: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "ordertrail", role],
            env={
                **_inherited(),
                "ORDERTRAIL_DATABASE_URL": database_url,
                "ORDERTRAIL_EXCHANGE_URL": exchange_url,
                "ORDERTRAIL_DATA_DIR": str(tmp_path),
                "ORDERTRAIL_LOG_LEVEL": "error",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"ordertrail {role} started\n"
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ORDERTRAIL_")}


def test_a_feed_and_a_processor_end_in_order_and_leave_the_feed_free(
    database_url: str, tmp_path: Path, started: Callable[[str, str], "subprocess.Popen[str]"]
) -> None:
    with exchange_program(tmp_path / "exchange") as exchange:
        feed, process = started("feed", exchange.url), started("process", exchange.url)
        until(lambda: [1 for record in fetch(database_url, "SELECT holder FROM feeds") if record["holder"]])

        for each in (feed, process):
            each.send_signal(signal.SIGTERM)
        codes = [each.wait(WAIT_SECONDS) for each in (feed, process)]

    [row] = fetch(database_url, "SELECT leased_until > clock_timestamp() AS is_owned FROM feeds")
    assert codes == [0, 0]
    assert not row["is_owned"]
