"""How frames are applied where one report breaks the statement: in halves, in their order, until it stands alone.

The database refuses statements in which a bad report is; so many statements are begun and no more.
"""

import asyncio
import json
from collections.abc import Sequence

import pytest
from typing_extensions import override

from ordertrail.executions.applied_reports import AppliedReports
from ordertrail.executions.applying import Applying, poison_of
from ordertrail.queues.queue import Frame, QueueUnavailable
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.execution_rows import Applied
from tests.support.clocks import ManualClock
from tests.support.executions import VENUE, MemoryRows, frame, report

NOT_UTF8 = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
STATEMENTS_MAX = 200
STATEMENT_SECONDS = 3.0


class Rows(MemoryRows):
    """`bad`: the numbers of reports that break a statement, `failure`: how. `statements_begun`: which numbers each had.

    `refuses_all`: what every statement meets, whatever is in it.
    """

    def __init__(self, *bad: int, failure: Exception | None = None) -> None:
        super().__init__()
        self.bad = frozenset(bad)
        self.failure = failure or StatementFailed("22P02", "a value that no column takes")
        self.statements_begun: list[list[int]] = []
        self.clock = ManualClock()
        self.counted = AppliedReports(VENUE)
        self.applying = Applying(self, self.clock, self.counted)
        self.at_work = 0
        self.refuses_all: Exception | None = None

    @override
    async def apply_reports(self, frames: Sequence[Frame]) -> Applied:
        if self.refuses_all is not None:
            raise self.refuses_all
        assert len(self.statements_begun) < STATEMENTS_MAX, "it goes on for ever"
        self.clock.time += STATEMENT_SECONDS
        seqs = [each["seq"] for one in frames for each in json.loads(one.body)]
        self.statements_begun.append(seqs)
        if self.bad & set(seqs) or not seqs:
            raise self.failure
        return Applied(len(seqs), len(seqs), 0)

    def apply(self, *frames: Frame) -> None:
        async def work() -> None:
            await self.applying.apply(frames, self._still_at_work)

        asyncio.run(work())

    @property
    def parked_seqs(self) -> list[int]:
        return [json.loads(raw)["seq"] for raw in self.parked]

    async def _still_at_work(self) -> None:
        self.at_work += 1


def run(first: int, last: int) -> Frame:
    return frame(*(report(seq) for seq in range(first, last + 1)))


# What is about the data


@pytest.mark.parametrize("code", ["22P02", "22003", "23502", "23514", "54000", "54001"])
def test_what_the_database_refuses_for_its_data_is_poison(code: str) -> None:
    assert poison_of(StatementFailed(code, "no")) == f"the database refuses it: {code}"


def test_bytes_that_are_no_text_are_poison() -> None:
    assert poison_of(NOT_UTF8) == "is not UTF-8"


@pytest.mark.parametrize(
    "error",
    [
        StatementFailed("40P01", "deadlock detected"),
        StatementFailed("42P01", "no such table"),
        StatementFailed("57014", "canceling statement"),
        StatementFailed("25006", "read-only"),
        StatementFailed("53100", "disk full"),
        StatementOutcomeUnknown("the connection is gone", may_have_happened=True),
        QueueUnavailable("away"),
        ValueError("a bug"),
    ],
)
def test_what_may_pass_is_no_poison(error: Exception) -> None:
    assert poison_of(error) is None


# Halves


def test_frames_without_poison_are_one_statement() -> None:
    rows = Rows()

    rows.apply(run(1, 3), run(4, 5))

    assert rows.statements_begun == [[1, 2, 3, 4, 5]]
    assert rows.at_work == 0


def test_frames_are_halved_in_their_order_and_the_bad_report_is_parked_alone() -> None:
    rows = Rows(6)

    rows.apply(run(1, 2), run(3, 4), run(5, 8), run(9, 10))

    assert rows.statements_begun == [
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        [1, 2, 3, 4],
        [5, 6, 7, 8, 9, 10],
        [5, 6, 7, 8],
        [5, 6],
        [5],
        [6],
        [7, 8],
        [9, 10],
    ]
    assert rows.parked_seqs == [6]


def test_of_two_reports_the_good_one_is_applied_and_the_bad_one_parked() -> None:
    for bad in (1, 2):
        rows = Rows(bad)

        rows.apply(run(1, 2))

        assert rows.statements_begun == [[1, 2], [1], [2]]
        assert rows.parked_seqs == [bad]


