"""What the feed keeps for a person: once, however many try at the same time, and also where the database was away."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from ordertrail.executions.feed_parking import FeedParking
from ordertrail.runtime.telemetry import metrics
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.parked_rows import ParkedThing
from ordertrail.venues.venue import RAW_BYTES_MAX, UnreadableFrame
from tests.support.executions import EPOCH, VENUE

HTML = UnreadableFrame("no JSON", b"<html>")


class SlowRows:
    """Keeps nothing before it may go on."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.kept: list[bytes] = []

    async def park(self, venue: str, things: Sequence[ParkedThing], *, new_max: int) -> dict[bytes, bool]:
        await self.may_go_on.wait()
        self.kept += [thing.fingerprint for thing in things]
        return {thing.fingerprint: True for thing in things}


async def test_a_frame_that_two_would_keep_at_once_is_kept_once() -> None:
    rows = SlowRows()
    parking = FeedParking(rows, venue=VENUE)  # type: ignore[arg-type]
    first = asyncio.create_task(parking.park_frame(UnreadableFrame("no JSON", b"<html>"), epoch=EPOCH))
    second = asyncio.create_task(parking.flush())
    await asyncio.sleep(0)  # both have begun

    rows.may_go_on.set()
    await asyncio.gather(first, second)

    assert len(rows.kept) == 1


@dataclass
class Rows:
    """Keeps each thing once. `room`: so many new ones and no more. `statements`: how many things each one brought."""

    room: int = 1_000_000
    error: Exception | None = None
    things: list[ParkedThing] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)

    async def park(self, venue: str, things: Sequence[ParkedThing], *, new_max: int) -> dict[bytes, bool]:
        assert (venue, new_max) == (VENUE, 100)
        self.statements.append(len(things))
        if self.error is not None:
            raise self.error
        kept: dict[bytes, bool] = {}
        for thing in things:
            if thing.fingerprint in {each.fingerprint for each in self.things}:
                kept.setdefault(thing.fingerprint, False)
            elif len(self.things) < self.room:
                self.things.append(thing)
                kept[thing.fingerprint] = True
        return kept


def parking_in(rows: Rows) -> FeedParking:
    return FeedParking(rows, venue=VENUE)  # type: ignore[arg-type]


def counts(kind: str) -> tuple[float, float, float]:
    """Things that were parked and that were dropped, and reports that are lost."""
    return (
        metrics.PARKED.labels(kind)._value.get(),
        metrics.PARKED_DROPPED.labels(kind)._value.get(),
        metrics.FEED_LOST_REPORTS._value.get(),
    )


def counted_since(before: tuple[float, float, float], kind: str) -> list[float]:
    return [new - old for new, old in zip(counts(kind), before, strict=True)]


async def test_a_frame_is_kept_with_its_first_bytes_and_its_epoch() -> None:
    rows, before = Rows(), counts("frame")

    await parking_in(rows).park_frame(UnreadableFrame("no JSON", b"x" * (RAW_BYTES_MAX + 1)), epoch=EPOCH)

    [thing] = rows.things
    assert (thing.kind, thing.reason, thing.raw) == ("frame", "no JSON", b"x" * RAW_BYTES_MAX)
    assert (thing.field, thing.epoch, thing.seq, len(thing.fingerprint)) == (None, EPOCH, None, 20)
    assert counted_since(before, "frame") == [1, 0, 0]


async def test_the_same_bytes_in_another_epoch_are_another_thing() -> None:
    rows = Rows()
    parking = parking_in(rows)

    for epoch in ("e1", "e1", "e2"):
        await parking.park_frame(HTML, epoch=epoch)

    assert [thing.epoch for thing in rows.things] == ["e1", "e2"]


async def test_lost_reports_are_kept_and_counted_once() -> None:
    rows, before = Rows(), counts("execution_gap")
    parking = parking_in(rows)

    for _ in range(2):
        await parking.park_gap(epoch=EPOCH, first=4, last=6)
    await parking.park_gap(epoch=EPOCH, first=8, last=8)

    assert [(thing.kind, thing.raw, thing.seq) for thing in rows.things] == [
        ("execution_gap", b'{"epoch":"e1","first":4,"last":6}', 4),
        ("execution_gap", b'{"epoch":"e1","first":8,"last":8}', 8),
    ]
    assert counted_since(before, "execution_gap") == [2, 0, 4]
    assert rows.statements == [1, 1]


async def test_lost_reports_are_counted_once_also_while_the_database_is_away() -> None:
    rows, before = Rows(error=StatementOutcomeUnknown("away", may_have_happened=False)), counts("execution_gap")
    parking = parking_in(rows)
    for _ in range(3):
        await parking.park_gap(epoch=EPOCH, first=4, last=6)

    rows.error = None
    await parking.flush()

    assert len(rows.things) == 1
    assert rows.statements == [1, 1]
    assert counted_since(before, "execution_gap") == [1, 0, 3]


@pytest.mark.parametrize(
    "error", [StatementFailed("53300", "full"), StatementOutcomeUnknown("away", may_have_happened=True)]
)
async def test_what_the_database_did_not_keep_is_tried_again_and_then_no_more(error: Exception) -> None:
    rows, before = Rows(error=error), counts("frame")
    parking = parking_in(rows)
    await parking.park_frame(HTML, epoch="e1")
    await parking.park_frame(HTML, epoch="e2")
    assert (rows.things, counted_since(before, "frame")) == ([], [0, 0, 0])

    rows.error = None
    for _ in range(2):
        await parking.flush()

    assert [thing.epoch for thing in rows.things] == ["e1", "e2"]
    assert rows.statements == [1, 2, 2]
    assert counted_since(before, "frame") == [2, 0, 0]


async def test_the_same_frame_twice_in_one_statement_is_counted_once() -> None:
    rows, before = Rows(error=StatementOutcomeUnknown("away", may_have_happened=False)), counts("frame")
    parking = parking_in(rows)
    for _ in range(3):
        await parking.park_frame(HTML, epoch=EPOCH)

    rows.error = None
    await parking.flush()

    assert rows.statements == [1, 2, 3, 3]
    assert counted_since(before, "frame") == [1, 0, 0]


async def test_of_more_than_a_hundred_that_wait_only_the_count_is_left() -> None:
    rows, before = Rows(error=StatementOutcomeUnknown("away", may_have_happened=False)), counts("frame")
    parking = parking_in(rows)
    for number in range(103):
        await parking.park_frame(UnreadableFrame("no JSON", b"%d" % number), epoch=EPOCH)

    rows.error = None
    await parking.flush()

    assert [thing.raw for thing in rows.things] == [b"%d" % number for number in range(100)]
    assert counted_since(before, "frame") == [100, 3, 0]


async def test_what_the_database_has_no_room_for_is_counted_as_dropped_and_not_tried_again() -> None:
    rows, before = Rows(room=1), counts("frame")
    parking = parking_in(rows)

    for epoch in ("e1", "e2", "e1"):
        await parking.park_frame(HTML, epoch=epoch)

    assert rows.statements == [1, 1, 1]
    assert counted_since(before, "frame") == [1, 1, 0]
