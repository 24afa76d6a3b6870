"""Readers of a process: where they begin, what they get, how many statements that takes, and how they end."""

import asyncio

import pytest
from typing_extensions import override

from ordertrail.events import older_rows, tail
from ordertrail.events.cursor import Cursor, read_cursor
from ordertrail.events.reader import End, Reader, ReaderKind
from ordertrail.events.shown import EventType, ShownEvent, Wanted
from ordertrail.events.tail import IDLE_POLL_SECONDS_MAX, LINGER_SECONDS, PAUSE_SECONDS_MIN, POLL_SECONDS
from ordertrail.events.watching import HEARTBEAT_GROUPS, Begin, Refusal, Watching
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.event_rows import LogMark, LogPage, MarkGone
from tests.support.clocks import ManualClock
from tests.support.event_logs import (
    ELSEWHERE,
    OLDER,
    InMemoryEventLog,
    driven,
    execution_event,
    joined,
    order_event,
    taken,
    watching_on,
)


def cursor_of(event: ShownEvent) -> Cursor:
    cursor = read_cursor(event.id)
    assert cursor is not None
    return cursor


def ids(events: list[ShownEvent]) -> list[str]:
    return [event.order_id for event in events]


@pytest.fixture
def log() -> InMemoryEventLog:
    log = InMemoryEventLog()
    for name in ("a", "b", "c"):
        log.append(order_event(name))
    return log


