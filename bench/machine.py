"""Where and when it was measured; figures without that mean nothing."""

import os
import platform
import statistics
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

_PACKAGES = [
    "fastapi",
    "uvicorn",
    "uvloop",
    "httptools",
    "pydantic",
    "asyncpg",
    "sqlalchemy",
    "psycopg2-binary",
    "dbos",
]


def describe_machine(folder: Path, postgres_version: str) -> dict[str, str]:
    """What a reader needs to judge the figures."""
    memory = psutil.virtual_memory()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory.total / 1e9:.0f} GB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": postgres_version + ", its defaults (fsync on)",
        "one flush": f"{_flush_microseconds(folder):.0f} µs (median of fdatasync after 8 KiB)",
        "load before": f"{os.getloadavg()[0]:.2f} (1 minute average)",
        "commit": _commit(),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def is_in_memory(folder: Path) -> bool:
    """Whether a folder is on a file system that no flush reaches a disk from."""
    mounts = {Path(point): kind for _, point, kind, *_ in map(str.split, Path("/proc/mounts").read_text().splitlines())}
    resolved = folder.resolve()
    return next((mounts[p] for p in [resolved, *resolved.parents] if p in mounts), "") in {"tmpfs", "ramfs"}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _flush_microseconds(folder: Path) -> float:
    path = folder / "flush"
    times = []
    with path.open("wb") as file:
        for _ in range(200):
            os.pwrite(file.fileno(), b"x" * 8192, 0)
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - before)
    path.unlink()
    return statistics.median(times) * 1e6


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
