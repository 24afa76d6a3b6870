"""A running `up` is found by its data folder, and one that is gone is not."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ordertrail.cli.person_settings import load_settings_of_person, what_to_set
from ordertrail.up.running_up import FILE, find_running_up, make_found, not_found_after

ROOT = Path(__file__).parents[3]
URLS = {"api_url": "http://127.0.0.1:8701", "database_url": "postgresql://u:p@h:1/d", "exchange_url": "http://x:2"}


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ORDERTRAIL_")]:
        monkeypatch.delenv(name)
    (tmp_path / ".ordertrail").mkdir()
    return tmp_path / ".ordertrail"


def test_it_is_found_until_it_stops(data_dir: Path) -> None:
    with not_found_after(data_dir):
        assert find_running_up(data_dir) is None
        make_found(data_dir, **URLS)

        running = find_running_up(data_dir)
        assert running is not None
        assert (running.pid, running.api_url) == (os.getpid(), URLS["api_url"])
        assert stat.S_IMODE((data_dir / FILE).stat().st_mode) == 0o600

    assert find_running_up(data_dir) is None
    assert list(data_dir.iterdir()) == []


def test_one_that_was_killed_is_not_found(data_dir: Path) -> None:
    script = "from pathlib import Path; from ordertrail.up.running_up import make_found\n"
    script += f"make_found(Path('.ordertrail'), **{URLS})"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})

    assert (data_dir / FILE).exists()
    assert find_running_up(data_dir) is None


def test_another_process_under_its_number_is_not_it(data_dir: Path) -> None:
    make_found(data_dir, **URLS)
    document = json.loads((data_dir / FILE).read_text())
    (data_dir / FILE).write_text(json.dumps(document | {"started_at": document["started_at"] - 3600}))

    assert find_running_up(data_dir) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"pid": "x"}', b"\xff", b"[" * 100_000])
def test_file_that_is_no_such_is_passed_over(data_dir: Path, content: bytes) -> None:
    (data_dir / FILE).write_bytes(content)

    assert find_running_up(data_dir) is None


def test_next_start_takes_the_file_of_a_killed_one_away(data_dir: Path) -> None:
    (data_dir / FILE).write_text("{}")

    with not_found_after(data_dir):
        assert not (data_dir / FILE).exists()


def test_command_without_settings_uses_it(data_dir: Path) -> None:
    make_found(data_dir, **URLS)

    settings = load_settings_of_person()

    assert settings.api_url == URLS["api_url"]
    assert settings.database_url.get_secret_value() == URLS["database_url"]
    assert settings.exchange_url == URLS["exchange_url"]
    assert what_to_set(settings, "api_url") == ""


@pytest.mark.parametrize("name", ["API_URL", "DATABASE_URL", "EXCHANGE_URL"])
def test_what_is_set_wins_and_is_never_mixed_with_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_found(data_dir, **URLS)
    monkeypatch.setenv(f"ORDERTRAIL_{name}", "http://elsewhere")

    settings = load_settings_of_person()

    found = {settings.api_url, settings.database_url.get_secret_value(), settings.exchange_url}
    assert found.isdisjoint(URLS.values())
    assert "http://elsewhere" in found


def test_where_there_is_none_it_is_said_what_to_set(data_dir: Path) -> None:
    sentence = what_to_set(load_settings_of_person(), "database_url")

    assert "ORDERTRAIL_DATABASE_URL is not set" in sentence
    assert str(data_dir) in sentence and "`make up`" in sentence
