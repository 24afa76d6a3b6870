"""Makes connections: to the host that can be written to, as sessions that depend on nobody's defaults.

Each connection is found out when it dies silently, and is refused where it is no session of its own: behind a pooler
that hands out servers by transaction, settings are lost, and with them the word that a commit is kept.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from ordertrail.storage.postgres.address import Address
from ordertrail.storage.postgres.connection_statements import BACKEND_PID, BEGIN, COMMIT, PREPARE_SESSION

# Every statement of ours finds rows by their keys. Planned while a table is still small, one may be kept that reads
# all of it, and is slower with every order.
PLANNER_SETTINGS = {
    "plan_cache_mode": "auto",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_nestloop": "on",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
}

# What the server, the database and the role say by default must not matter. Whether transactions are read-only is not
# here: a provider that says so, because a disk is full, is obeyed.
SESSION_SETTINGS = {
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "row_security": "off",  # a policy that hid rows would have us say that there are none; so it is an error
    "idle_session_timeout": "0",
    "transaction_timeout": "0",  # but for the connections of a pool: see `session_settings`
    "synchronous_commit": "on",
}

# A network that drops packets is noticed: by an idle connection after a minute, and by one that waits for an answer
# after a part of the statement's time.
KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_INTERVAL_SECONDS = 10
KEEPALIVE_PROBES = 3
USER_TIMEOUT_SHARE = 0.5

# The driver prepares a longer statement anew each time, and PostgreSQL plans it anew; its own limit is 15 KiB.
STATEMENT_BYTES_MAX = 64 * 1024

POOLER_ROUNDS = 3
POOLER_CHECK_SHARE = 0.25

NOT_WRITABLE = "it is read-only"
POOLED = (
    "a pooler hands out its connections by transaction, and so the settings of our sessions are lost, that a commit is "
    "kept among them. Connect to the server itself, or to a pooler in session mode (pool_mode = session)"
)
WITHOUT_TRIGGERS = "session_replication_role is not origin, and so rows could be changed"

# What the driver raises where a server cannot be reached, or goes away. The last is none of its documented errors: the
# server's farewell has come while nothing was asked of it, and then a statement is.
UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_STARTUP_REFUSED = "unsupported startup parameter"
_NO_TRANSACTIONS = "statement pooling mode"
_LOST_STATEMENT_CODES = ("26000", "42P05")


class NotWritableError(ConnectionError):
    """The server answers, and takes no writes: a standby, or a primary that was told so."""


class UnsuitableError(ConnectionError):
    """Connected to what we must not work with; trying again does not help, a person must change something."""


class Session(asyncpg.Connection):
    """A connection that remembers which process of the server it was prepared on, and when it was left in the pool."""

    __slots__ = ("backend_pid", "left_at")
    backend_pid: int
    left_at: float

    def leave(self, at: float) -> None:
        """It goes back to the pool, at that time of the loop."""
        self.left_at = at


class Connector:
    """Makes connections to one address; begins with the host that was the right one last time."""

    def __init__(self, address: Address, settings: Mapping[str, str], *, timeout_seconds: float) -> None:
        self._address = address
        self._settings = {
            "application_name": address.application_name,
            **SESSION_SETTINGS,
            "search_path": address.search_path,
            **settings,
        }
        self._timeout_seconds = timeout_seconds
        self._hosts = list(address.hosts)
        self._tls = ssl.create_default_context() if address.uses_system_certificates else None
        # A pooler may take none of them at its door; they are set behind it all the same.
        self._sends_settings = True
        self._is_known_to_be_ours = False

    async def connect(self, *, is_probe: bool = False) -> Session:
        """A connection to the first host that can be written to; each host has an equal part of what time is left."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        problems: list[tuple[str, Exception]] = []
        for tried, (host, port) in enumerate(tuple(self._hosts)):
            share = (deadline - loop.time()) / (len(self._hosts) - tried)
            limit = self._address.connect_timeout_seconds
            try:
                async with asyncio.timeout(share if limit is None else min(share, limit)):
                    session = await self._connect_to(host, port, is_probe=is_probe)
            except UnsuitableError:
                raise
            except Exception as error:  # noqa: BLE001 - the next host may be the one
                problems.append((host or "here", error))
            else:
                self._hosts.remove((host, port))
                self._hosts.insert(0, (host, port))
                return session
        if len(problems) == 1:
            raise problems[0][1]
        all_of_them = "; ".join(f"{host}: {str(error) or type(error).__name__}" for host, error in problems)
        if any(isinstance(error, NotWritableError) for _, error in problems):
            raise NotWritableError(all_of_them) from problems[0][1]
        raise ConnectionError(all_of_them) from problems[0][1]

    async def _connect_to(self, host: str | None, port: int | None, *, is_probe: bool) -> Session:
        try:
            session = await self._open(host, port)
        except asyncpg.ProtocolViolationError as error:
            if _STARTUP_REFUSED not in str(error) or not self._sends_settings:
                raise
            self._sends_settings = False
            session = await self._open(host, port)
        try:
            _notice_silence(session, user_timeout_seconds=self._timeout_seconds * USER_TIMEOUT_SHARE)
            await self._prepare(session)
            if not is_probe and not self._is_known_to_be_ours:
                await self._check_for_pooler(session)
                self._is_known_to_be_ours = True
        except BaseException:
            session.terminate()
            raise
        return session

    async def _open(self, host: str | None, port: int | None) -> Session:
        address = self._address
        settings = dict(self._settings) if self._sends_settings else {"application_name": address.application_name}
        if self._sends_settings:
            # Not known everywhere; it is set once we know the server.
            del settings["transaction_timeout"], settings["synchronous_commit"]
        if address.options is not None:
            settings["options"] = address.options
        return await asyncpg.connect(
            address.tls_url,
            host=host,
            port=port,
            user=address.user,
            password=address.password,
            database=address.database,
            passfile=address.passfile,
            ssl=self._tls,
            server_settings=settings,
            target_session_attrs=SessionAttribute.any,
            timeout=self._timeout_seconds,
            connection_class=Session,
            max_cacheable_statement_size=STATEMENT_BYTES_MAX,
        )

    async def _prepare(self, session: Session) -> None:
        try:
            [record] = await session.fetch(PREPARE_SESSION, list(self._settings), list(self._settings.values()))
        except asyncpg.PostgresError as error:
            # No session of its own can know a statement that it has never prepared, or lose one at once.
            if error.sqlstate in _LOST_STATEMENT_CODES:
                raise UnsuitableError(POOLED) from error
            raise
        session.backend_pid = record["backend_pid"]
        session.left_at = math.inf
        if record["is_without_triggers"]:
            raise UnsuitableError(WITHOUT_TRIGGERS)
        if record["is_read_only"]:
            raise NotWritableError(NOT_WRITABLE)

    async def _check_for_pooler(self, session: Session) -> None:
        """Where a pooler stands between, use two sessions in turns: by transaction, both get the same server."""
        if session.get_server_pid() == session.backend_pid:
            return
        # A pooler that has no second server for us proves nothing; each sign of life looks again.
        is_pooled = False
        with suppress(*UNREACHABLE):
            async with asyncio.timeout(self._timeout_seconds * POOLER_CHECK_SHARE):
                other = await self.connect(is_probe=True)
                try:
                    is_pooled = await _have_common_server(session, other)
                finally:
                    other.terminate()
        if is_pooled:
            raise UnsuitableError(POOLED)


