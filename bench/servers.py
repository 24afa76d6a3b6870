"""Servers under test: started, found to be whole, looked at, and ended with all their children."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ordertrail.up.child_processes import end, spawn

ROOT = Path(__file__).parent.parent
START_SECONDS_MAX = 60.0
STOP_SEQUENCE = ((signal.SIGTERM, 15.0),)
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class ServerFailed(Exception):
    """A server did not start, or ended by itself; the message has the end of its log."""


@dataclass(frozen=True)
class Memory:
    """What one Python process holds, in megabytes (10^6 bytes). Pss shares what several processes share."""

    rss: float
    pss: float


class Server:
    """A running server, by its process and its port."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, port: int) -> None:
        self.process = process
        self.port = port
        self.workers = 1
        self._log = log

    def wait_for_workers(self, count: int) -> None:
        """Until `count` processes have taken connections: one that starts late would have too few of them."""
        self.workers = count
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            self.check()
            with ExitStack() as probes, suppress(ConnectionRefusedError):
                for _ in range(8 * count):
                    probes.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=5))
                time.sleep(0.1)
                if len(self.connections_by_process()) >= count:
                    return
            time.sleep(0.1)
        raise ServerFailed(f"not all workers took connections\n{self.last_words()}")

    def connections_by_process(self) -> dict[int, int]:
        """How many connections each process of the server has taken."""
        found = {}
        for process in self.processes():
            with suppress(psutil.Error):
                taken = sum(
                    c.status == psutil.CONN_ESTABLISHED and bool(c.laddr) and c.laddr.port == self.port
                    for c in process.net_connections("tcp")
                )
                if taken:
                    found[process.pid] = taken
        return found

    def memory(self) -> list[Memory]:
        """Of every Python process of the server that serves, the largest first."""
        found = []
        for process in self.processes():
            with suppress(OSError):
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                found.append(Memory(rss=_megabytes(rollup, "Rss"), pss=_megabytes(rollup, "Pss")))
        return sorted(found, key=lambda memory: memory.rss, reverse=True)

    def processes(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def check(self) -> None:
        if self.process.poll() is not None:
            raise ServerFailed(f"ended with {self.process.returncode}\n{self.last_words()}")

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


@contextmanager
def open_server(module: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Run `python -m module …` until the end of the block; it must say where it listens."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORDERTRAIL_")}
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "-m", module, *arguments],
            environment={**inherited, "PYTHONPATH": str(ROOT), **environment},
            output=output,
            folder=log.parent,
        )
    try:
        yield Server(process, log, _wait_for_port(process, log))
    finally:
        end(process, STOP_SEQUENCE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers whose parent did not end them; the session is theirs


def _wait_for_port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        found = _LISTENING.search(log.read_text(errors="replace"))
        if found:
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise ServerFailed(f"did not start\n{log.read_text(errors='replace')[-3000:]}")


def _megabytes(rollup: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0
