"""Metrics of several workers as one: the folder in which they meet."""

import errno
import multiprocessing
import os
import shutil
from pathlib import Path

import psutil

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def is_worker() -> bool:
    """Whether a parent has started this process as one of several that serve for it."""
    return multiprocessing.parent_process() is not None


def share_metrics(data_dir: Path, *, parent: int) -> None:
    """Have all workers of the process `parent` keep their metrics in files that each of them reads.

    To be called before a worker imports the metrics library, which decides then how it keeps values: by the parent,
    whose environment they inherit, or by the worker itself. Does nothing where the environment names a folder.
    """
    if VARIABLE in os.environ:
        return
    try:
        _share(data_dir / "metrics", parent)
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        # Each worker then has metrics of its own.


def _share(root: Path, parent: int) -> None:
    folder = root / str(parent)
    if parent == os.getpid():
        # No worker of ours has begun: an earlier process had our number, as the first one of a container always has.
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(folder.resolve())
    _take_away_folders_of_the_dead(root)


def _take_away_folders_of_the_dead(root: Path) -> None:
    for folder in root.iterdir():
        if folder.name.isdigit() and not psutil.pid_exists(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
