"""A PostgreSQL server as our own child, from the binaries in the wheel (their launcher stays unused).

It listens on 127.0.0.1 only, without a Unix socket: the length of a socket's path is limited.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from ordertrail.runtime.errors import CannotStart
from ordertrail.storage.postgres.installation_statements import CREATE_DATABASE, CREATE_ROLE, GRANT_MONITORING
from ordertrail.up.child_processes import StopSequence, end, end_stale_processes, find_stale_processes, spawn
from ordertrail.up.log_files import ChildLog, child_log
from ordertrail.up.postgres_home import FALLBACK_ROOT, Home, find_home
from ordertrail.up.tcp_ports import free_port, is_free

HOST = "127.0.0.1"

# SIGINT: connections are cut, everything is written. SIGQUIT: at once, recovery at the next start.
STOP: StopSequence = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))
STOP_QUICKLY: StopSequence = ((signal.SIGQUIT, 10.0),)

START_SECONDS_MAX = 3600.0  # recovery after a crash takes as long as the log of changes is
_POLL_SECONDS = 0.02
_SAY_AFTER_SECONDS = 5.0
_INIT_SECONDS_MAX = 300.0
_PORT_ATTEMPTS_MAX = 5

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_SETTINGS = {"listen_addresses": HOST, "unix_socket_directories": "", "log_line_prefix": "%m [%p] "}
_ACCESS = f"host all ordertrail {HOST}/32 scram-sha-256\n"
# In single-user mode a statement ends with its line.
_FIRST_STATEMENTS = "".join(f"{statement}\n" for statement in (CREATE_ROLE, GRANT_MONITORING, CREATE_DATABASE))


def _say_nothing(_sentence: str) -> None:
    pass


# Where nobody says how large it may grow.
LOG_BYTES_MAX = 64 * 1024 * 1024


class EmbeddedPostgres:
    """One server over one data folder. `port=0` takes a free one, kept over restarts of this object.

    `start` and `stop` block; call them from a thread where an event loop runs. `say` gets a sentence when
    something takes long or a stale process is ended.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        major: int = 18,
        options: Mapping[str, str] | None = None,
        fallback_root: Path = FALLBACK_ROOT,
        say: Callable[[str], None] = _say_nothing,
        log_bytes_max: int = LOG_BYTES_MAX,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._wanted_port = port
        self.port = port
        self._major = major
        self._options = {**_SETTINGS, **(options or {})}
        self._fallback_root = fallback_root
        self._say = say
        self._log_bytes_max = log_bytes_max
        self._child_log: ChildLog | None = None
        self._home: Home | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://ordertrail:ordertrail@{HOST}:{self.port}/ordertrail"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    @property
    def folder(self) -> Path:
        """Where data and log are: the data folder, or one outside if the server's account cannot enter it."""
        assert self._home is not None, "the server has not been started"
        return self._home.folder

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    def poll(self) -> int | None:
        """The exit code if the server has ended, otherwise None."""
        assert self._process is not None, "the server has not been started"
        return self._process.poll()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def request_stop(self) -> None:
        """Begin what `stop` does, without waiting."""
        if self.is_running():
            assert self._process is not None
            self._process.send_signal(signal.SIGINT)

    def start(self) -> None:
        """Start and wait until it takes connections; raises CannotStart. Also restarts one that has died."""
        assert not self.is_running()
        home = self._home = find_home(self._data_dir, self._major, self._fallback_root)
        try:
            self._take_lock(home)
            self._end_stale_processes(home)
            if home.data.exists():
                _check(home.data, self._major)
            else:
                self._initialise(home)
            self._launch(home)
        except OSError as error:
            self._release_lock()
            raise CannotStart(f"PostgreSQL cannot be started in {home.folder}: {error}.") from error
        except BaseException:
            self._release_lock()
            raise

    def stop(self, stop_sequence: StopSequence = STOP) -> None:
        """End the server, politely first; harmless if it does not run."""
        if self._process is not None:
            end(self._process, stop_sequence)
            self._finish_log()
        self._release_lock()

    def _finish_log(self) -> None:
        if self._child_log is not None:
            self._child_log.finish()
            self._child_log = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_lock(self, home: Home) -> None:
        """One launcher a data folder; the kernel lets go of the lock however we end."""
        if self._lock is not None:
            return
        lock = (home.folder / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CannotStart(
                f"The database in {home.folder} is in use by another running `ordertrail`. Stop that one, or "
                "choose another data folder with ORDERTRAIL_DATA_DIR."
            ) from None
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end_stale_processes(self, home: Home) -> None:
        """End the processes of a server whose launcher was killed.

        PostgreSQL and its helpers stand in their data folder; that, and not the number in postmaster.pid,
        which may be another program's by now, is the proof. We hold the lock, so no other launcher wants them.
        """
        data = os.path.realpath(home.data)

        def stands_there(process: psutil.Process) -> bool:
            return bool(process.name() == "postgres" and process.cwd() == data)

        stale_processes = find_stale_processes(stands_there)
        if stale_processes:
            self._say(f"Ending the PostgreSQL that an earlier run left behind in {home.folder}.")
            first = [process for process in stale_processes if process.pid == _postmaster(home.data)]
            end_stale_processes(first, STOP)
            end_stale_processes(find_stale_processes(stands_there), ((signal.SIGQUIT, 2.0),))
        # Nothing stands there now, so the number in it can only mislead the next server.
        (home.data / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self, home: Home) -> None:
        """Make the database beside its place and move it there whole, so that a kill leaves nothing half."""
        for unfinished in home.folder.glob("data.unfinished-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        self._say("Making the database; this happens once.")
        folder = home.folder / f"data.unfinished-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        if home.account is not None:
            os.chown(folder, home.account.uid, home.account.gid)
        provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if self._major >= 17 else []
        sync = ["--no-sync"] if self._options.get("fsync") == "off" else []
        # The C locale exists on every system, C.UTF-8 of the C library does not; both sort by code point.
        options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", *provider, *sync]
        self._run(home, ["initdb", "-D", str(folder), "--data-checksums", "--no-instructions", *options])
        (folder / "pg_hba.conf").write_text(_ACCESS)
        fsync = [f"-cfsync={self._options['fsync']}"] if "fsync" in self._options else []
        alone = ["postgres", "--single", "-D", str(folder), "-cexit_on_error=on", *fsync, "postgres"]
        self._run(home, alone, _FIRST_STATEMENTS)
        folder.rename(home.data)
        parent = os.open(home.folder, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def _run(self, home: Home, command: list[str], statements: str = "") -> None:
        with child_log(self.log, bytes_max=self._log_bytes_max) as log:
            process = spawn(
                [home.program(command[0]), *command[1:]],
                environment=_ENVIRONMENT,
                output=log.output,
                account=home.account,
                folder=Path("/"),
                takes_input=True,
            )
        try:
            process.communicate(statements.encode(), timeout=_INIT_SECONDS_MAX)
        finally:
            end(process, STOP_QUICKLY)
            log.finish()
        if process.returncode != 0:
            raise CannotStart(f"The database could not be made in {home.folder}. {self._last_words()}")

    def _launch(self, home: Home) -> None:
        for attempt in range(_PORT_ATTEMPTS_MAX):
            if self.port == 0:
                self.port = free_port()
            elif not is_free(HOST, self.port):
                raise CannotStart(
                    f"Port {self.port} is taken by another program, and PostgreSQL was to listen there. "
                    "Stop that program, or choose another port."
                )
            offset = self.log.stat().st_size if self.log.exists() else 0
            settings = {**self._options, "port": str(self.port)}
            with child_log(self.log, bytes_max=self._log_bytes_max) as log:
                self._process = spawn(
                    [home.program("postgres"), "-D", home.data, *(f"-c{k}={v}" for k, v in settings.items())],
                    environment=_ENVIRONMENT,
                    output=log.output,
                    account=home.account,
                    folder=Path("/"),
                    signal_at_our_death=signal.SIGINT,
                )
            self._child_log = log
            try:
                if self._became_ready(home):
                    self._wanted_port = self.port  # a client that knows the URL keeps it over our restarts
                    return
            except BaseException:
                end(self._process, STOP_QUICKLY)
                raise
            self._finish_log()
            somebody_was_quicker = b"Address already in use" in self.log.read_bytes()[offset:]
            if not (somebody_was_quicker and self._wanted_port == 0) or attempt + 1 == _PORT_ATTEMPTS_MAX:
                break
            self.port = 0
        raise CannotStart(f"PostgreSQL ended right after its start in {home.folder}. {self._last_words()}")

    def _became_ready(self, home: Home) -> bool:
        """Wait as long as it says that it is starting; False if it ended instead."""
        assert self._process is not None
        began = time.monotonic()
        said = False
        while _status(home.data, self._process.pid) != "ready":
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)
                return False
            waited = time.monotonic() - began
            if waited > _SAY_AFTER_SECONDS and not said:
                said = True
                self._say(f"PostgreSQL is recovering what was in flight when it ended; its log: {self.log}")
            if waited > START_SECONDS_MAX:
                raise CannotStart(f"PostgreSQL did not finish starting within an hour; its log: {self.log}")
        return True

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-40:]
        marks = ("FATAL:", "PANIC:", "initdb: error:", "could not")
        words = [line for line in lines if any(mark in line for mark in marks)][-3:]
        return f"It said: {' / '.join(words or lines[-3:])} (log: {self.log})"


def _check(data: Path, major: int) -> None:
    """Say in words what is wrong with a data folder, before PostgreSQL says it in its own."""
    missing = [name for name in ("PG_VERSION", "global/pg_control", "base") if not (data / name).exists()]
    if missing:
        raise CannotStart(
            f"{data} is no whole PostgreSQL data folder, it lacks {', '.join(missing)}. Bring back a backup, "
            f"or move it away to begin with an empty database: mv {data} {data}.broken"
        )
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(major):
        raise CannotStart(
            f"{data} was made by PostgreSQL {version}, and this is PostgreSQL {major}. Carry the data over "
            f"with pg_dump, or move them away to begin with an empty database: mv {data} {data}.{version}"
        )


def _postmaster(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _status(data: Path, pid: int) -> str:
    """What the server says of itself in its lock file's eighth line, where pg_ctl reads it, too."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[7].strip() if len(lines) > 7 and lines[0] == str(pid) else ""
