"""The file in the data folder by which commands find a running `ordertrail up`; one that was killed is not found."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

FILE = "up.json"
# How far two readings of one process's start may differ: it is computed from a clock that is set now and then.
START_SECONDS_OFF_MAX = 5.0


@dataclass(frozen=True, slots=True)
class RunningUp:
    """Where a running `ordertrail up` has its parts."""

    pid: int
    started_at: float
    api_url: str
    database_url: str
    exchange_url: str
    queue_url: str | None = None


@contextlib.contextmanager
def not_found_after(data_dir: Path) -> Iterator[None]:
    """Take the file away at the end of the block, and before it the one of a run that was killed."""
    path = data_dir / FILE
    path.unlink(missing_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def make_found(
    data_dir: Path, *, api_url: str, database_url: str, exchange_url: str, queue_url: str | None = None
) -> None:
    """Let commands find this process, which they take for gone as soon as it is."""
    running = RunningUp(os.getpid(), psutil.Process().create_time(), api_url, database_url, exchange_url, queue_url)
    unfinished = data_dir / f"{FILE}.new"
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - a mode
        json.dump(asdict(running), file)
    unfinished.replace(data_dir / FILE)


def find_running_up(data_dir: Path) -> RunningUp | None:
    """The one that runs on this data folder; None: there is none, or none that this account may trust."""
    path = data_dir / FILE
    try:
        # Whoever may write it decides where orders go.
        if path.stat().st_uid not in {os.geteuid(), 0, data_dir.parent.stat().st_uid}:
            return None
        running = RunningUp(**json.loads(path.read_bytes()))
        began = psutil.Process(running.pid).create_time()
        return running if abs(began - running.started_at) < START_SECONDS_OFF_MAX else None
    except (OSError, ValueError, TypeError, RecursionError, psutil.Error):
        return None
