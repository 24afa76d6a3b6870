"""Waiting until enough is recorded of an order, without asking the database again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ordertrail.events.reader import Reader, ReaderKind
from ordertrail.events.shown import Wanted
from ordertrail.events.watching import Begin, Watching

T = TypeVar("T")


class OrderWaiting:
    """For requests that would rather wait for an order than ask for it again."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching

    async def read_until(
        self, order_id: str, read: Callable[[], Awaitable[T]], is_enough: Callable[[T], bool], *, seconds: float
    ) -> T:
        """What `read` gives once it is enough, or as it is after so many seconds; what it raises passes through.

        It reads at first, whenever something was written of the order, and at the end, for what an open transaction
        holds back is told late. Where there is no room for one who waits, or the process stops, it waits no longer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        # Before the first read: what is written after it will be told.
        reader = await self._watching.join(ReaderKind.ORDER, Wanted(order_id), Begin.NOW)
        if not isinstance(reader, Reader):
            return await read()
        try:
            found = await read()
            while not is_enough(found) and (left := deadline - loop.time()) > 0 and reader.end is None:
                await self._watching.more(reader, seconds=left)
                found = await read()
            return found
        finally:
            self._watching.leave(reader)
