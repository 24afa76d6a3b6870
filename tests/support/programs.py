"""Our programs as real processes, on ports that the kernel chooses."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

WAIT_SECONDS = 30


@dataclass
class Program:
    """A process that has said on its first line where it listens; `log` gathers its standard error."""

    process: subprocess.Popen[str]
    url: str
    log: list[str]
    _reader: threading.Thread | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_seconds: float = WAIT_SECONDS) -> int:
        code = self.process.wait(timeout_seconds)
        if self._reader is not None:
            self._reader.join(WAIT_SECONDS)
        return code

    @property
    def stderr(self) -> str:
        return "".join(self.log)


@contextlib.contextmanager
def program(
    *arguments: str, environment: Mapping[str, str] | None = None, says: str = " listening on http://"
) -> Iterator[Program]:
    """`python -m …` until the end of the block, where it is killed if it still runs; `says` on its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None
    log: list[str] = []
    reader = threading.Thread(target=log.extend, args=(process.stderr,))
    reader.start()
    try:
        line = process.stdout.readline()
        if says not in line:
            process.wait(WAIT_SECONDS)
            reader.join(WAIT_SECONDS)
            raise AssertionError(f"it did not start: {line!r} {''.join(log)}")
        yield Program(process, line.split()[-1], log, reader)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
        process.wait(WAIT_SECONDS)
        reader.join(WAIT_SECONDS)
        process.stdout.close()
        process.stderr.close()


@contextlib.contextmanager
def api_program(
    database_url: str,
    data_dir: Path,
    *arguments: str,
    exchange_url: str | None = None,
    **settings: object,
) -> Iterator[Program]:
    """`ordertrail api`, with settings by their names in `Settings`."""
    environment = _environment(database_url, data_dir, exchange_url, settings)
    with program("ordertrail", "api", "--port", "0", *arguments, environment=environment) as running:
        yield running


@contextlib.contextmanager
def reconcile_program(
    database_url: str, data_dir: Path, *, exchange_url: str | None = None, **settings: object
) -> Iterator[Program]:
    """`ordertrail reconcile`, likewise; it listens nowhere."""
    environment = _environment(database_url, data_dir, exchange_url, settings)
    with program("ordertrail", "reconcile", environment=environment, says="reconcile started") as running:
        yield running


@contextlib.contextmanager
def execution_program(
    role: Literal["feed", "process", "place"],
    database_url: str,
    data_dir: Path,
    *,
    exchange_url: str | None = None,
    **settings: object,
) -> Iterator[Program]:
    """`ordertrail feed`, `process` or `place`, likewise."""
    environment = _environment(database_url, data_dir, exchange_url, settings)
    with program("ordertrail", role, environment=environment, says=f"{role} started") as running:
        yield running


def _environment(
    database_url: str, data_dir: Path, exchange_url: str | None, settings: Mapping[str, object]
) -> dict[str, str]:
    return {
        "ORDERTRAIL_DATABASE_URL": database_url,
        "ORDERTRAIL_DATA_DIR": str(data_dir),
        "ORDERTRAIL_EXCHANGE_URL": exchange_url or "simulated:",
        **{f"ORDERTRAIL_{name.upper()}": str(value) for name, value in settings.items()},
    }


@contextlib.contextmanager
def exchange_program(data_dir: Path, *arguments: str) -> Iterator[Program]:
    """The simulated exchange."""
    with program("simulated_exchange", "--data-dir", str(data_dir), *arguments) as running:
        yield running
