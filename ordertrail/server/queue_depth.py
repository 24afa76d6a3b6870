"""How many frames of reports wait in a broker, for the status: of a process that may have no other business with it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ordertrail.queues.queue import Broker, QueueUnavailable
from ordertrail.queues.registry import make_queue, queue_title
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings

# A broker answers at once or is away; whoever wants the status is not to wait for it.
CALL_SECONDS = 0.5
READ_SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """`frames`: None, and `problem` says why, where it could not be read. `queue`: as a person knows it."""

    queue: str
    frames: int | None
    is_exact: bool = True
    problem: str | None = None


class BrokerDepth:
    """Reads a broker's depth over a connection of its own; it declares nothing there."""

    def __init__(self, title: str, make: Callable[[], Broker]) -> None:
        self._title = title
        self._make = make
        self._broker: Broker | None = None

    async def read(self) -> QueueDepth:
        """Within little more than a second, whatever fails."""
        try:
            broker = self._broker = self._broker or self._make()
            async with asyncio.timeout(READ_SECONDS_MAX):
                # Where nothing has been declared yet, nothing waits.
                frames = await broker.frames_waiting() or 0
        except (CannotStart, QueueUnavailable) as error:
            return QueueDepth(self._title, None, problem=str(error))
        except TimeoutError:
            return QueueDepth(self._title, None, problem="The queue does not answer.")
        return QueueDepth(self._title, frames, broker.is_depth_exact)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._broker is not None:
            await self._broker.close()


def broker_depth(settings: Settings, *, venue: str) -> BrokerDepth | None:
    """None: the queue is in the database, whose figures tell its depth."""
    url = settings.queue_url
    if url is None:
        return None

    def make() -> Broker:
        return make_queue(url, venue=venue, bytes_max=settings.queue_bytes_max, timeout_seconds=CALL_SECONDS)

    return BrokerDepth(queue_title(url), make)
