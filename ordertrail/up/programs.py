"""The programs that `ordertrail up` runs as its children, each in a session of its own, with a log of its own."""

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from ordertrail.up.child_processes import end, spawn
from ordertrail.up.health_probe import answers_ok
from ordertrail.up.log_files import ChildLog, child_log

EXIT_CANNOT_START = 2


@dataclass(kw_only=True)
class Program:
    """A program on which nothing else stands: it counts as ready once it runs, and nobody waits for it."""

    name: str
    command: Sequence[str]
    environment: Callable[[], Mapping[str, str]]
    log: Path
    log_bytes_max: int
    stop_seconds: float
    when_ended: Callable[[int], None] = lambda _pid: None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _child_log: ChildLog | None = field(default=None, init=False)

    def start(self) -> None:
        with child_log(self.log, bytes_max=self.log_bytes_max) as log:
            self.process = spawn(self.command, environment=self.environment(), output=log.output)
        self._child_log = log

    def is_ready(self) -> bool:
        return True

    def ending(self) -> str | None:
        if self.process is None:
            return "it was not started."
        code = self.process.poll()
        if code is None:
            return None
        self._finish()
        return f"{_last_line(self.log)} ({exit_words(code)}; log: {self.log})"

    def cannot_start(self) -> bool:
        return self.process is not None and self.process.poll() == EXIT_CANNOT_START

    def request_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop_now(self) -> None:
        if self.process is not None:
            end(self.process, ())
            self._finish()

    def _finish(self) -> None:
        if self._child_log is not None and self.process is not None:
            self._child_log.finish()
            self._child_log = None
            self.when_ended(self.process.pid)


@dataclass(kw_only=True)
class HttpProgram(Program):
    """A program that serves HTTP; it is ready when `ready_path` answers 200."""

    host: str
    port: int
    ready_path: str

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @override
    def is_ready(self) -> bool:
        return answers_ok(f"{self.url}{self.ready_path}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1].removeprefix("ordertrail: ") if lines else "it said nothing"


def exit_words(code: int) -> str:
    """How a program ended, by its exit code."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
