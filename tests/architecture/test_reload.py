"""`uvicorn app.api:app --reload` waits for file events; polling would read a virtual environment again and again."""

from pathlib import Path

from uvicorn.supervisors import ChangeReload
from uvicorn.supervisors.watchfilesreload import WatchFilesReload

ROOT = Path(__file__).parents[2]


def test_uvicorn_reloads_by_file_events() -> None:
    assert ChangeReload is WatchFilesReload


def test_the_runtime_lock_brings_what_that_needs() -> None:
    assert "\nwatchfiles==" in (ROOT / "requirements.txt").read_text()
