"""Which folders with workers' metrics are made, and which are taken away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ordertrail.runtime.telemetry.processes import VARIABLE, share_metrics


@pytest.fixture(autouse=True)
def _no_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "so that it is put back")
    monkeypatch.delenv(VARIABLE)


def folder_of(data_dir: Path, pid: int) -> Path:
    folder = data_dir / "metrics" / str(pid)
    folder.mkdir(parents=True)
    (folder / "counter_7.db").touch()
    return folder


def test_workers_meet_in_the_data_folder_that_is_handed_in(tmp_path: Path) -> None:
    share_metrics(tmp_path, parent=os.getppid())

    assert os.environ[VARIABLE] == str(tmp_path / "metrics" / str(os.getppid()))
    assert Path(os.environ[VARIABLE]).is_dir()


def test_folder_that_the_operator_has_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/elsewhere")

    share_metrics(tmp_path, parent=os.getppid())

    assert os.environ[VARIABLE] == "/elsewhere"
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_process_that_has_ended_is_taken_away(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    folder = folder_of(tmp_path, ended.pid)

    share_metrics(tmp_path, parent=os.getppid())

    assert not folder.exists()


def test_folder_of_a_living_process_stays_on_a_system_without_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: not path.is_relative_to("/proc") and exists(path))
    folder = folder_of(tmp_path, os.getppid())

    share_metrics(tmp_path, parent=os.getppid())

    assert [file.name for file in folder.iterdir()] == ["counter_7.db"]


def test_parent_begins_with_an_empty_folder_though_an_earlier_process_had_its_number(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, os.getpid())

    share_metrics(tmp_path, parent=os.getpid())

    assert list(folder.iterdir()) == []
