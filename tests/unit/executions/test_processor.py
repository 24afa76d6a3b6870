"""A processor loses nothing, acknowledges nothing before its commit, and parks what cannot be applied, alone."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.applying import Applying
from ordertrail.executions.processor import Processor, ProcessorLimits
from ordertrail.executions.sources import BrokerSource, InboxSource, batches_of
from ordertrail.queues.queue import Frame, QueueUnavailable
from ordertrail.runtime import failpoints
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from tests.support.clocks import ManualClock
from tests.support.executions import VENUE, Killed, MemoryQueue, MemoryRows, frame, frames, report

LOST = StatementOutcomeUnknown("the connection is gone", may_have_happened=True)
DEADLOCK = StatementFailed("40P01", "deadlock detected")


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


class House:
    """A processor with what stands around it; `is_inbox`: its queue is in the database."""

    def __init__(
        self,
        *,
        is_inbox: bool,
        statements_in_flight: int = 2,
        reports_max: int = 1000,
        idle_seconds_min: float = 0.0,
    ) -> None:
        self.rows = MemoryRows()
        self.queue = MemoryQueue(log=self.rows.log)
        self.clock = ManualClock()
        applying = Applying(self.rows, self.clock, AppliedReports(VENUE))
        self.source: InboxSource | BrokerSource = (
            InboxSource(self.rows, self.rows, applying, venue=VENUE)
            if is_inbox
            else BrokerSource(self.queue, applying, self.clock)
        )
        self.limits = ProcessorLimits(
            statements_in_flight=statements_in_flight, reports_max=reports_max, idle_seconds_min=idle_seconds_min
        )
        self.processor = Processor(self.source, self.limits)

    def put(self, *put: Frame) -> None:
        if isinstance(self.source, InboxSource):
            begin = len(self.rows.inbox)
            self.rows.inbox |= {begin + number: each for number, each in enumerate(put)}
        else:
            self.queue.waiting += put

    @property
    def is_empty(self) -> bool:
        return not self.rows.inbox and not self.queue.waiting and not self.queue.taken

    @property
    def log(self) -> list[str]:
        return self.rows.log


@pytest.fixture(params=[True, False], ids=["inbox", "broker"])
def house(request: pytest.FixtureRequest) -> House:
    return House(is_inbox=request.param)


async def becomes_true(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - the loop is what it waits for
            await asyncio.sleep(0.001)


async def run_until(house: House, is_done: Callable[[], bool]) -> None:
    """Have the processor run until that is so, then stop it as its owner does."""
    running = asyncio.get_running_loop().create_task(house.processor.run())
    await becomes_true(lambda: running.done() or is_done())
    running.cancel()
    await asyncio.wait([running])


async def test_reports_become_rows_once_and_leave_the_queue(house: House) -> None:
    house.put(*frames(20, of=7), *frames(20, of=7))

    count = await house.processor.run_until_empty()

    assert count == 280
    assert len(house.rows.rows) == 140
    assert house.is_empty


async def test_a_delivery_is_acknowledged_after_its_commit() -> None:
    house = House(is_inbox=False, reports_max=4)
    house.put(*frames(3, of=4))

    await house.processor.run_until_empty()

    assert house.log == ["commit", "acknowledge"] * 3


@pytest.mark.parametrize("point", ["before_apply_reports", "after_apply_reports", "before_acknowledge"])
async def test_a_processor_that_dies_at_any_point_leaves_what_the_next_one_needs(house: House, point: str) -> None:
    def kill() -> None:
        failpoints.disarm()
        raise Killed

    house.put(*frames(4, of=5))
    failpoints.arm(point, kill)

    try:
        await house.processor.run_until_empty()
    except Killed:
        house.queue.redeliver()
    await house.processor.run_until_empty()

    assert len(house.rows.rows) == 20
    assert house.is_empty


@pytest.mark.parametrize("error", [LOST, DEADLOCK, StatementFailed("42P01", "no such table"), ValueError("a bug")])
async def test_what_is_not_about_the_data_is_tried_again_and_never_parked(house: House, error: Exception) -> None:
    house.put(frame(report(1)))
    house.rows.fails = [error]

    await run_until(house, lambda: house.is_empty)

    assert len(house.rows.rows) == 1
    assert not house.rows.parked


async def test_what_could_not_be_applied_is_given_back_and_not_acknowledged() -> None:
    house = House(is_inbox=False)
    house.put(*frames(1, of=5))
    house.rows.fails = [LOST]

    with pytest.raises(StatementOutcomeUnknown):
        await house.processor.run_until_empty()

    assert house.log == ["give back"]
    assert house.queue.waiting


async def test_a_queue_that_is_away_is_waited_for() -> None:
    house = House(is_inbox=False)
    house.queue.fails = [QueueUnavailable("away")]
    house.put(*frames(1, of=5))

    await run_until(house, lambda: house.is_empty)

    assert len(house.rows.rows) == 5


@pytest.mark.parametrize("code", ["22P02", "23502", "54000"])
async def test_a_report_that_breaks_the_statement_is_parked_alone(house: House, code: str) -> None:
    house.rows.is_bad = lambda each: each["last_px"] == "abc"
    house.rows.code = code
    bad = report(77, last_px="abc")
    reports = [report(seq) if seq != 77 else bad for seq in range(1, 101)]
    house.put(frame(*reports[:50]), frame(*reports[50:]))

    await house.processor.run_until_empty()

    assert len(house.rows.rows) == 99
    assert list(house.rows.parked.values()) == [("last_px", "is no number", 77)]
    assert house.is_empty
    assert house.rows.statements < 30


async def test_several_that_break_it_are_each_parked(house: House) -> None:
    bad = {1, 2, 31, 60}
    house.rows.is_bad = lambda each: each["seq"] in bad
    house.put(frame(*(report(seq) for seq in range(1, 61))))

    await house.processor.run_until_empty()

    assert {seq for _, _, seq in house.rows.parked.values()} == bad
    assert len(house.rows.rows) == 56


@pytest.mark.parametrize("body", [b"{}", b'[{"seq": 1}', b"", b'"text"', b"[1,]", b"\xff\xfe"])
async def test_a_frame_that_is_no_array_is_parked_whole_and_its_neighbours_go_through(
    house: House, body: bytes
) -> None:
    house.put(frame(report(1)), frame(body=body), frame(report(2)))

    await house.processor.run_until_empty()

    assert list(house.rows.parked) == [body]
    assert len(house.rows.rows) == 2
    assert house.is_empty


async def test_nothing_is_dropped_before_it_is_applied_or_parked() -> None:
    house = House(is_inbox=True)
    house.rows.is_bad = lambda each: each["seq"] == 2
    house.put(frame(report(1), report(2), report(3)))

    await house.processor.run_until_empty()

    assert sorted(house.log[:-1]) == ["commit", "commit", "park"]
    assert house.log[-1] == "drop"


async def test_a_death_while_a_bad_report_is_found_loses_none(house: House) -> None:
    for point in ("after_park_report", "before_drop_from_inbox", "before_acknowledge"):
        house.rows.is_bad = lambda each: each["seq"] == 2
        house.put(frame(report(1), report(2), report(3)))
        failpoints.arm(point, _kill)

        try:
            await house.processor.run_until_empty()
        except Killed:
            house.queue.redeliver()
        failpoints.disarm()
        await house.processor.run_until_empty()

        assert len(house.rows.rows) == 2
        assert len(house.rows.parked) == 1
        assert house.is_empty


def _kill() -> None:
    raise Killed


async def test_epochs_are_not_applied_together() -> None:
    house = House(is_inbox=False)
    house.put(frame(report(1)), frame(report(2)), frame(report(1), epoch="e2"), frame(report(3)))

    await house.processor.run_until_empty()

    assert house.rows.epochs_together == [{"e1"}, {"e2"}, {"e1"}]


def test_batches_hold_about_so_many_reports_and_each_frame_once() -> None:
    given = frames(10, of=30)

    batches = list(batches_of(given, reports_max=100))

    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    assert [each for batch in batches for each in batch] == given


async def test_a_queue_hears_that_a_long_delivery_is_still_worked_on() -> None:
    house = House(is_inbox=False, reports_max=1000)

    def take_long() -> None:
        house.clock.time += 6

    house.rows.is_bad = lambda each: each["seq"] == 5
    house.put(frame(*(report(seq) for seq in range(1, 9))))
    failpoints.arm("before_apply_reports", take_long)

    await house.processor.run_until_empty()

    assert house.log.count("extend") >= 4
    assert house.log[-1] == "acknowledge"


async def test_a_stop_waits_for_what_is_in_flight_and_begins_nothing(house: House) -> None:
    house.rows.held = asyncio.Event()
    house.put(*frames(5, of=1000))
    running = asyncio.get_running_loop().create_task(house.processor.run())
    await house.rows.started.wait()

    running.cancel()
    for _ in range(20):  # as many turns of the loop as an end could need that did not wait
        await asyncio.sleep(0)
    was_running = not running.done()
    house.rows.held.set()
    await asyncio.wait([running])

    assert was_running
    assert running.cancelled()
    assert 1000 <= len(house.rows.rows) <= 2000
    if isinstance(house.source, BrokerSource):
        assert house.log.count("acknowledge") == len(house.rows.rows) / 1000
    assert not house.queue.taken


async def test_two_statements_are_in_flight(house: House) -> None:
    house.rows.held = asyncio.Event()
    house.put(*frames(4, of=1000))

    def is_begun() -> bool:
        if house.rows.statements == 2 and house.rows.held is not None:
            house.rows.held.set()
        return house.is_empty

    await run_until(house, is_begun)

    assert len(house.rows.rows) == 4000


async def test_an_idle_processor_is_woken() -> None:
    house = House(is_inbox=True, statements_in_flight=1, idle_seconds_min=3600)
    running = asyncio.get_running_loop().create_task(house.processor.run())
    await becomes_true(lambda: bool(house.processor._idle))
    house.put(frame(report(1)))
    house.processor.wake_up()
    await becomes_true(lambda: house.is_empty)
    running.cancel()
    await asyncio.wait([running])

    assert len(house.rows.rows) == 1


async def test_what_takes_too_long_is_tried_in_smaller_parts(house: House) -> None:
    house.rows.too_many = 300
    house.put(*frames(40, of=25))

    await run_until(house, lambda: house.is_empty)

    assert len(house.rows.rows) == 1000
