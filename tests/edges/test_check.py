"""`ordertrail check` as a deployer runs it: a line for each thing that was tried, and whether a start would work."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ordertrail.cli.check import Offset, _of_the_clocks, _of_the_event_log
from ordertrail.runtime.settings import Settings
from ordertrail.storage.postgres.inspection import EventLogInspection
from ordertrail.storage.postgres.migrate import SCHEMA_HEAD
from tests.support.http_calls import call
from tests.support.postgres import execute, fetch
from tests.support.programs import WAIT_SECONDS, api_program, exchange_program

ROOT = Path(__file__).parents[2]
OUT_OF_REACH = "http://127.0.0.1:1"


def run(folder: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDERTRAIL_")}
    return subprocess.run(
        [sys.executable, "-m", "ordertrail", "check", *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **{f"ORDERTRAIL_{k.upper()}": str(v) for k, v in settings.items()}},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


def check(folder: Path, **settings: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and by the names of the checks what each of them found."""
    result = run(folder, "--json", **{"port": 0, **settings})
    document = json.loads(result.stdout)
    assert document["ok"] == (result.returncode == 0)
    assert result.stderr == ""
    return result.returncode, {each["name"]: each for each in document["checks"]}


def problems(found: dict[str, Any]) -> set[str]:
    return {name for name, each in found.items() if not each["ok"]}


def test_all_is_well(database_url: str, tmp_path: Path) -> None:
    with exchange_program(tmp_path / "exchange") as exchange:
        result = run(tmp_path, database_url=database_url, exchange_url=exchange.url, port=0)
        code, found = check(tmp_path, database_url=database_url, exchange_url=exchange.url)

    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["ok"] * len(found)
    assert code == 0
    assert "PostgreSQL 18" in found["database"]["detail"]
    assert SCHEMA_HEAD in found["schema"]["detail"]
    assert "may be sent again (an id is refused again for ever)" in found["exchange"]["detail"]
    assert {"clock of database", "clock of exchange"} <= found.keys()
    assert "it will be made" in found["data folder"]["detail"]
    assert not (tmp_path / ".ordertrail").exists()


def test_simulated_exchange_is_said(database_url: str, tmp_path: Path) -> None:
    code, found = check(tmp_path, database_url=database_url, exchange_url="simulated:")

    assert code == 0
    assert found["exchange"]["detail"] == "SIMULATED, no real order is placed"


def test_each_problem_is_found_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, found = check(
            tmp_path,
            database_url="postgresql://u:s3cr3t@127.0.0.1:1/d",
            exchange_url=OUT_OF_REACH,
            exchange_uri="typo",
            data_dir=tmp_path / "file",
            port=port,
        )

    assert code == 1
    assert problems(found) == {"settings", "database", "exchange", "data folder", "port"}
    assert "did you mean ORDERTRAIL_EXCHANGE_URL?" in found["settings"]["detail"]
    assert f"127.0.0.1:{port}" in found["port"]["detail"]
    assert "s3cr3t" not in json.dumps(found)


@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        ({"port": "eight"}, "settings", "ORDERTRAIL_PORT"),
        ({"exchange_url": "ftp://x"}, "exchange", "ORDERTRAIL_EXCHANGE_URL"),
        ({}, "exchange", "ORDERTRAIL_EXCHANGE_URL is not set"),
        ({"exchange_url": "simulated:", "workers": 2}, "exchange", "Several workers"),
        ({"database_url": "postgresql://u:s3cr3t/x@h/d"}, "database", "cannot be read"),
    ],
)
def test_setting_that_keeps_a_start_back_is_a_problem(
    tmp_path: Path, settings: dict[str, Any], name: str, words: str
) -> None:
    code, found = check(tmp_path, **settings)

    assert code == 1
    assert not found[name]["ok"] and words in found[name]["detail"]
    assert "s3cr3t" not in json.dumps(found)


def test_schema_that_is_not_there_is_a_problem_and_stays_so(empty_database_url: str, tmp_path: Path) -> None:
    code, found = check(tmp_path, database_url=empty_database_url, exchange_url="simulated:")

    assert code == 1 and problems(found) == {"schema"}
    assert "`ordertrail migrate`" in found["schema"]["detail"]
    assert fetch(empty_database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")[0][0] == 0


def test_schema_of_a_newer_version_is_a_problem(database_url: str, tmp_path: Path) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")

    _, found = check(tmp_path, database_url=database_url, exchange_url="simulated:")

    assert problems(found) == {"schema"} and "newer version" in found["schema"]["detail"]


@pytest.mark.parametrize(
    ("missing", "ok", "words"),
    [
        (None, True, "can be read, kept and watched over"),
        ("may_keep", False, "it grows for ever"),
        ("is_here", True, "begins anew at the start"),
        ("may_see_running", True, "may not see which it is: GRANT pg_monitor"),
        ("may_see_since_when", True, "may not see since when it is open: GRANT pg_monitor"),
    ],
)
def test_what_the_role_may_not_do_for_events_is_said(missing: str | None, words: str, *, ok: bool) -> None:
    may = {field.name: field.name != missing for field in fields(EventLogInspection)}

    found = _of_the_event_log(EventLogInspection(**may))

    assert (found.name, found.ok) == ("events", ok)
    assert words in found.detail


@pytest.mark.parametrize(
    ("seconds", "is_near"), [(0.9, True), (-0.9, True), (1.05, True), (1.2, False), (-3600, False)]
)
async def test_clock_that_is_further_off_than_the_margin_is_a_problem(seconds: float, is_near: bool) -> None:
    settings = Settings(_env_file=None, clock_margin_seconds=1)

    [found] = [each async for each in _of_the_clocks(settings, {"exchange": Offset(seconds, 0.1)})]

    assert found.ok == is_near
    assert ("behind" if seconds < 0 else "ahead of") in found.detail
    assert ("ORDERTRAIL_CLOCK_MARGIN_SECONDS" in found.detail) != is_near


def test_running_ordertrail_at_the_port_is_named(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path / "data") as api:
        code, found = check(tmp_path, database_url=database_url, exchange_url="simulated:", port=api.port)
        assert call("GET", f"{api.url}/readyz")[0] == 200

    assert code == 0
    assert "an Ordertrail listens there (venue SIMULATED)" in found["port"]["detail"]


@pytest.mark.parametrize("name", ["database", "exchange"])
def test_what_never_answers_is_given_up(database_url: str, tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        port = silent.getsockname()[1]
        urls = {"database": f"postgresql://u:p@127.0.0.1:{port}/d", "exchange": f"http://127.0.0.1:{port}"}
        settings = {"database_url": database_url, "exchange_url": "simulated:", f"{name}_url": urls[name]}
        code, found = check(tmp_path, database_timeout_seconds=0.5, exchange_timeout_seconds=0.5, **settings)

    assert code == 1
    assert name in problems(found)
