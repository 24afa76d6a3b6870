"""What one call of a worker does: from the inbox in the database, and from a broker that delivers and forgets."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from typing_extensions import override

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.applying import Applying
from ordertrail.executions.sources import BrokerSource, InboxSource, batches_of
from ordertrail.queues.queue import Frame, QueueUnavailable
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from tests.support.clocks import ManualClock
from tests.support.executions import VENUE, MemoryDelivery, MemoryQueue, MemoryRows, frame, frames, report

LOST = StatementOutcomeUnknown("the connection is gone", may_have_happened=True)
DEADLOCK = StatementFailed("40P01", "deadlock detected")


def numbered(*counts: int) -> list[Frame]:
    """Frames of so many reports each."""
    seq = 0
    made = []
    for count in counts:
        made.append(frame(*(report(seq + each) for each in range(1, count + 1))))
        seq += count
    return made


# The inbox


@dataclass
class InboxRows(MemoryRows):
    """`peeked`: how many frames were wanted each time, of which venue."""

    peeked: list[tuple[str, int]] = field(default_factory=list)

    @override
    async def peek_inbox(self, venue: str, *, frames_max: int) -> list[tuple[int, Frame]]:
        self.peeked.append((venue, frames_max))
        return await super().peek_inbox(venue, frames_max=frames_max)


class Inbox:
    def __init__(self, *waiting: Frame, bad: tuple[int, ...] = (), **changes: Any) -> None:
        self.rows = InboxRows(inbox=dict(enumerate(waiting)))
        if bad:
            self.rows.is_bad = lambda each: each["seq"] in bad
        applying = Applying(self.rows, ManualClock(), AppliedReports(VENUE))
        self.source = InboxSource(self.rows, self.rows, applying, venue=VENUE, **changes)

    def work(self, reports_max: int = 100) -> int | None:
        return asyncio.run(self.source.work_once(reports_max=reports_max))


def test_an_inbox_in_which_nothing_waits_says_so() -> None:
    assert Inbox().work() is None


def test_reports_of_an_inbox_are_counted_with_repeats() -> None:
    inbox = Inbox(*numbered(3), *numbered(3))

    assert inbox.work() == 6
    assert (len(inbox.rows.rows), inbox.rows.inbox) == (3, {})


def test_no_more_is_taken_from_an_inbox_at_once_than_a_worker_may() -> None:
    inbox = Inbox(*numbered(3, 3, 3))

    assert [inbox.work(6), inbox.work(6), inbox.work(6)] == [6, 3, None]


@pytest.mark.parametrize("error", [LOST, DEADLOCK])
def test_a_failure_that_is_not_about_the_data_leaves_the_inbox_as_it_is(error: Exception) -> None:
    inbox = Inbox(*numbered(3))
    inbox.rows.fails = [error]

    with pytest.raises(type(error)):
        inbox.work()

    assert (len(inbox.rows.inbox), inbox.rows.peeked, inbox.rows.parked) == (1, [], {})


def test_frames_of_an_inbox_are_worked_one_by_one_where_a_report_breaks_the_statement() -> None:
    inbox = Inbox(*numbered(2, 3, 1), bad=(4,))

    assert inbox.work() == 6
    assert inbox.rows.log == ["commit", "drop", "commit", "park", "commit", "drop", "commit", "drop"]
    assert (len(inbox.rows.rows), len(inbox.rows.parked), inbox.rows.inbox) == (5, 1, {})


def test_few_frames_are_held_in_memory_where_one_of_them_breaks_the_statement() -> None:
    inbox = Inbox(*numbered(*[1] * 10), bad=(1,))

    assert inbox.work() == 8
    assert inbox.rows.peeked == [(VENUE, 8)]
    assert sorted(inbox.rows.inbox) == [8, 9]


def test_workers_at_once_hold_the_suspects_of_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(*numbered(1, 1), bad=(1,))
    held_at_once: list[int] = []
    at_it = 0

    async def apply(*_: Any) -> None:
        nonlocal at_it
        at_it += 1
        held_at_once.append(at_it)
        await asyncio.sleep(0)
        at_it -= 1

    async def work() -> None:
        await asyncio.gather(*(inbox.source.work_once(reports_max=100) for _ in range(3)))

    monkeypatch.setattr(inbox.source._applying, "apply", apply)
    asyncio.run(work())

    assert set(held_at_once) == {1}


@pytest.mark.parametrize(("is_woken", "seconds"), [(True, 1.0), (False, 0.25)])
def test_workers_that_something_wakes_may_rest_longer(is_woken: bool, seconds: float) -> None:
    assert Inbox(is_woken=lambda: is_woken).source.idle_seconds_max == seconds


def test_workers_that_nothing_wakes_find_a_report_within_a_quarter_of_a_second() -> None:
    assert Inbox().source.idle_seconds_max == 0.25


# A broker


@dataclass
class Broker(MemoryQueue):
    """`taken_with`: what each `take` was called with."""

    taken_with: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.rows = MemoryRows(log=self.log)
        self.statement_seconds: list[float] = []
        applying = Applying(self.rows, self.clock, AppliedReports(VENUE))
        self.source = BrokerSource(self, applying, self.clock)
        apply_reports = self.rows.apply_reports

        async def take_long(frames: Any) -> Any:
            self.clock.time += self.statement_seconds.pop(0) if self.statement_seconds else 0.0
            return await apply_reports(frames)

        self.rows.apply_reports = take_long  # type: ignore[method-assign]

    @override
    async def take(self, *, reports_max: int, wait_seconds: float) -> MemoryDelivery | None:
        self.taken_with.append((reports_max, wait_seconds))
        taken = await super().take(reports_max=1_000_000, wait_seconds=wait_seconds)
        self.log.append("nothing" if taken is None else "take")
        return taken

    def work(self, reports_max: int = 100) -> int | None:
        return asyncio.run(self.source.work_once(reports_max=reports_max))


def test_a_broker_in_which_nothing_waits_was_waited_for() -> None:
    broker = Broker()

    assert broker.work(reports_max=70) is None
    assert broker.taken_with == [(70, 1.0)]
    assert broker.source.idle_seconds_max == 0.01


def test_a_delivery_is_acknowledged_once_all_of_it_is_committed() -> None:
    broker = Broker(waiting=numbered(4, 4, 4))

    assert broker.work(reports_max=5) == 12
    assert broker.log == ["take", "commit", "commit", "commit", "acknowledge"]
    assert len(broker.rows.rows) == 12


@pytest.mark.parametrize("error", [LOST, DEADLOCK, ValueError("a bug"), asyncio.CancelledError()])
def test_a_delivery_of_which_a_part_was_not_committed_is_given_back_whole(error: BaseException) -> None:
    broker = Broker(waiting=numbered(4, 4))
    broker.rows.fails = [None, error]  # type: ignore[list-item]  # a worker may be cancelled in a statement, too

    with pytest.raises(type(error)):
        broker.work(reports_max=4)

    assert broker.log == ["take", "commit", "give back"]
    assert [each.count for each in broker.waiting] == [4, 4]


def test_a_broker_that_does_not_answer_is_no_delivery() -> None:
    broker = Broker(waiting=numbered(4), fails=[QueueUnavailable("away")])

    with pytest.raises(QueueUnavailable):
        broker.work()

    assert broker.log == []


def test_a_bad_report_does_not_keep_a_delivery_from_being_acknowledged() -> None:
    broker = Broker(waiting=numbered(4))
    broker.rows.is_bad = lambda each: each["seq"] == 2

    assert broker.work() == 4
    assert broker.log.count("acknowledge") == 1
    assert (len(broker.rows.rows), len(broker.rows.parked)) == (3, 1)


@pytest.mark.parametrize(
    ("statement_seconds", "extended"),
    [
        ([4.9, 0.0, 0.0], 0),
        ([5.0, 0.0, 0.0], 1),
        ([2.0, 2.0, 1.0], 1),
        ([5.0, 4.9, 0.0], 1),
        ([5.0, 5.0, 0.0], 2),
        ([20.0, 0.0, 0.0], 1),
    ],
)
def test_a_broker_hears_every_five_seconds_that_a_delivery_is_worked_on(
    statement_seconds: list[float], extended: int
) -> None:
    broker = Broker(waiting=numbered(4, 4, 4))
    broker.statement_seconds = statement_seconds

    broker.work(reports_max=4)

    assert broker.log.count("extend") == extended


def test_a_broker_hears_it_between_the_halves_of_a_batch_too() -> None:
    broker = Broker(waiting=numbered(4))
    broker.rows.is_bad = lambda each: each["seq"] == 2
    broker.statement_seconds = [5.0]

    broker.work()

    assert broker.log[:2] == ["take", "extend"]


# Batches


def batches(given: list[Frame], reports_max: int) -> list[list[int]]:
    made = list(batches_of(given, reports_max=reports_max))
    assert [each for batch in made for each in batch] == given
    return [[each.count for each in batch] for batch in made]


def test_frames_that_come_to_just_so_many_reports_are_one_batch() -> None:
    assert batches(numbered(5, 5, 5, 5), 10) == [[5, 5], [5, 5]]
    assert batches(numbered(5, 6, 4, 1), 10) == [[5], [6, 4], [1]]


def test_a_frame_of_more_reports_than_a_batch_may_have_is_one_by_itself() -> None:
    assert batches(numbered(20, 3, 20, 3, 3), 10) == [[20], [3], [20], [3, 3]]


def test_no_frames_are_no_batch() -> None:
    assert batches([], 10) == []


@pytest.mark.parametrize("changes", [{"venue": "another"}, {"epoch": "e2"}, {"exec_id_scope": "epoch"}])
def test_a_statement_is_about_one_venue_one_epoch_and_one_scope_of_ids(changes: dict[str, Any]) -> None:
    first, second, third, fourth = frames(4, of=2)

    assert batches([first, second, replace(third, **changes), fourth], 100) == [[2, 2], [2], [2]]
    assert batches([first, replace(second, **changes), replace(third, **changes)], 100) == [[2], [2, 2]]
