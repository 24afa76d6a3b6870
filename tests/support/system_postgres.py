"""PostgreSQL as a distribution has it, with what the wheel's lacks: TLS, a standby; and pgbouncer.

Both come from Debian's packages `postgresql` and `pgbouncer`. A test that needs one is skipped where it is missing.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ordertrail.up.tcp_ports import free_port
from tests.support.postgres import UNREACHABLE, fetch, open_folder
from tests.support.until import until

HOST = "127.0.0.1"
WAIT_SECONDS = 30
# Programs of this kind refuse to run as root.
ACCOUNT = "nobody" if os.geteuid() == 0 else None
INSTALLATIONS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

needs_system_postgres = pytest.mark.skipif(not INSTALLATIONS, reason="no PostgreSQL of a distribution is installed")
needs_pgbouncer = pytest.mark.skipif(
    not INSTALLATIONS or PGBOUNCER is None, reason="no pgbouncer, or no PostgreSQL of a distribution, is installed"
)


@dataclass
class SystemPostgres:
    """A server over one folder, whose superuser needs no password from here; stopped at once, as in a crash."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    def start(self, **options: str) -> None:
        settings = {
            "port": str(self.port),
            "listen_addresses": HOST,
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "shared_buffers": "32MB",
            **options,
        }
        switches = [switch for name, value in settings.items() for switch in ("-c", f"{name}={value}")]
        self.process = _spawn(_program("postgres"), "-D", str(self.folder / "data"), *switches, folder=self.folder)
        until(self._answers, timeout_seconds=WAIT_SECONDS, what="PostgreSQL answers")

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(WAIT_SECONDS)
            self.process = None

    def promote(self) -> None:
        fetch(self.url, "SELECT pg_promote()")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()
        try:
            fetch(self.url, "SELECT 1")
        except UNREACHABLE:
            return False
        return True


@contextlib.contextmanager
def system_postgres(**options: str) -> Iterator[SystemPostgres]:
    """A server until the end of the block."""
    with _folder() as folder:
        _run(
            _program("initdb"), "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"
        )
        server = SystemPostgres(folder, free_port())
        try:
            server.start(**options)
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def standby_of(primary: SystemPostgres) -> Iterator[SystemPostgres]:
    """A second server that follows the first, and can be read from."""
    with _folder() as folder:
        _run(
            _program("pg_basebackup"), "-D", str(folder / "data"), "-d", primary.url, "-R", "-X", "stream", "-c", "fast"
        )
        standby = SystemPostgres(folder, free_port())
        try:
            standby.start()
            yield standby
        finally:
            standby.stop()


def copy_database(source: SystemPostgres, target: SystemPostgres) -> None:
    """What a person does after a disaster: a dump of the one is restored into the other, which is empty."""
    dump = source.folder / "dump.sql"
    _run(_program("pg_dump"), "-d", source.url, "-f", str(dump))
    _run(_program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target.url, "-f", str(dump))


@contextlib.contextmanager
def pgbouncer(server: SystemPostgres, *, pool_mode: str, **options: str) -> Iterator[str]:
    """A pooler before the server until the end of the block; its URL of the database `postgres`."""
    assert PGBOUNCER is not None
    port = free_port()
    settings: Mapping[str, str] = {
        "listen_addr": HOST,
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": pool_mode,
        **options,
    }
    with _folder() as folder:
        lines = ["[databases]", f"* = host={HOST} port={server.port} user=postgres", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        process = _spawn(PGBOUNCER, str(folder / "pgbouncer.ini"), folder=folder)
        url = f"postgresql://postgres@{HOST}:{port}/postgres"
        try:
            until(lambda: _listens(process, port, folder), timeout_seconds=WAIT_SECONDS, what="pgbouncer listens")
            yield url
        finally:
            process.kill()
            process.wait(WAIT_SECONDS)


def _listens(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / "log").read_text()
    return "process up" in (folder / "log").read_text()


def make_certificates(folder: Path, *, host: str = "localhost") -> None:
    """`ca.pem`, and `server.pem` with `server.key` that it has signed for the host."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    new_key = "-newkey rsa:2048 -nodes"
    (folder / "names").write_text(f"subjectAltName=DNS:{host}\n")
    for arguments in (
        f"req -x509 {new_key} -days 2 -subj /CN=test -keyout ca.key -out ca.pem",
        f"req {new_key} -subj /CN={host} -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    ):
        done = subprocess.run([openssl, *arguments.split()], cwd=folder, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stderr
    if ACCOUNT is not None:
        owner = pwd.getpwnam(ACCOUNT)
        os.chown(folder / "server.key", owner.pw_uid, owner.pw_gid)
    (folder / "server.key").chmod(0o600)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that the account owns."""
    with open_folder() as outer:
        folder = outer / "server"
        folder.mkdir(mode=0o700)
        if ACCOUNT is not None:
            owner = pwd.getpwnam(ACCOUNT)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        yield folder


def _program(name: str) -> str:
    return str(INSTALLATIONS[-1].with_name(name))


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [program, *arguments], user=ACCOUNT, cwd="/", capture_output=True, check=False, text=True, env=_ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr


def _spawn(program: str, *arguments: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([program, *arguments], user=ACCOUNT, cwd="/", stdout=log, stderr=log, env=_ENVIRONMENT)


_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
