"""One reader: which events it wants, where it stands, and what it has not taken yet."""

import asyncio
import enum
from collections.abc import Callable, Sequence
from enum import StrEnum

from ordertrail.events.cursor import Cursor
from ordertrail.events.shown import Delivery, ShownRow, Wanted
from ordertrail.storage.event_rows import MarkGone


class ReaderKind(StrEnum):
    """What a reader is to its client."""

    STREAM = "stream"
    PAGE = "page"
    ORDER = "order"


class End(enum.Enum):
    """Why a reader gets nothing more."""

    LAGGING = "lagging"
    LOG_CHANGED = "log_changed"
    DRAINING = "draining"
    LEFT = "left"


class Reader:
    """`position`: what follows it the reader has not got, as long as it is not `is_live`; then nothing before the
    tail's head is missing but what is pending.

    `older`: rows that were read for it, from its position on. `on_end` is called once, when it ends; `why_gone` says
    why its place is not there any more, where the log had it once.
    """

    def __init__(self, kind: ReaderKind, wanted: Wanted, position: Cursor, *, pending_bytes_max: int) -> None:
        self.kind = kind
        self.wanted = wanted
        self.position = position
        self.is_live = False
        self.awaits_page = False
        self.older: Sequence[ShownRow] | MarkGone | None = None
        self.is_beat_due = False
        self.end: End | None = None
        self.why_gone: MarkGone | None = None
        self.on_end: Callable[[], None] = _do_nothing
        self._pending: list[Delivery] = []
        self._pending_bytes = 0
        self._pending_bytes_max = pending_bytes_max
        self._changed = asyncio.Event()

    @property
    def has_pending(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._pending)

    def push(self, delivery: Delivery) -> bool:
        """Give it events; False: it has left too much lying already, and has ended."""
        if self._pending and self._pending_bytes + delivery.size_bytes > self._pending_bytes_max:
            self.finish(End.LAGGING)
            return False
        self._pending.append(delivery)
        self._pending_bytes += delivery.size_bytes
        self._changed.set()
        return True

    def take(self) -> list[Delivery]:
        """What it was given since it took last."""
        taken, self._pending, self._pending_bytes = self._pending, [], 0
        return taken

    def bring(self, older: Sequence[ShownRow] | MarkGone) -> None:
        """What follows its position was read."""
        self.awaits_page = False
        self.older = older
        self._changed.set()

    def beat(self) -> None:
        """A heartbeat is due."""
        self.is_beat_due = True
        self._changed.set()

    def retry(self) -> None:
        """What it waited for was not there, and may be there now."""
        self.awaits_page = False
        self._changed.set()

    def finish(self, end: End) -> None:
        """Nothing more comes; what is pending is dropped."""
        if self.end is None:
            self.end = end
            self.take()
            self._changed.set()
            self.on_end()

    async def changed(self) -> None:
        """Wait until something has changed since this was called last."""
        await self._changed.wait()
        self._changed.clear()


def _do_nothing() -> None:
    """For a reader that only waits."""
