"""How a process starts: it says where orders go, or it does not start."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ordertrail import __version__
from tests.support.http_calls import call, place
from tests.support.orders import SEED_ORDER
from tests.support.postgres import execute
from tests.support.programs import WAIT_SECONDS, Program, api_program, exchange_program, program, reconcile_program
from tests.support.tcp_proxy import tcp_proxy
from tests.support.until import until

# So often a refused database is tried again before it is there.
TRIES = 8

ROOT = Path(__file__).parents[2]
NO_DATABASE = "postgresql://ordertrail:s3cr3t@127.0.0.1:1/ordertrail"
SIMULATED = "SIMULATED, no real order is placed"
EVERY_COMMAND = [
    ["api"],
    ["api", "--workers", "2"],
    ["reconcile"],
    ["reconcile", "--once"],
    ["up"],
    ["migrate"],
    ["exchange"],
    ["settings"],
    ["doubts"],
    ["halt"],
    ["resume"],
    ["order", "list"],
    ["order", "show", "X"],
    ["order", "cancel", "X"],
    ["status"],
    ["orphans"],
    ["parked", "list"],
]


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder of its own, with no settings but these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDERTRAIL_")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_misspelled_setting_refuses_every_command(tmp_path: Path, command: list[str]) -> None:
    result = run(tmp_path, "ordertrail", *command, ORDERTRAIL_EXCHANGE_URI="http://real:9000")

    assert result.returncode == 2
    assert result.stderr == (
        "ordertrail: ORDERTRAIL_EXCHANGE_URI is no setting: did you mean ORDERTRAIL_EXCHANGE_URL? "
        "`ordertrail settings` lists all.\n"
    )
    assert (result.stdout != "") == (command == ["settings"])


def test_misspelled_setting_in_the_file_refuses_bare_uvicorn_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ORDERTRAIL_EXCHANGE_URI=http://real:9000\n")

    result = run(tmp_path, "uvicorn", "app.api:app", "--port", "0")

    assert result.returncode != 0
    assert result.stderr.count("did you mean ORDERTRAIL_EXCHANGE_URL?") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [["api"], ["api", "--workers", "2"], ["reconcile"], ["reconcile", "--once"]])
def test_role_that_would_place_wants_an_exchange(tmp_path: Path, command: list[str]) -> None:
    result = run(tmp_path, "ordertrail", *command, ORDERTRAIL_DATABASE_URL=NO_DATABASE)

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "ORDERTRAIL_EXCHANGE_URL is not set" in result.stderr
    assert "http://" in result.stderr and "`simulated:`" in result.stderr


def test_several_workers_are_not_given_an_exchange_that_one_process_has(tmp_path: Path) -> None:
    result = run(tmp_path, "ordertrail", "api", "--workers", "2", ORDERTRAIL_EXCHANGE_URL="simulated:")

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "`ordertrail exchange`" in result.stderr


def test_simulated_exchange_is_said_in_capitals_everywhere(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path, log_level="error") as api:
        _, ready = call("GET", f"{api.url}/readyz")
        _, order = place(api)
        _, shown = call("GET", f"{api.url}/orders/{order['id']}")
        api.send_signal(signal.SIGTERM)
        api.wait()

    name = database_url.rpartition("/")[2].partition("?")[0]
    (line,) = [line for line in api.log if "version" in line]
    assert f"version {__version__}, api: exchange {SIMULATED}; database " in line
    assert f"/{name}; 1 worker; execution reports over PostgreSQL; data folder {tmp_path}" in line
    assert ready["venue"] == shown["venue"] == "SIMULATED"


def test_several_workers_are_one_line(database_url: str, tmp_path: Path) -> None:
    with (
        exchange_program(tmp_path / "exchange") as exchange,
        api_program(database_url, tmp_path, "--workers", "2", exchange_url=exchange.url) as api,
    ):
        _, ready = call("GET", f"{api.url}/readyz")
        api.send_signal(signal.SIGTERM)
        api.wait()

    (line,) = [line for line in api.log if "version" in line]
    assert f"exchange {exchange.url}; " in line and "; 2 workers; " in line
    assert ready["venue"] == exchange.url


def test_reconciler_says_it_too_and_no_secret(tmp_path: Path) -> None:
    with reconcile_program(NO_DATABASE, tmp_path, exchange_url="http://127.0.0.1:9/base/") as reconciler:
        reconciler.send_signal(signal.SIGTERM)
        reconciler.wait()

    (line,) = [line for line in reconciler.log if "version" in line]
    assert "reconcile: exchange http://127.0.0.1:9; database 127.0.0.1:1/ordertrail; 1 worker" in line
    assert "s3cr3t" not in reconciler.stderr


@contextmanager
def bare_uvicorn(folder: Path, database_url: str) -> Iterator[Program]:
    """The seed's command in a folder of its own, with nothing set but the database."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.api:app", "--port", str(port)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ORDERTRAIL_DATABASE_URL": database_url},
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        log.append(line)
        if "running on" in line:
            break
    try:
        yield Program(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)
        process.stderr.close()