def test_three_frames_of_three_reports_are_split_as_any_others() -> None:
    rows = Rows(1, 5, 9)

    rows.apply(run(1, 3), run(4, 6), run(7, 9))

    assert rows.parked_seqs == [1, 5, 9]
    assert sorted(seq for seqs in rows.statements_begun if not rows.bad & set(seqs) for seq in seqs) == [
        2,
        3,
        4,
        6,
        7,
        8,
    ]


def test_an_array_of_nothing_that_breaks_the_statement_is_passed_over() -> None:
    rows = Rows()

    rows.apply(frame())

    assert (rows.statements_begun, rows.parked) == ([[]], {})


@pytest.mark.parametrize("error", [StatementFailed("40P01", "deadlock"), StatementFailed("57014", "took too long")])
def test_what_may_pass_is_raised_at_once_and_nothing_is_parked(error: StatementFailed) -> None:
    rows = Rows(1, failure=error)

    with pytest.raises(StatementFailed) as raised:
        rows.apply(run(1, 4))

    assert raised.value is error
    assert (rows.statements_begun, rows.parked) == ([[1, 2, 3, 4]], {})


def test_an_unknown_outcome_is_raised_and_nothing_is_parked() -> None:
    lost = StatementOutcomeUnknown("the connection is gone", may_have_happened=True)
    rows = Rows(1, failure=lost)

    with pytest.raises(StatementOutcomeUnknown):
        rows.apply(run(1, 4))

    assert rows.parked == {}


def test_the_queue_hears_of_it_between_two_statements_and_not_after_the_last() -> None:
    rows = Rows(2)

    rows.apply(run(1, 2), run(3, 4))

    assert len(rows.statements_begun) == 5
    assert rows.at_work == len(rows.statements_begun) - 1


# Parking


def test_a_report_is_parked_as_it_came_with_its_field_and_number() -> None:
    raw = b'{ "seq" : 7,  "last_px":"abc" , "exec_id": "x" }'
    rows = Rows(7)

    rows.apply(frame(report(6), raw))

    [(parked, (field, reason, seq))] = rows.parked.items()
    assert (parked, field, reason, seq) == (raw, "client_order_id", "is missing", 7)


def test_a_report_in_which_nothing_can_be_named_is_parked_with_what_the_database_said() -> None:
    rows = Rows(7, failure=StatementFailed("23514", "check"))

    rows.apply(frame(report(7)))

    assert list(rows.parked.values()) == [(None, "the database refuses it: 23514", 7)]


@pytest.mark.parametrize(
    ("body", "failure", "reason"),
    [
        (b'{"seq": 1}', None, "is no JSON array"),
        (b'[{"seq": 1}', None, "is no JSON array"),
        (b"\xff", NOT_UTF8, "is not UTF-8"),
    ],
)
def test_a_frame_that_cannot_be_split_is_parked_whole(body: bytes, failure: Exception | None, reason: str) -> None:
    rows = Rows()
    rows.refuses_all = failure or StatementFailed("22P02", "invalid input syntax for type json")

    rows.apply(frame(body=body))

    assert rows.parked == {body: (None, reason, None)}


# What is counted


def test_what_was_applied_is_counted_with_the_time_that_it_took() -> None:
    rows = Rows(3)
    before = seconds()

    rows.apply(run(1, 2), run(3, 4))

    assert (rows.counted.totals.reports, rows.counted.totals.rows, rows.counted.totals.parked) == (4, 3, 1)
    assert seconds() - before == pytest.approx(2 * STATEMENT_SECONDS)  # those that were committed


def test_a_report_that_was_parked_before_is_not_counted_as_parked_again() -> None:
    rows = Rows(1)

    rows.apply(run(1, 1))
    rows.apply(run(1, 1))

    assert (rows.counted.totals.reports, rows.counted.totals.parked) == (2, 1)


def seconds() -> float:
    [metric] = metrics.EXECUTION_BATCH_SECONDS.collect()
    return sum(sample.value for sample in metric.samples if sample.name.endswith("_sum"))


def test_a_statement_that_found_nothing_is_not_counted() -> None:
    rows = Rows()

    async def nothing() -> Applied | None:
        return None

    assert asyncio.run(rows.applying.commit(nothing)) is None
    assert rows.counted.totals.reports == 0


def test_what_a_statement_applied_is_returned() -> None:
    rows = Rows()

    async def some() -> Applied | None:
        return Applied(5, 4, 1)

    assert asyncio.run(rows.applying.commit(some)) == Applied(5, 4, 1)
