"""The Protocol of the queue between the feed and the processors. Every queue passes `tests/conformance/queues`.

What a queue keeps are frames: execution reports as the venue sent them, in the form of its protocol. A frame may be
delivered again, late, or out of order: what becomes of its reports must not depend on it. What a queue must not do is
lose a frame that it has taken, or take a *chained* one that does not follow on its tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

ExecIdScope = Literal["order", "epoch"]


@dataclass(frozen=True, slots=True)
class Position:
    """How far a venue's reports have been taken in: all of `epoch` up to `seq`. `seq` is 0 before the first."""

    epoch: str
    seq: int


def follows(tail: Position | None, after: Position) -> bool:
    """Whether a frame that claims to follow on `after` does so where the queue ends at `tail` (None: not known)."""
    return tail is None or tail == after or (after.seq == 0 and after.epoch != tail.epoch)


@dataclass(frozen=True, slots=True)
class Frame:
    """Some execution reports of one venue and epoch; `body` is a JSON array of them, as they came.

    `first`, `last`: the lowest and the highest `seq` in it, of which none between is missing; None where the venue has
    no `seq`, or where that is not so. `exec_id_scope`: whether the venue's exec ids are unique for an order's life, or
    begin anew with each epoch.
    """

    venue: str
    epoch: str
    exec_id_scope: ExecIdScope
    count: int
    first: int | None
    last: int | None
    body: bytes

    @property
    def id(self) -> str:
        """What tells it from others, for queues that want a name."""
        return f"{self.epoch}:{self.first}-{self.last}"


def position_after(frame: Frame) -> Position:
    """Where a chained frame ends."""
    assert frame.last is not None, "a frame without seq is never chained"
    return Position(frame.epoch, frame.last)


class Overtaken(Exception):
    """The queue's tail is not where the feed believed it: another feed has written, or the queue has lost its tail."""


class QueueFull(Exception):
    """The queue takes no more until processors have worked some of it off."""


class QueueUnavailable(Exception):
    """The queue does not answer, or lost what it had; the text is for people. It may have taken the frame."""


class Delivery(Protocol):
    """Frames that this processor has and no other has meanwhile, as far as the queue can promise that."""

    @property
    def frames(self) -> Sequence[Frame]:
        """Oldest first; never none."""
        ...

    async def acknowledge(self) -> None:
        """What they said is committed: the queue may forget them. QueueUnavailable: they may be delivered again."""
        ...

    async def give_back(self) -> None:
        """They were not applied: deliver them again, to whom it may be. Never raises."""
        ...

    async def extend(self) -> None:
        """Still at work: do not deliver them to another yet. Never raises."""
        ...


class Queue(Protocol):
    """One venue's queue."""

    async def open(self) -> None:
        """Make ready; must not fail because the queue is out of reach."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

    @property
    def is_chained(self) -> bool:
        """Whether it refuses a chained frame that does not follow on its tail; if not, two feeds may both write."""
        ...

    async def tail(self) -> Position | None:
        """The position after the newest chained frame that it knows; None: it knows none. QueueUnavailable."""
        ...

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        """Take a frame durably. `after`: it is chained, and follows on this position; `Position(epoch, 0)` begins one.

        None: it fills a gap below the tail and moves nothing. The first chained frame of a queue without a tail is
        taken whatever `after` says. Overtaken, QueueFull, QueueUnavailable; repeated after QueueUnavailable it is
        taken once or twice, or Overtaken where it was taken before.
        """
        ...

    async def take(self, *, reports_max: int, wait_seconds: float) -> Delivery | None:
        """Frames with about so many reports, at least one frame; None: none came in time. QueueUnavailable."""
        ...

    async def depth(self) -> int | None:
        """How many frames wait or are being worked on; None where the queue cannot say. QueueUnavailable."""
        ...

    @property
    def is_depth_exact(self) -> bool:
        """Whether `depth` counts; if not, it is what the queue believes, and may be behind for a while."""
        ...


class Broker(Queue, Protocol):
    """A queue that is a server of its own."""

    async def frames_waiting(self) -> int | None:
        """As `depth`, but nothing is declared; None: it is in reach, and nothing has been declared there yet."""
        ...