async def test_a_reader_without_a_cursor_gets_what_is_written_from_now_on(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    reader = await joined(watching)

    log.append(order_event("d"))
    await watching.tail.run_once()

    assert ids(await taken(watching, reader)) == ["d"]


async def test_a_reader_from_the_oldest_gets_all_that_is_kept(log: InMemoryEventLog) -> None:
    log.drop(1)
    watching = watching_on(log)

    reader = await joined(watching, Begin.OLDEST)

    [delivery] = await driven(watching, watching.more(reader))
    assert ids(list(delivery.events)) == ["b", "c"]


async def test_readers_of_one_order_and_of_one_type_get_no_others(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    readers = [
        await joined(watching, wanted=wanted)
        for wanted in (Wanted("e"), Wanted(None, EventType.EXECUTION), Wanted("d", EventType.EXECUTION), Wanted())
    ]

    log.append(execution_event("d"), order_event("d"))
    log.append(order_event("e"))
    await watching.tail.run_once()

    got = [[(event.order_id, event.type.value) for event in await taken(watching, reader)] for reader in readers]
    assert got == [
        [("e", "order")],
        [("d", "execution")],
        [("d", "execution")],
        [("d", "execution"), ("d", "order"), ("e", "order")],
    ]


async def test_readers_of_everything_share_the_same_bytes(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    readers = [await joined(watching) for _ in range(3)]

    log.append(order_event("d"), order_event("e"))
    await watching.tail.run_once()

    deliveries = [delivery for reader in readers for delivery in await watching.more(reader, seconds=0)]
    assert len({id(delivery.joined(lambda event: event.data)) for delivery in deliveries}) == 1


async def test_a_reader_that_comes_back_to_the_newest_events_costs_no_statement(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    first = await joined(watching)
    log.append(order_event("d"), order_event("e"))
    log.append(order_event("f"))
    await watching.tail.run_once()
    events = await taken(watching, first)
    log.statements.clear()

    for event, rest in zip(events, (["e", "f"], ["f"], []), strict=True):
        again = await watching.join(ReaderKind.STREAM, Wanted(), cursor_of(event))

        assert isinstance(again, Reader)
        assert ids(await taken(watching, again)) == rest
    assert log.statements == []


async def test_a_reader_goes_on_within_a_row_that_is_no_longer_in_memory(log: InMemoryEventLog) -> None:
    log.append(order_event("d"), order_event("e"), order_event("f"))
    watching = watching_on(log)
    reader = await joined(watching, Begin.OLDEST)
    [delivery] = await driven(watching, watching.more(reader))
    fresh = watching_on(log)

    again = await joined(fresh, cursor_of(delivery.events[3]))

    [rest] = await driven(fresh, fresh.more(again))
    assert ids(list(rest.events)) == ["e", "f"]


async def test_a_cursor_within_a_row_whose_place_another_has_taken_is_gone(log: InMemoryEventLog) -> None:
    log.append(order_event("d"), order_event("e"))
    watching = watching_on(log)
    reader = await joined(watching, Begin.OLDEST)
    [delivery] = await driven(watching, watching.more(reader))
    log.replace_last(order_event("x"), order_event("y"))
    fresh = watching_on(log)

    answer = await driven(fresh, fresh.join(ReaderKind.STREAM, Wanted(), cursor_of(delivery.events[3])))

    assert isinstance(answer, MarkGone)


async def test_a_cursor_whose_mark_is_gone_is_refused(log: InMemoryEventLog) -> None:
    first = log.rows[0].mark
    log.drop(2)
    watching = watching_on(log)

    assert await driven(watching, watching.join(ReaderKind.STREAM, Wanted(), Cursor(first))) == OLDER


async def test_many_cursors_are_checked_in_one_statement(log: InMemoryEventLog) -> None:
    marks = [row.mark for row in log.rows]
    watching = watching_on(log)
    await joined(watching)
    log.statements.clear()

    joining = (watching.join(ReaderKind.STREAM, Wanted(), Cursor(mark)) for mark in marks[:2] * 5)
    readers = await driven(watching, asyncio.gather(*joining))

    assert all(isinstance(reader, Reader) for reader in readers)
    assert log.statements.count("are_there") == 1


async def test_readers_that_came_back_together_share_their_pages(
    log: InMemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older_rows, "PAGE_EVENTS_MAX", 10)
    for number in range(97):
        log.append(order_event("d", number))
    watching = watching_on(log)
    readers = [await joined(watching, Cursor(log.rows[start].mark)) for start in range(30)]
    log.statements.clear()
    got = [0] * len(readers)
    missing = [99 - start for start in range(30)]

    while got != missing and log.statements.count("read") < 50:
        for index, reader in enumerate(readers):
            got[index] += len(await taken(watching, reader))
        await watching.older.run_once()

    assert got == missing
    assert log.statements.count("read") <= 12


async def test_a_run_of_pages_is_interrupted_for_readers_elsewhere(
    log: InMemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older_rows, "PAGE_EVENTS_MAX", 1)
    monkeypatch.setattr(older_rows, "RUN_PAGES_MAX", 4)
    for number in range(100):
        log.append(order_event("d", number))
    watching = watching_on(log)
    early = await joined(watching, Begin.OLDEST)
    late = await joined(watching, Cursor(log.rows[90].mark))
    got_early = got_late = 0

    while not got_late:
        got_early += len(await taken(watching, early))
        got_late += len(await taken(watching, late))
        await watching.older.run_once()

    assert got_early <= 5


async def test_a_reader_whose_process_has_read_less_of_the_log_than_another_waits_for_it(
    log: InMemoryEventLog,
) -> None:
    watching = watching_on(log)
    await joined(watching)
    ahead = log.append(order_event("d"))

    reader = await joined_without_the_tail(watching, Cursor(ahead.mark))
    assert await taken(watching, reader) == []
    await watching.older.run_once()
    assert await taken(watching, reader) == []
    log.append(order_event("e"))
    await watching.tail.run_once()

    assert ids(await taken(watching, reader)) == ["e"]


async def joined_without_the_tail(watching: Watching, cursor: Cursor) -> Reader:
    joining = asyncio.ensure_future(watching.join(ReaderKind.STREAM, Wanted(), cursor))
    for _ in range(5):
        await asyncio.sleep(0)
    await watching.older.run_once()
    reader = await joining
    assert isinstance(reader, Reader)
    return reader


async def test_a_reader_that_leaves_too_much_lying_is_cut_off_and_the_others_are_not(log: InMemoryEventLog) -> None:
    watching = watching_on(log, pending_bytes_max=2000)
    slow, quick = await joined(watching), await joined(watching)

    for name in "defghijk":
        log.append(order_event(name))
        await watching.tail.run_once()
        assert ids(await taken(watching, quick)) == [name]

    assert (slow.end, quick.end) == (End.LAGGING, None)
    assert await taken(watching, slow) == []


async def test_a_reader_that_was_cut_off_goes_on_after_what_it_has_taken(log: InMemoryEventLog) -> None:
    watching = watching_on(log, pending_bytes_max=2000)
    slow = await joined(watching)
    names = "defghijk"
    for name in names:
        log.append(order_event(name))
        await watching.tail.run_once()
        if name == "d":
            assert ids(await taken(watching, slow)) == ["d"]

    again = await joined(watching, watching.position_of(slow))

    assert ids(await taken(watching, again)) == list(names[1:])


async def test_there_is_room_for_so_many_and_a_place_is_free_as_soon_as_one_leaves(log: InMemoryEventLog) -> None:
    watching = watching_on(log, readers_max=2)
    first, _ = await joined(watching), await joined(watching)

    refused = await watching.join(ReaderKind.STREAM, Wanted(), Begin.NOW)
    watching.leave(first)
    watching.leave(first)

    assert refused is Refusal.FULL
    assert isinstance(await watching.join(ReaderKind.STREAM, Wanted(), Begin.NOW), Reader)
    assert await watching.join(ReaderKind.STREAM, Wanted(), Begin.NOW) is Refusal.FULL


async def test_a_drain_ends_every_reader_and_takes_no_more(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    live, behind = await joined(watching), await joined(watching, Begin.OLDEST)

    watching.start_draining()

    assert (live.end, behind.end) == (End.DRAINING, End.DRAINING)
    assert await watching.more(live) == []
    assert await watching.join(ReaderKind.STREAM, Wanted(), Begin.NOW) is Refusal.DRAINING


async def test_a_drain_loses_nothing_that_was_pending(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    reader = await joined(watching)
    log.append(order_event("d"))
    await watching.tail.run_once()

    watching.start_draining()

    fresh = watching_on(log)
    again = await joined(fresh, watching.position_of(reader))
    [delivery] = await driven(fresh, fresh.more(again))
    assert ids(list(delivery.events)) == ["d"]


async def test_while_the_database_is_away_readers_stay_and_go_on_after_it(log: InMemoryEventLog) -> None:
    clock = ManualClock()
    watching = watching_on(log, clock=clock)
    live, behind = await joined(watching), await joined(watching, Begin.OLDEST)
    assert await taken(watching, behind) == []

    log.away = True
    log.append(order_event("d"))
    await watching.tail.run_once()
    await watching.older.run_once()
    clock.move(3)
    assert await taken(watching, live) == await taken(watching, behind) == []
    assert watching.tail.seconds_since_read == 3
    log.away = False
    await watching.tail.run_once()
    await watching.older.run_once()

    assert (live.end, behind.end) == (None, None)
    assert ids(await taken(watching, live)) == ["d"]
    assert ids(await taken(watching, behind)) == ["a", "b", "c", "d"]
    assert watching.tail.seconds_since_read == 0


async def test_nobody_can_begin_while_the_database_is_away(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    log.away = True

    with pytest.raises(StatementOutcomeUnknown):
        await driven(watching, watching.join(ReaderKind.STREAM, Wanted(), Begin.NOW))

    log.away = False
    assert isinstance(await driven(watching, watching.join(ReaderKind.STREAM, Wanted(), Begin.NOW)), Reader)


async def test_where_the_log_is_another_one_all_streams_end_and_new_ones_begin_in_it(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    live, behind = await joined(watching), await joined(watching, Begin.OLDEST)
    old = watching.position_of(live)

    log.renew()
    await watching.tail.run_once()
    await taken(watching, behind)
    await watching.older.run_once()
    await taken(watching, behind)

    assert (live.end, behind.end) == (End.LOG_CHANGED, End.LOG_CHANGED)
    assert behind.why_gone == ELSEWHERE
    assert await driven(watching, watching.join(ReaderKind.STREAM, Wanted(), old)) == ELSEWHERE
    fresh = await joined(watching)
    log.append(order_event("new"))
    await watching.tail.run_once()
    assert ids(await taken(watching, fresh)) == ["new"]


async def test_a_mistake_in_reading_ends_the_streams_and_not_the_task(
    log: InMemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = watching_on(log)
    reader = await joined(watching)
    log.append(order_event("d"))

    with monkeypatch.context() as broken:
        broken.setattr(tail, "show_rows", None)
        await watching.tail.run_once()

    assert reader.end is End.LOG_CHANGED
    assert isinstance(await driven(watching, watching.join(ReaderKind.STREAM, Wanted(), Begin.NOW)), Reader)


async def test_nothing_is_read_where_nobody_watches(log: InMemoryEventLog) -> None:
    clock = ManualClock()
    watching = watching_on(log, clock=clock)
    reader = await joined(watching)
    watching.leave(reader)

    await watching.tail.run_once()
    still_there = watching.tail.head
    clock.move(LINGER_SECONDS + 1)
    log.statements.clear()
    await watching.tail.run_once()

    assert (still_there, watching.tail.head) == (log.rows[-1].mark, None)
    assert log.statements == []


async def test_an_idle_log_is_read_less_often(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    await joined(watching)

    pauses = [await watching.tail.run_once() for _ in range(5)]
    log.append(order_event("d"))

    assert pauses == sorted(pauses)
    assert pauses[-1] == IDLE_POLL_SECONDS_MAX
    assert await watching.tail.run_once() == POLL_SECONDS


async def test_the_log_is_read_on_at_once_while_there_is_more(
    log: InMemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "TICK_EVENTS_MAX", 1)
    watching = watching_on(log)
    await joined(watching)
    log.append(order_event("d"))
    log.append(order_event("e"))

    assert [await watching.tail.run_once(), await watching.tail.run_once()] == [0, POLL_SECONDS]


class _Enough(Exception):
    """As many pauses as a test wants."""


class _Pauses(ManualClock):
    """Keeps how long was paused, and ends it at the third time."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    @override
    async def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))
        self.time += seconds
        if len(self.pauses) == 3:
            raise _Enough


@pytest.mark.parametrize(
    ("takes", "pauses"),
    [(0.0, [0.01, 0.01, 0.01]), (0.004, [0.006] * 3), (0.008, [PAUSE_SECONDS_MIN] * 3), (5.0, [PAUSE_SECONDS_MIN] * 3)],
)
async def test_the_log_is_read_every_so_often_however_long_that_takes(
    log: InMemoryEventLog, monkeypatch: pytest.MonkeyPatch, takes: float, pauses: list[float]
) -> None:
    clock = _Pauses()
    watching = watching_on(log, clock=clock)
    await joined(watching)
    read = log.read

    async def read_slowly(after: LogMark, *, events_max: int) -> LogPage | MarkGone:
        log.append(order_event("d"))
        clock.time += takes
        return await read(after, events_max=events_max)

    monkeypatch.setattr(log, "read", read_slowly)

    with pytest.raises(_Enough):
        await watching.tail.run()

    assert clock.pauses == pauses


async def test_every_stream_gets_a_heartbeat_in_a_round_and_goes_on_waiting(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    readers = [await joined(watching) for _ in range(3)]

    for _ in range(HEARTBEAT_GROUPS):
        watching.beat_next_group()

    assert [reader.is_beat_due for reader in readers] == [True] * 3
    assert [await watching.more(reader) for reader in readers] == [[]] * 3
    assert [reader.is_beat_due for reader in readers] == [False] * 3


async def test_a_reader_that_wants_nothing_of_it_moves_on_all_the_same(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    reader = await joined(watching, wanted=Wanted("another"))

    row = log.append(order_event("d"))
    await watching.tail.run_once()

    assert watching.position_of(reader) == Cursor(row.mark)


async def test_what_is_pending_is_not_passed_yet(log: InMemoryEventLog) -> None:
    watching = watching_on(log)
    reader = await joined(watching)
    before = watching.position_of(reader)
    row = log.append(order_event("d"))
    await watching.tail.run_once()

    assert watching.position_of(reader) == before
    await taken(watching, reader)
    assert watching.position_of(reader) == Cursor(row.mark)


async def test_the_newest_rows_are_kept_within_their_bytes(log: InMemoryEventLog) -> None:
    watching = watching_on(log, ring_bytes_max=5000)
    await joined(watching)
    marks: list[LogMark] = []
    for number in range(20):
        marks.append(log.append(order_event("d", number)).mark)
        await watching.tail.run_once()

    assert not watching.tail.has(Cursor(marks[0]))
    assert watching.tail.has(Cursor(marks[-2]))
    assert watching.tail.has(Cursor(marks[-1]))
