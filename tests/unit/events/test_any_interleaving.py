"""Whatever happens in whatever order, a reader gets exactly the events it wants, in the log's order, none twice."""

import asyncio
import random
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest

from ordertrail.events import older_rows, tail
from ordertrail.events.cursor import Cursor, read_cursor
from ordertrail.events.reader import End, Reader, ReaderKind
from ordertrail.events.shown import EventType, Wanted
from ordertrail.events.watching import Begin, Refusal, Watching
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.event_rows import LogMark, MarkGone, OrderEvent
from tests.support.event_logs import InMemoryEventLog, execution_event, order_event, watching_on

ORDERS = "abc"
WANTED = [Wanted(), Wanted(), Wanted("a"), Wanted("b", EventType.EXECUTION), Wanted(None, EventType.ORDER)]

SEEDS = 40
# How often each happens.
STEPS = {
    "write": 20,
    "tail": 20,
    "older": 15,
    "join": 20,
    "take": 20,
    "cut": 8,
    "hang_up": 4,
    "away": 2,
    "drop": 2,
    "restart": 2,
}

Shown = tuple[str, str]


@dataclass
class Client:
    """Goes on after what it has, as a client would; `got` is from `start` on, an index into all that was written."""

    wanted: Wanted
    start: int = 0
    got: list[Shown] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    reader: Reader | None = None
    joining: "asyncio.Task[Reader | MarkGone | Refusal] | None" = None
    resumes_at: Cursor | None = None


@dataclass
class Written:
    """All that was ever written, and where each mark stands in it."""

    shown: list[Shown] = field(default_factory=list)
    index_after: dict[LogMark, int] = field(default_factory=dict)

    def index_of(self, cursor: Cursor) -> int:
        return self.index_after[cursor.mark] + cursor.passed

    def wanted(self, client: Client, end: int) -> list[Shown]:
        of_order, of_type = client.wanted.order_id, client.wanted.type
        return [
            shown
            for shown in self.shown[client.start : end]
            if of_order in (None, shown[0]) and of_type in (None, shown[1].partition(" ")[0])
        ]


class World:
    """A log, a process that reads it, and its clients."""

    def __init__(self) -> None:
        self.log = InMemoryEventLog()
        self.written = Written(index_after={self.log.before_first: 0})
        self.watching = self._process()
        self.clients = [Client(wanted) for wanted in WANTED]

    def _process(self) -> Watching:
        return watching_on(self.log, pending_bytes_max=1500, ring_bytes_max=4000)

    def write(self, orders: str, types: list[bool]) -> None:
        number = len(self.written.shown)
        events = [
            (execution_event if is_execution else order_event)(order, number + index)
            for index, (order, is_execution) in enumerate(zip(orders, types, strict=True))
        ]
        row = self.log.append(*events)
        self.written.shown += [
            (event.order_id, f"order {event.row.reason}")
            if isinstance(event, OrderEvent)
            else (event.order_id, f"execution {event.execution.exec_id}")
            for event in events
        ]
        self.written.index_after[row.mark] = len(self.written.shown)

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def join(self, client: Client, *, from_the_oldest: bool) -> None:
        if client.reader is not None or client.joining is not None:
            return
        start: Cursor | Begin = client.resumes_at or (Begin.OLDEST if from_the_oldest else Begin.NOW)
        client.joining = asyncio.ensure_future(self.watching.join(ReaderKind.STREAM, client.wanted, start))
        await self.settle()
        await self.joined(client)

    async def joined(self, client: Client) -> None:
        """Take note of a client that has come in, or was shown why not."""
        if client.joining is None or not client.joining.done():
            return
        joining, client.joining = client.joining, None
        try:
            answer = joining.result()
        except StatementOutcomeUnknown:
            return
        if isinstance(answer, Reader):
            client.reader = answer
            if client.resumes_at is None:
                client.start, client.got = self.written.index_of(self.watching.position_of(answer)), []
                client.resumes_at = answer.position
        elif isinstance(answer, MarkGone):
            client.resumes_at = None

    async def take(self, client: Client, *, events_max: int = 1000) -> None:
        """Take what there is; a client that is gone after so many events has no more of what was sent to it."""
        await self.joined(client)
        if (reader := client.reader) is None:
            return
        for delivery in await self.watching.more(reader, seconds=0):
            for event in delivery.events:
                name = "exec_id" if event.type is EventType.EXECUTION else "reason"
                client.got.append((event.order_id, f"{event.type} {_field(event.data, name)}"))
                # The id of an event says exactly what was given with it and before it.
                self.check(client, event.id)
                events_max -= 1
                if events_max == 0:
                    self.leave(client)
                    return
        if reader.end is None:
            self.check(client, self.watching.position_of(reader))
        else:
            self.leave(client)
            if reader.end is End.LOG_CHANGED:
                client.resumes_at = None

    def check(self, client: Client, place: str | Cursor) -> None:
        cursor = read_cursor(place) if isinstance(place, str) else place
        assert cursor is not None
        assert client.got == self.written.wanted(client, self.written.index_of(cursor))
        client.resumes_at = cursor

    def hang_up(self, client: Client) -> None:
        """Leave with the place that a heartbeat would have shown."""
        if client.reader is not None and client.reader.end is None:
            self.check(client, self.watching.position_of(client.reader))
        self.leave(client)

    def leave(self, client: Client) -> None:
        if client.joining is not None:
            client.joining.cancel()
            client.joining = None
        if client.reader is not None:
            self.watching.leave(client.reader)
            client.reader = None

    def restart(self) -> None:
        """The process is gone, and another has its place."""
        for client in self.clients:
            self.hang_up(client)
        self.watching = self._process()

    async def come_to_rest(self) -> None:
        """The log is there again, nobody writes, and every client has what it can have."""
        self.log.away = False
        for _ in range(len(self.written.shown)):
            for client in self.clients:
                await self.join(client, from_the_oldest=True)
                await self.take(client)
            await self.watching.tail.run_once()
            await self.watching.older.run_once()
            await self.settle()
        for client in self.clients:
            assert client.got == self.written.wanted(client, len(self.written.shown))
            self.leave(client)


def _field(data: bytes, name: str) -> str:
    return data.decode().partition(f'"{name}":"')[2].partition('"')[0]


async def act(world: World, chance: random.Random) -> None:
    """One step of anybody's."""
    client = chance.choice(world.clients)
    match chance.choices(list(STEPS), list(STEPS.values()))[0]:
        case "write":
            orders = "".join(chance.choices(ORDERS, k=chance.randint(1, 4)))
            world.write(orders, [chance.random() < 0.4 for _ in orders])
        case "tail":
            await world.watching.tail.run_once()
        case "older":
            await world.watching.older.run_once()
        case "join":
            await world.join(client, from_the_oldest=chance.random() < 0.5)
        case "take":
            await world.take(client)
        case "cut":
            await world.take(client, events_max=chance.randint(1, 3))
        case "hang_up":
            world.hang_up(client)
        case "away":
            world.log.away = not world.log.away
        case "drop":
            world.log.drop(chance.randint(1, 3))
        case "restart":
            world.restart()
        case step:
            raise AssertionError(step)
    await world.settle()


async def walk(seed: int) -> None:
    chance = random.Random(seed)
    world = World()
    for _ in range(300):
        await act(world, chance)
    await world.come_to_rest()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_any_interleaving_gives_every_reader_exactly_what_it_wants(seed: int) -> None:
    with patch.object(tail, "TICK_EVENTS_MAX", 3), patch.object(older_rows, "PAGE_EVENTS_MAX", 5):
        await walk(seed)
