"""Hears when something is put into a queue in the database, so that nobody need poll for it; hearing nothing proves
nothing.

What wakes may be lost: a connection dies unseen, a server restarts. So workers poll as well, only less often.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg

from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.postgres.address import read_address
from ordertrail.storage.postgres.connecting import UNREACHABLE, Connector, Session
from ordertrail.storage.postgres.connection_statements import BACKEND_PID

_log = get_logger()

RECONNECT_SECONDS_MIN = 0.25
RECONNECT_SECONDS_MAX = 5.0
PING_SECONDS = 10.0


class ChannelWatch:
    """One connection of its own, that hears one payload of one channel; `is_listening` while it may be relied on."""

    def __init__(self, url: str, *, channel: str, payload: str = "", timeout_seconds: float) -> None:
        self._channel = channel
        self._payload = payload
        self._timeout_seconds = timeout_seconds
        self._connector = Connector(read_address(url), {}, timeout_seconds=timeout_seconds)
        self._when_put: Callable[[], None] = lambda: None
        self.is_listening = False

    async def run(self, when_put: Callable[[], None]) -> None:
        """Call `when_put` whenever there is something, and once after each connect; run for ever, cancel to end."""
        self._when_put = when_put
        pause = RECONNECT_SECONDS_MIN
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._listen()
            except UNREACHABLE as error:
                _log.debug("a queue is not heard", channel=self._channel, error=str(error) or type(error).__name__)
            except Exception as error:  # noqa: BLE001 - workers poll as well: nothing here is worth a processor's end
                _log.warning("a queue is not heard", channel=self._channel, exc_info=error)
            if asyncio.get_running_loop().time() - began > RECONNECT_SECONDS_MAX:
                pause = RECONNECT_SECONDS_MIN
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECONNECT_SECONDS_MAX)

    async def _listen(self) -> None:
        """Until the connection is gone."""
        session = await self._connector.connect()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await session.add_listener(self._channel, self._heard)
            is_gone = asyncio.Event()
            session.add_termination_listener(lambda _: is_gone.set())
            self.is_listening = True
            self._when_put()
            while not is_gone.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(PING_SECONDS):
                        await is_gone.wait()
                        return
                async with asyncio.timeout(self._timeout_seconds):
                    await session.fetchval(BACKEND_PID)
        finally:
            self.is_listening = False
            _end(session)

    def _heard(self, _session: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == self._payload:
            self._when_put()


def _end(session: Session) -> None:
    with suppress(asyncpg.InterfaceError):
        session.terminate()
