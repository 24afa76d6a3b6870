"""When a processor's workers work, how much they take at once, how long they rest, and what wakes them.

The source finds what the test has written down for it, call by call; then it is silent for ever. Time is the loop's.
"""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import pytest
from structlog.testing import capture_logs

from ordertrail.executions.processor import Processor, ProcessorLimits
from ordertrail.queues.queue import QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from tests.support.feeding import play

AWAY = StatementOutcomeUnknown("cannot be reached", may_have_happened=False)
LOST = StatementOutcomeUnknown("the connection is gone", may_have_happened=True)
DEADLOCK = StatementFailed("40P01", "deadlock detected")

# Reports that are found, None where nothing waits, what goes wrong; or what happens meanwhile, and then one of these.
Found: TypeAlias = int | Exception | None
Find: TypeAlias = Found | Callable[[], Found]
LONG_SECONDS = 1000.0


class Workers:
    """`calls`: when the source was called, and for how many reports at the most."""

    def __init__(
        self,
        *finds: Find,
        workers: int = 1,
        reports_max: int = 40,
        idle: tuple[float, float] = (LONG_SECONDS,) * 2,
        limits: ProcessorLimits | None = None,
    ) -> None:
        self.calls: list[tuple[float, int]] = []
        idle_seconds_min, self.idle_seconds_max = idle
        self._finds = list(finds)
        limits = limits or ProcessorLimits(
            statements_in_flight=workers, reports_max=reports_max, idle_seconds_min=idle_seconds_min, stop_seconds=9.0
        )
        self.processor = Processor(self, limits)

    async def work_once(self, *, reports_max: int) -> int | None:
        self.calls.append((round(asyncio.get_running_loop().time(), 6), reports_max))
        if not self._finds:
            await asyncio.Event().wait()
        find = self._finds.pop(0)
        found = find() if callable(find) else find
        if isinstance(found, Exception):
            raise found
        return found

    def run(self, *, acts: tuple[tuple[float, Callable[[], object]], ...] = (), until: float = 100_000.0) -> float:
        """Have them work until then, and return when the processor had ended after its owner had stopped it."""

        async def work() -> float:
            loop = asyncio.get_running_loop()
            for seconds, act in acts:
                loop.call_at(seconds, act)
            running = loop.create_task(self.processor.run())
            await asyncio.wait([running], timeout=until)
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            return loop.time()

        return play(work(), seconds_max=200_000.0)

    def woken_and_then(self, found: Found) -> Found:
        """Reports come while the source is at work, too late for what it finds."""
        self.processor.wake_up()
        return found

    @property
    def times(self) -> list[float]:
        return [seconds for seconds, _ in self.calls]

    @property
    def sizes(self) -> list[int]:
        return [reports for _, reports in self.calls]


def pauses(times: list[float]) -> list[float]:
    return [round(after - before, 6) for before, after in pairwise(times)]


# What went wrong


def test_what_cannot_be_applied_is_tried_again_less_and_less_often() -> None:
    workers = Workers(*[LOST] * 8)

    workers.run()

    assert pauses(workers.times) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_database_that_is_back_is_used_at_once_and_its_next_failure_is_a_first_one() -> None:
    workers = Workers(AWAY, AWAY, 1, AWAY, AWAY)

    workers.run()

    assert pauses(workers.times) == [0.1, 0.2, 0.0, 0.1, 0.2]


def test_a_wake_up_does_not_shorten_the_pause_while_the_database_is_away() -> None:
    workers = Workers(AWAY, AWAY)

    workers.run(acts=((0.05, workers.processor.wake_up),))

    assert workers.times == [0.0, 0.1, 0.3]


def test_reports_that_come_while_a_statement_fails_do_not_shorten_the_pause_but_the_next_rest() -> None:
    workers = Workers(lambda: workers.woken_and_then(DEADLOCK), None)

    workers.run()

    assert workers.times == [0.0, 0.1, 0.1]


def test_what_takes_too_long_is_tried_in_halves_down_to_a_single_report() -> None:
    workers = Workers(*[LOST] * 6, reports_max=13)

    workers.run()

    assert workers.sizes == [13, 6, 3, 1, 1, 1, 1]


