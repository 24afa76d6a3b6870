"""What processors are tested with: rows and a queue that keep their promises, and log what happened in turn."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ordertrail.queues.queue import Frame, Position
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.execution_rows import Applied, Retried

EPOCH = "e1"
VENUE = "simulated"


def report(seq: int, **changes: Any) -> dict[str, Any]:
    """A trade of one unit, of an order of its own, unless `changes` says otherwise."""
    return {
        "seq": seq,
        "exec_id": f"x{seq}",
        "exec_type": "trade",
        "ord_status": "partially_filled",
        "client_order_id": f"order-{seq}",
        "exchange_order_id": f"X-{seq}",
        "last_qty": 1,
        "last_px": "150.25",
        "cum_qty": 1,
        "leaves_qty": 9,
        "avg_px": "150.25",
        "transact_time": "2026-01-01T12:00:00Z",
    } | changes


def frame(*reports: dict[str, Any] | bytes, epoch: str = EPOCH, body: bytes | None = None) -> Frame:
    """Reports as a venue sends them; bytes stand in the array as they are."""
    elements = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in reports]
    seqs = [each["seq"] for each in reports if isinstance(each, dict) and isinstance(each.get("seq"), int)]
    is_whole = len(seqs) == len(reports) > 0
    return Frame(
        venue=VENUE,
        epoch=epoch,
        exec_id_scope="order",
        count=len(reports),
        first=min(seqs) if is_whole else None,
        last=max(seqs) if is_whole else None,
        body=b"[" + b",".join(elements) + b"]" if body is None else body,
    )


def frames(count: int, *, of: int) -> list[Frame]:
    """So many frames of `of` reports each."""
    return [frame(*(report(number * of + each + 1) for each in range(of))) for number in range(count)]


class Killed(BaseException):
    """The process is gone."""


@dataclass
class MemoryRows:
    """`ExecutionRows` and `InboxRows` in memory. `log` is what was done, `fails` what the next statements raise."""

    log: list[str] = field(default_factory=list)
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    parked: dict[bytes, tuple[str | None, str, int | None]] = field(default_factory=dict)
    inbox: dict[int, Frame] = field(default_factory=dict)
    fails: list[Exception | None] = field(default_factory=list)
    is_bad: Callable[[Any], bool] = lambda report: False
    code: str = "22P02"
    result: Applied | None = None
    retried: list[Retried | Exception] = field(default_factory=list)
    partitions: list[int | Exception] = field(default_factory=list)
    statements: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event | None = None
    # More reports than this take longer than a statement may.
    too_many: int | None = None
    epochs_together: list[set[str]] = field(default_factory=list)

    async def apply_reports(self, frames: Sequence[Frame]) -> Applied:
        await self._begin()
        reports: list[dict[str, Any]] = []
        self.epochs_together.append({each.epoch for each in frames})
        for each in frames:
            try:
                elements = json.loads(each.body.decode())
            except json.JSONDecodeError:
                raise StatementFailed("22P02", "invalid input syntax for type json") from None
            if not isinstance(elements, list):
                raise StatementFailed("22023", "not an array")
            reports += elements
        if self.too_many is not None and len(reports) > self.too_many:
            raise StatementOutcomeUnknown("57014 canceling statement due to statement timeout", may_have_happened=False)
        if any(self.is_bad(each) for each in reports):
            raise StatementFailed(self.code, "a value that no column takes")
        before = len(self.rows)
        for one in reports:
            self.rows.setdefault((one["client_order_id"], one["exec_id"]), one)
        self.log.append("commit")
        return self.result or Applied(len(reports), len(self.rows) - before, 0)

    async def apply_inbox(self, venue: str, *, reports_max: int) -> Applied | None:
        taken: dict[int, Frame] = {}
        for number, each in sorted(self.inbox.items()):
            if taken and sum(one.count for one in taken.values()) + each.count > reports_max:
                break
            taken[number] = each
        if not taken:
            return None
        applied = await self.apply_reports(list(taken.values()))
        for number in taken:
            self.inbox.pop(number, None)
        return applied

    async def peek_inbox(self, venue: str, *, frames_max: int) -> list[tuple[int, Frame]]:
        return sorted(self.inbox.items())[:frames_max]

    async def drop_from_inbox(self, numbers: Sequence[int]) -> None:
        self.log.append("drop")
        for number in numbers:
            self.inbox.pop(number, None)

    async def park_report(
        self, frame: Frame, raw: bytes, *, reason: str, field: str | None = None, seq: int | None = None
    ) -> bool:
        await self._begin()
        self.log.append("park")
        is_new = raw not in self.parked
        self.parked[raw] = (field, reason, seq)
        return is_new

    async def retry_parked(self, venue: str, *, limit: int) -> Retried:
        self.log.append("retry")
        result = self.retried.pop(0) if self.retried else Retried()
        if isinstance(result, Exception):
            raise result
        return result

    async def replay_parked(self, parked_id: int) -> str | None:
        return None

    async def compact(self, venue: str) -> None:
        self.log.append("compact")

    async def ensure_partitions(self) -> int:
        self.log.append("partitions")
        result = self.partitions.pop(0) if self.partitions else 0
        if isinstance(result, Exception):
            raise result
        return result

    async def inbox_tail(self, venue: str) -> Position | None:
        return None

    async def put_in_inbox(self, frame: Frame, *, after: Position | None) -> bool:
        self.inbox[len(self.inbox) + 1] = frame
        return True

    async def inbox_depth(self, venue: str) -> int:
        return len(self.inbox)

    async def inbox_bytes(self, *, beyond: int) -> int:
        return sum(len(each.body) for each in self.inbox.values())

    async def _begin(self) -> None:
        self.statements += 1
        self.started.set()
        if self.held is not None:
            await self.held.wait()
        else:
            await asyncio.sleep(0)
        if self.fails and (failure := self.fails.pop(0)) is not None:
            raise failure


@dataclass
class MemoryQueue:
    """`Queue` in memory: what is not acknowledged is delivered again once `redeliver` is called, or given back."""

    log: list[str] = field(default_factory=list)
    waiting: list[Frame] = field(default_factory=list)
    taken: list["MemoryDelivery"] = field(default_factory=list)
    is_chained: bool = True
    is_depth_exact: bool = True
    fails: list[Exception] = field(default_factory=list)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def tail(self) -> Position | None:
        return None

    async def publish(self, frame: Frame, *, after: Position | None) -> None:
        self.waiting.append(frame)

    async def take(self, *, reports_max: int, wait_seconds: float) -> "MemoryDelivery | None":
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails.pop(0)
        if not self.waiting:
            return None
        count = 0
        taken: list[Frame] = []
        while self.waiting and (not taken or count + self.waiting[0].count <= reports_max):
            count += self.waiting[0].count
            taken.append(self.waiting.pop(0))
        delivery = MemoryDelivery(self, taken)
        self.taken.append(delivery)
        return delivery

    async def depth(self) -> int | None:
        return len(self.waiting)

    def redeliver(self) -> None:
        """As after the time that a delivery may take."""
        for delivery in self.taken:
            self.waiting += delivery.frames
        self.taken.clear()


@dataclass
class MemoryDelivery:
    queue: MemoryQueue
    frames: list[Frame]
    extended: int = 0

    async def acknowledge(self) -> None:
        self.queue.log.append("acknowledge")
        self.queue.taken.remove(self)

    async def give_back(self) -> None:
        self.queue.log.append("give back")
        self.queue.taken.remove(self)
        self.queue.waiting += self.frames

    async def extend(self) -> None:
        self.queue.log.append("extend")
        self.extended += 1
