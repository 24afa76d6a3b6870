"""What may become of the connection over which the inbox is heard: nothing of it ends the listening."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from ordertrail.storage.execution_rows import INBOX_CHANNEL
from ordertrail.storage.postgres import channel_watch
from ordertrail.storage.postgres.channel_watch import ChannelWatch

VENUE = "venue"
WAIT_SECONDS = 30
IN_THE_MIDDLE = "cannot switch to state 11; another operation (2) is in progress"


class ServerThatGoesAway:
    """Makes connections, and is one itself; each failure happens once, and then it stays."""

    def __init__(self, *, connecting: list[Exception], listening: list[Exception]) -> None:
        self._connecting, self._listening = connecting, listening
        self.ended = 0
        self.gone: Callable[[Any], None] = lambda _: None

    async def connect(self) -> "ServerThatGoesAway":
        if self._connecting:
            raise self._connecting.pop(0)
        return self

    async def add_listener(self, *_: object) -> None:
        if self._listening:
            raise self._listening.pop(0)

    def add_termination_listener(self, when_gone: Callable[[Any], None]) -> None:
        self.gone = when_gone

    def terminate(self) -> None:
        self.ended += 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_watch, "RECONNECT_SECONDS_MIN", 0.0)


@asynccontextmanager
async def listening_to(server: ServerThatGoesAway) -> AsyncIterator[tuple[ChannelWatch, "asyncio.Task[None]"]]:
    """Once it listens."""
    heard = asyncio.Event()
    watch = ChannelWatch("postgresql://nowhere", channel=INBOX_CHANNEL, payload=VENUE, timeout_seconds=1)
    watch._connector = server  # type: ignore[assignment]  # it connects to itself, and goes away when told
    task = asyncio.get_running_loop().create_task(watch.run(heard.set))
    hearing = asyncio.get_running_loop().create_task(heard.wait())
    await asyncio.wait({task, hearing}, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    hearing.cancel()
    yield watch, task
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connect call failed"),
        TimeoutError(),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.InterfaceError("connection is closed"),
        # None of the driver's documented errors, and none of its own.
        asyncpg.InternalClientError(IN_THE_MIDDLE),
        AttributeError("'NoneType' object has no attribute 'decode'"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_the_driver_raises_it_connects_again(error: Exception) -> None:
    server = ServerThatGoesAway(connecting=[error], listening=[error])

    async with listening_to(server) as (watch, task):
        assert not task.done()
        assert watch.is_listening

    assert server.ended == 2
