"""The exchange's socket in the simulation: frames that arrive in their order, until the connection breaks.

What the exchange itself does wrong (gaps, repeats, garbage) it does itself. Here frames take time, connections are cut,
and some fall silent, so that only their reader's patience ends them.
"""

import asyncio
import contextvars
from collections import deque
from typing import Protocol

from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.venues.venue import Following, Heartbeat, Reports, UnreadableFrame

WINDOW_FRAMES = 8
# As the adapters over a real socket have it: an exchange says every second that it is alive.
SILENCE_SECONDS_MAX = 6.0

SocketFrame = Reports | Heartbeat | UnreadableFrame | NoAnswer


class SocketFates(Protocol):
    """Who decides what becomes of a frame."""

    def frame(self, frame: SocketFrame) -> float | str:
        """How long it is on its way; or `cut` or `silent`, as the connection is from then on."""
        ...


class SimulatedSocket:
    """A connection whose far end is `following`, which runs in the exchange's process. As a `Following`."""

    def __init__(
        self,
        following: Following,
        fates: SocketFates,
        *,
        far_context: contextvars.Context,
    ) -> None:
        self.epoch = following.epoch
        self.head = following.head
        self._following = following
        self._fates = fates
        # What is under way belongs to nobody.
        self._world = contextvars.Context()
        self._arrived: deque[SocketFrame] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._under_way = 0
        self._last_at = 0.0
        self._is_broken = False
        self._pump = asyncio.get_running_loop().create_task(self._send(), context=far_context)

    @property
    def is_open(self) -> bool:
        """Whether anything may still come over it."""
        return not self._is_broken

    async def receive(self) -> SocketFrame:
        loop = asyncio.get_running_loop()
        if not self._arrived:
            self._reader = loop.create_future()
            try:
                async with asyncio.timeout(SILENCE_SECONDS_MAX):
                    await self._reader
            except TimeoutError:
                return NoAnswer("timeout")
            finally:
                self._reader = None
        if isinstance(self._arrived[0], NoAnswer):
            return self._arrived[0]
        self._under_way -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return self._arrived.popleft()

    async def close(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Nobody reads at this end any more, and the other is told."""
        self._is_broken = True
        self._pump.cancel()

    def cut(self) -> None:
        """The other end is gone, and its kernel says so."""
        self._deliver(NoAnswer("connection_lost"), 0.005)
        self._is_broken = True

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self._is_broken:
                frame = await self._following.receive()
                fate = self._fates.frame(frame)
                if fate == "silent":
                    self._is_broken = True
                    return
                if isinstance(fate, str):
                    self.cut()
                    return
                self._under_way += 1
                self._deliver(frame, fate)
                if isinstance(frame, NoAnswer):
                    return
                while self._under_way >= WINDOW_FRAMES and not self._is_broken:
                    self._room = loop.create_future()
                    await self._room
        finally:
            await self._following.close()

    def _deliver(self, frame: SocketFrame, seconds: float) -> None:
        if self._is_broken:
            return
        loop = asyncio.get_running_loop()
        self._last_at = max(self._last_at, loop.time() + seconds)
        loop.call_at(self._last_at, self._arrive, frame, context=self._world)

    def _arrive(self, frame: SocketFrame) -> None:
        self._arrived.append(frame)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