def test_what_goes_well_in_a_small_part_is_done_in_larger_ones_again() -> None:
    workers = Workers(LOST, *[1] * 8, reports_max=40)

    workers.run()

    assert workers.sizes == [40, 20, 23, 26, 30, 34, 39, 40, 40, 40]


@pytest.mark.parametrize("error", [LOST, DEADLOCK, QueueUnavailable("away"), ValueError("a bug")])
def test_a_trouble_is_counted_each_time_and_said_once_and_so_is_its_end(error: Exception) -> None:
    before = failures()
    workers = Workers(error, error, error, 1, 1)

    with capture_logs() as logs:
        workers.run()

    assert failures() - before == 3
    said = [each["event"] for each in logs]
    assert said == ["execution reports could not be applied", "execution reports could not be applied: that is over"]


def failures() -> float:
    [metric] = metrics.EXECUTION_FAILURES.collect()
    return sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))


# Where nothing waits


def test_a_worker_that_finds_nothing_rests_longer_and_longer() -> None:
    workers = Workers(*[None] * 6, idle=(0.1, 0.5))

    workers.run()

    assert pauses(workers.times) == [0.1, 0.2, 0.4, 0.5, 0.5, 0.5]


def test_a_worker_that_has_just_had_some_goes_on_at_once_and_rests_shortly_then() -> None:
    workers = Workers(None, None, 1, 1, None, None, idle=(0.1, 0.5))

    workers.run()

    assert pauses(workers.times) == [0.1, 0.2, 0.0, 0.0, 0.1, 0.2]


def test_an_idle_worker_is_woken_by_reports() -> None:
    workers = Workers(None, 1)

    workers.run(acts=((3.0, workers.processor.wake_up),))

    assert workers.times == [0.0, 3.0, 3.0]


def test_reports_wake_one_worker_and_not_all() -> None:
    workers = Workers(None, None, None, workers=3)

    workers.run(acts=((3.0, workers.processor.wake_up),), until=LONG_SECONDS - 1)

    assert workers.times == [0.0, 0.0, 0.0, 3.0]


def test_reports_that_came_while_all_were_at_work_are_found_at_once_by_one_who_would_rest() -> None:
    workers = Workers(lambda: workers.woken_and_then(None), None)

    workers.run()

    assert workers.times == [0.0, 0.0, LONG_SECONDS]


@pytest.mark.parametrize(("found", "calls"), [(20, 3), (19, 2), (13, 2), (40, 3)])
def test_a_worker_that_found_much_wakes_another_one(found: int, calls: int) -> None:
    """Half of what it may take, or more: there may be as much again."""
    workers = Workers(None, None, found, None, None, workers=2, reports_max=40)

    workers.run(acts=((3.0, workers.processor.wake_up),), until=LONG_SECONDS - 1)

    assert workers.times == [0.0, 0.0] + [3.0] * calls


def test_a_worker_whose_rest_was_over_by_itself_takes_no_one_elses_wake_up() -> None:
    workers = Workers(None, None, None, idle=(1.0, 2.0))

    workers.run(acts=((1.5, workers.processor.wake_up),))

    assert workers.times == [0.0, 1.0, 1.5, 3.5]


def test_a_worker_may_be_woken_in_the_moment_in_which_its_rest_is_over() -> None:
    workers = Workers(None, None, idle=(1.0, 2.0))

    workers.run(acts=((1.0, workers.processor.wake_up),))

    assert workers.times == [0.0, 1.0, 3.0]


# The end


def test_a_stop_does_not_wait_for_a_pause_to_be_over() -> None:
    workers = Workers(*[LOST] * 8)

    ended = workers.run(until=7.0)

    assert ended == 7.0
    assert workers.times[-1] == pytest.approx(6.3)


def test_a_stop_ends_every_rest_at_once() -> None:
    workers = Workers(None, None, workers=2)

    assert workers.run(until=7.0) == 7.0


def test_a_stop_waits_no_longer_for_a_statement_than_it_may() -> None:
    workers = Workers()

    assert workers.run(until=7.0) == 7.0 + 9.0


def test_unless_a_caller_says_otherwise_rests_are_short_and_a_stop_waits_for_a_quarter_of_a_minute() -> None:
    workers = Workers(None, None, limits=ProcessorLimits(statements_in_flight=1, reports_max=40))

    ended = workers.run(until=7.0)

    assert pauses(workers.times) == [0.005, 0.01]
    assert ended == 7.0 + 15.0
