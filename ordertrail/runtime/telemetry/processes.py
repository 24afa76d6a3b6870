"""Metrics of several workers as one: the folder in which they meet."""

import multiprocessing
import os
import shutil
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics() -> None:
    """Where this process is one of a server's workers, keep metrics in files that all of them read.

    The folder is named after the parent process, which the workers share; folders of parents that live no more
    are taken away. Does nothing in a process that serves alone.
    """
    if VARIABLE in os.environ or multiprocessing.parent_process() is None:
        return
    parent = os.getppid()
    root = Path(os.environ.get("ORDERTRAIL_DATA_DIR", ".ordertrail")) / "metrics"
    folder = root / str(parent)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(folder.resolve())
    for other in root.iterdir():
        if other.name.isdigit() and not Path(f"/proc/{other.name}").exists():
            shutil.rmtree(other, ignore_errors=True)
