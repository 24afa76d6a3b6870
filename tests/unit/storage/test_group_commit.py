"""Group commit against a database that is a function: what shares a batch, and what a failure does to whom."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import REPEAT_AFTER_SECONDS, Batcher, Limits
from ordertrail.storage.statement_deadline import seconds_for
from tests.support.clocks import ManualClock

LIMITS = Limits(rows_max=256, queue_max=1000, timeout_seconds=2)
BAD = -1

Write = Callable[[Sequence[int]], Awaitable[Sequence[int]]]


class Table:
    """Takes numbers, ten times as large for an answer; refuses a batch that has a bad one."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()
        self.failures: list[Exception] = []
        self.clock = ManualClock()

    async def write(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.begun.set()
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        if BAD in items:
            raise StatementFailed("23514", "a bad row")
        return [item * 10 for item in items]

    async def held(self, commits: Batcher[int, int]) -> "asyncio.Future[int]":
        """The row 1, whose commit is under way until `open` is set."""
        self.open.clear()
        under_way = commits.submit(1)
        async with asyncio.timeout(5):
            await self.begun.wait()
        return under_way

    def commits(self, limits: Limits = LIMITS) -> Batcher[int, int]:
        return Batcher("test", self.write, self.clock, limits)


async def settled(*futures: "asyncio.Future[int]") -> list[int | BaseException]:
    async with asyncio.timeout(10):
        return await asyncio.gather(*futures, return_exceptions=True)


def lost(*, may_have_happened: bool) -> StatementOutcomeUnknown:
    return StatementOutcomeUnknown("connection lost", may_have_happened=may_have_happened)


async def test_each_gets_its_own_result() -> None:
    commits = Table().commits()

    assert await settled(*[commits.submit(number) for number in range(100)]) == [n * 10 for n in range(100)]


async def test_what_comes_while_a_commit_is_under_way_shares_the_next_one() -> None:
    table = Table()
    commits = table.commits()
    table.open.clear()
    first = commits.submit(0)
    await asyncio.sleep(0)
    later = [commits.submit(number) for number in range(1, 200)]

    table.open.set()
    await settled(first, *later)

    assert table.batches == [[0], list(range(1, 200))]


async def test_rows_are_written_first_come_first_served_in_batches_of_at_most_rows_max() -> None:
    table = Table()
    commits = table.commits(Limits(rows_max=3, queue_max=100, timeout_seconds=2))

    await settled(*[commits.submit(number) for number in range(8)])

    assert table.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_one_bad_row_harms_no_other_in_its_batch() -> None:
    table = Table()
    commits = table.commits()

    *good, bad = await settled(*[commits.submit(number) for number in (1, 2, 3, 4)], commits.submit(BAD))

    assert good == [10, 20, 30, 40]
    assert isinstance(bad, StatementFailed)
    assert table.batches == [[1, 2, 3, 4, BAD], [1], [2], [3], [4], [BAD]]


async def test_a_single_row_that_is_refused_is_not_tried_again() -> None:
    table = Table()

    [error] = await settled(table.commits().submit(BAD))

    assert isinstance(error, StatementFailed)
    assert error.code == "23514"
    assert table.batches == [[BAD]]


async def test_rows_go_on_after_a_failure() -> None:
    table = Table()
    commits = table.commits()
    await settled(commits.submit(BAD))

    assert await settled(commits.submit(7)) == [70]


async def test_a_lost_answer_is_repeated() -> None:
    table = Table()
    table.failures = [lost(may_have_happened=True), lost(may_have_happened=False)]
    commits = table.commits()

    assert await settled(commits.submit(1), commits.submit(2)) == [10, 20]
    assert table.batches == [[1, 2]] * 3


@pytest.mark.parametrize(
    ("first", "last", "may_have_happened"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
async def test_an_answer_that_stays_lost_reports_whether_any_try_may_have_been_written(
    first: bool, last: bool, may_have_happened: bool
) -> None:
    table = Table()

    async def write(items: Sequence[int]) -> Sequence[int]:
        table.batches.append(list(items))
        if len(table.batches) == 1:
            raise lost(may_have_happened=first)
        table.clock.move(LIMITS.row_seconds)
        raise lost(may_have_happened=last)

    commits = Batcher("test", write, table.clock, LIMITS)

    errors = await settled(commits.submit(1), commits.submit(2))

    assert table.batches == [[1, 2]] * 2
    assert [type(error) for error in errors] == [StatementOutcomeUnknown] * 2
    assert [error.may_have_happened for error in errors if isinstance(error, StatementOutcomeUnknown)] == [
        may_have_happened
    ] * 2


async def test_an_answer_that_took_all_of_a_statement_s_time_is_repeated_within_what_is_left() -> None:
    table = Table()
    limits: list[float] = []

    async def write(items: Sequence[int]) -> Sequence[int]:
        limits.append(seconds_for(LIMITS.timeout_seconds))
        if len(limits) == 1:
            table.clock.move(LIMITS.timeout_seconds)
            raise lost(may_have_happened=True)
        return items

    commits = Batcher("test", write, table.clock, LIMITS)

    assert await settled(commits.submit(1)) == [1]
    assert limits == [LIMITS.timeout_seconds, LIMITS.row_seconds - LIMITS.timeout_seconds]


async def test_a_batch_that_is_repeated_is_left_by_each_row_when_its_own_time_is_up() -> None:
    table = Table()

    async def write(items: Sequence[int]) -> Sequence[int]:
        if 2 in items:
            table.clock.move(1)
            raise lost(may_have_happened=False)
        return await table.write(items)

    commits = Batcher("test", write, table.clock, LIMITS)
    under_way = await table.held(commits)
    early = commits.submit(2)
    table.clock.move(LIMITS.row_seconds - 1)
    late = commits.submit(3)
    table.open.set()

    first, too_late, last = await settled(under_way, early, late)

    assert (first, last) == (10, 30)
    assert isinstance(too_late, StatementOutcomeUnknown)
    assert table.batches == [[1], [3]]


@pytest.mark.parametrize("items", [[BAD], [BAD, BAD]])
async def test_a_refusal_after_a_lost_answer_does_not_prove_that_nothing_was_written(items: list[int]) -> None:
    table = Table()
    table.failures = [lost(may_have_happened=True)]
    commits = table.commits()

    errors = await settled(*[commits.submit(item) for item in items])

    assert [type(error) for error in errors] == [StatementOutcomeUnknown] * len(items)
    assert all(isinstance(error, StatementOutcomeUnknown) and error.may_have_happened for error in errors)


async def test_a_refusal_after_a_try_that_was_never_sent_is_a_refusal() -> None:
    table = Table()
    table.failures = [lost(may_have_happened=False)]

    [error] = await settled(table.commits().submit(BAD))

    assert isinstance(error, StatementFailed)


async def test_a_lost_batch_that_is_then_split_remembers_that_it_may_be_written() -> None:
    table = Table()

    async def write(items: Sequence[int]) -> Sequence[int]:
        table.batches.append(list(items))
        match len(table.batches):
            case 1:
                raise lost(may_have_happened=True)
            case 2:
                raise StatementFailed("40P01", "deadlock detected")
            case _:
                table.clock.move(LIMITS.row_seconds)
                raise lost(may_have_happened=False)

    commits = Batcher("test", write, table.clock, LIMITS)

    errors = await settled(commits.submit(1), commits.submit(2))

    assert all(isinstance(error, StatementOutcomeUnknown) and error.may_have_happened for error in errors), errors


async def test_a_row_beyond_the_queue_is_shed_at_once_and_not_written() -> None:
    table = Table()
    commits = table.commits(Limits(rows_max=1, queue_max=2, timeout_seconds=2))
    under_way = await table.held(commits)
    waiting = [commits.submit(2), commits.submit(3)]
    assert commits.is_full

    beyond = commits.submit(4)

    assert beyond.done()
    table.open.set()
    *written, error = await settled(under_way, *waiting, beyond)
    assert written == [10, 20, 30]
    assert isinstance(error, StatementOutcomeUnknown)
    assert not error.may_have_happened
    assert table.batches == [[1], [2], [3]]
    assert not commits.is_full


async def test_rows_that_wait_can_be_counted() -> None:
    table = Table()
    commits = table.commits()
    rows = [await table.held(commits)]
    rows += [commits.submit(2), commits.submit(3)]
    assert (commits.batcher, commits.waiting) == ("test", 2)

    table.open.set()

    assert await settled(*rows) == [10, 20, 30]
    assert commits.waiting == 0


async def test_a_row_may_wait_for_its_turn_for_as_long_as_is_said() -> None:
    table = Table()
    commits = table.commits(Limits(rows_max=1, queue_max=10, timeout_seconds=2))
    rows = [await table.held(commits)]
    rows.append(commits.submit(2))

    table.clock.move(LIMITS.row_seconds)
    table.open.set()

    assert await settled(*rows) == [10, 20]


async def test_a_row_that_waited_too_long_for_its_turn_is_not_written() -> None:
    table = Table()
    commits = table.commits(Limits(rows_max=1, queue_max=10, timeout_seconds=2))
    under_way = await table.held(commits)
    late = [commits.submit(2), commits.submit(2)]

    table.clock.move(LIMITS.row_seconds + 0.1)
    in_time = commits.submit(3)
    table.open.set()
    first, *too_late, last = await settled(under_way, *late, in_time)

    assert (first, last) == (10, 30)
    for error in too_late:
        assert isinstance(error, StatementOutcomeUnknown)
        assert not error.may_have_happened
    assert table.batches == [[1], [3]]


async def test_a_caller_who_leaves_does_not_take_its_row_back_nor_harm_the_others() -> None:
    table = Table()
    commits = table.commits()
    table.open.clear()
    leaving, staying = commits.submit(1), commits.submit(2)

    leaving.cancel()
    table.open.set()

    assert await settled(staying) == [20]
    assert table.batches == [[1, 2]]


async def test_failures_of_the_database_are_counted_by_kind_and_a_repeat_waits_a_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)  # the others' turn, as a real pause would be

    monkeypatch.setattr(asyncio, "sleep", pause)
    table = Table()
    table.failures = [lost(may_have_happened=False), lost(may_have_happened=True)]
    before = {kind: failures(kind) for kind in ("outcome_unknown", "failed")}

    results = await settled(*(commits.submit(each) for commits in [table.commits()] for each in (1, BAD)))

    assert results[0] == 10
    assert isinstance(results[1], StatementOutcomeUnknown)
    # One lost answer, however often it was repeated, and one row that was refused.
    assert {kind: failures(kind) - before[kind] for kind in before} == {"outcome_unknown": 1, "failed": 1}
    assert pauses == [REPEAT_AFTER_SECONDS] * 2


def failures(kind: str) -> float:
    return REGISTRY.get_sample_value("ordertrail_database_failures_total", {"kind": kind}) or 0


async def test_a_bug_is_reported_to_every_waiter_and_stops_nothing() -> None:
    table = Table()
    table.failures = [KeyError("bug")]
    commits = table.commits()

    errors = await settled(commits.submit(1), commits.submit(2))

    assert [type(error) for error in errors] == [KeyError] * 2
    assert await settled(commits.submit(3)) == [30]


async def test_a_bug_outside_of_the_write_leaves_nobody_waiting_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table()
    commits = table.commits(Limits(rows_max=1, queue_max=10, timeout_seconds=2))
    original = commits._write_batch
    bugs = [ZeroDivisionError("bug")]

    async def write_batch(*arguments: Any, **named: Any) -> None:
        if bugs:
            raise bugs.pop()
        await original(*arguments, **named)

    monkeypatch.setattr(commits, "_write_batch", write_batch)

    first, second = await settled(commits.submit(1), commits.submit(2))

    assert isinstance(first, ZeroDivisionError)
    assert second == 20


async def test_too_few_results_leave_nobody_waiting() -> None:
    async def write(items: Sequence[int]) -> Sequence[int]:
        return items[:1]

    commits = Batcher("test", write, ManualClock(), LIMITS)

    first, second = await settled(commits.submit(1), commits.submit(2))

    assert first == 1
    assert isinstance(second, ValueError)


async def test_close_waits_for_everything_submitted_also_meanwhile() -> None:
    table = Table()
    commits = table.commits(Limits(rows_max=1, queue_max=10, timeout_seconds=2))
    table.open.clear()
    futures = [commits.submit(1), commits.submit(2)]
    closing = asyncio.ensure_future(commits.close())
    await asyncio.sleep(0)
    futures.append(commits.submit(3))
    assert not closing.done()

    table.open.set()
    async with asyncio.timeout(10):
        await closing

    assert [future.result() for future in futures] == [10, 20, 30]


async def test_close_of_an_idle_call_budget_returns() -> None:
    async with asyncio.timeout(1):
        await Table().commits().close()
