"""What the feed keeps for a person: once, however many try at the same time."""

import asyncio
from collections.abc import Sequence

from ordertrail.executions.feed_parking import FeedParking
from ordertrail.storage.parked_rows import ParkedThing
from ordertrail.venues.venue import UnreadableFrame
from tests.support.executions import EPOCH, VENUE


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