async def _have_common_server(session: Session, other: Session) -> bool:
    """Whether one of two sessions got the server of the other, or another one than before."""
    try:
        for _ in range(POOLER_ROUNDS):
            for each, its_neighbour in ((session, other), (other, session)):
                pid = await _pid_in_transaction(each)
                if pid != each.backend_pid or pid == its_neighbour.backend_pid:
                    return True
    except asyncpg.PostgresError as error:
        # Where the pooler is by statement, it takes no transaction at all.
        if error.sqlstate in _LOST_STATEMENT_CODES or _NO_TRANSACTIONS in str(error):
            return True
        raise
    return False


async def _pid_in_transaction(session: Session) -> int:
    await session.execute(BEGIN)
    pid: int = await session.fetchval(BACKEND_PID)
    await session.execute(COMMIT)
    return pid


def _notice_silence(session: Any, *, user_timeout_seconds: float) -> None:
    """Have the kernel find out that nobody is there any more; the driver has no option for it."""
    connected = session._transport.get_extra_info("socket")  # noqa: SLF001
    if connected is None or connected.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    options = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_SECONDS,
        "TCP_KEEPALIVE": KEEPALIVE_IDLE_SECONDS,  # its name on macOS
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_SECONDS,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": max(1, int(user_timeout_seconds * 1000)),
    }
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        number = getattr(socket, name, None)
        if number is not None:
            with suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, number, value)
