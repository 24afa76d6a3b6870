"""Waiting for an order: what is written of it wakes the one who waits, and nothing is missed in between."""

import asyncio
from collections.abc import Awaitable, Callable

from ordertrail.events.reader import ReaderKind
from ordertrail.events.shown import Wanted
from ordertrail.events.waiting import OrderWaiting
from ordertrail.events.watching import Begin
from tests.support.event_logs import InMemoryEventLog, driven, joined, order_event, watching_on

LONG = 60.0


class Order:
    """What is read of an order, and when: `steps` happen after each read."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.rows = 0
        self.reads: list[int] = []
        self._steps = list(steps)

    async def read(self) -> int:
        self.reads.append(self.rows)
        rows = self.rows
        if self._steps:
            self._steps.pop(0)()
        await asyncio.sleep(0)
        return rows


def is_enough(rows: int) -> bool:
    return rows >= 2


def started(watching_on_log: OrderWaiting, order: Order, *, seconds: float = LONG) -> Awaitable[int]:
    return watching_on_log.read_until("a", order.read, is_enough, seconds=seconds)


async def test_what_is_enough_already_is_read_once() -> None:
    watching = watching_on(InMemoryEventLog())
    order = Order()
    order.rows = 2

    assert await driven(watching, started(OrderWaiting(watching), order)) == 2
    assert order.reads == [2]


async def test_what_is_written_after_the_first_read_is_not_missed() -> None:
    log = InMemoryEventLog()
    watching = watching_on(log)

    def write() -> None:
        order.rows = 2
        log.append(order_event("a"))

    order = Order(write)

    assert await driven(watching, started(OrderWaiting(watching), order)) == 2
    assert order.reads == [0, 2]


async def test_what_is_written_of_others_wakes_nobody() -> None:
    log = InMemoryEventLog()
    watching = watching_on(log)

    def write_elsewhere() -> None:
        log.append(order_event("b"))

    order = Order(write_elsewhere)

    assert await driven(watching, started(OrderWaiting(watching), order, seconds=0.05)) == 0
    assert order.reads == [0, 0]


async def test_it_is_read_at_the_end_for_what_comes_late() -> None:
    watching = watching_on(InMemoryEventLog())

    def write_without_a_word() -> None:
        order.rows = 2

    order = Order(write_without_a_word)

    assert await driven(watching, started(OrderWaiting(watching), order, seconds=0.01)) == 2


async def test_where_there_is_no_room_nobody_waits() -> None:
    watching = watching_on(InMemoryEventLog(), readers_max=1)
    await joined(watching)
    order = Order()

    assert await started(OrderWaiting(watching), order) == 0
    assert order.reads == [0]


async def test_a_drain_ends_the_waiting() -> None:
    watching = watching_on(InMemoryEventLog())
    order = Order(watching.start_draining)

    assert await driven(watching, started(OrderWaiting(watching), order)) == 0


async def test_who_has_waited_has_left() -> None:
    watching = watching_on(InMemoryEventLog(), readers_max=1)
    order = Order()
    order.rows = 2

    for _ in range(3):
        await driven(watching, started(OrderWaiting(watching), order))

    await joined(watching, Begin.NOW, Wanted(), ReaderKind.STREAM)