def test_bare_uvicorn_keeps_the_simulated_exchange_warns_and_takes_in_what_it_reports(
    database_url: str, tmp_path: Path
) -> None:
    with bare_uvicorn(tmp_path, database_url) as api:
        status, order = place(api)
        call("POST", f"{api.url}/orders", SEED_ORDER | {"side": "sell"})
        until(lambda: call("GET", f"{api.url}/orders/{order['id']}")[1]["status"] == "FILLED")

    (line,) = [line for line in api.log if "version" in line]
    assert f"uvicorn: exchange {SIMULATED}; " in line and str(tmp_path) in line
    assert status == 201


def test_port_that_a_platform_set_does_not_keep_it_from_starting(database_url: str, tmp_path: Path) -> None:
    environment = {
        "ORDERTRAIL_PORT": "tcp://10.0.0.11:8000",
        "ORDERTRAIL_SERVICE_HOST": "10.0.0.11",
        "ORDERTRAIL_EXCHANGE_URL": "simulated:",
        "ORDERTRAIL_DATABASE_URL": database_url,
        "ORDERTRAIL_DATA_DIR": str(tmp_path),
    }
    with program("ordertrail", "api", "--port", "0", environment=environment) as api:
        assert call("GET", f"{api.url}/readyz")[0] == 200
        until(lambda: any("set by the container platform" in line for line in api.log))


UNREADABLE = "postgresql://ordertrail:s3cr3t/w#rd@127.0.0.1:5432/ordertrail"


@pytest.mark.parametrize(
    "command",
    [["api"], ["api", "--workers", "2"], ["reconcile"], ["migrate"], ["doubts"], ["halt"], ["resume"]],
    ids=" ".join,
)
def test_database_url_that_cannot_be_read_is_one_sentence_without_it(tmp_path: Path, command: list[str]) -> None:
    result = run(
        tmp_path,
        "ordertrail",
        *command,
        ORDERTRAIL_DATABASE_URL=UNREADABLE,
        ORDERTRAIL_EXCHANGE_URL="http://127.0.0.1:9",
    )

    assert result.returncode == 2
    assert result.stderr.startswith("ordertrail: ORDERTRAIL_DATABASE_URL cannot be read: ")
    assert result.stderr.count("\n") == 1
    assert all(piece not in result.stderr for piece in ("s3cr3t", "w#rd"))


def test_database_url_that_cannot_be_read_ends_bare_uvicorn_with_a_sentence(tmp_path: Path) -> None:
    result = run(tmp_path, "uvicorn", "app.api:app", "--port", "0", ORDERTRAIL_DATABASE_URL=UNREADABLE)

    assert result.returncode != 0
    assert result.stderr.count("ORDERTRAIL_DATABASE_URL cannot be read: ") == 1
    assert "Traceback" not in result.stderr and "s3cr3t" not in result.stderr


def test_refused_database_is_one_sentence_and_tried_until_it_works(database_url: str, tmp_path: Path) -> None:
    address = urlsplit(f"{database_url}_to_come")
    name = address.path.removeprefix("/")
    assert address.port is not None
    with (
        tcp_proxy(address.port) as counting,
        api_program(
            database_url.replace(f":{address.port}/", f":{counting.port}/") + "_to_come",
            tmp_path,
            reconcile_interval_seconds=0.2,
        ) as api,
    ):
        # Housekeeping and reconciliation try it anew all the time.
        tried = counting.connections
        until(lambda: counting.connections >= tried + TRIES and call("GET", f"{api.url}/readyz")[0] == 503)
        _, ready = call("GET", f"{api.url}/readyz")
        execute(database_url, f'CREATE DATABASE "{name}"')
        until(lambda: call("GET", f"{api.url}/readyz")[0] == 200)
        status, _ = place(api)
        api.send_signal(signal.SIGTERM)
        api.wait()
    execute(database_url, f'DROP DATABASE "{name}"')

    said = [line for line in api.log if name in line and "does not exist" in line]
    assert len(said) == 1, said
    assert name in ready["problems"][0]
    assert status == 201
