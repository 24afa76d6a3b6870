"""A venue whose socket sends nothing again: its open orders are queried, and what was missed is reported once."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.execution import Progress
from ordertrail.domain.venue_answer import Absent, Found, NoAnswer, Verification
from ordertrail.storage.execution_rows import LivePage
from tests.support.feeding import House, play
from tests.support.orders import an_order, venue_order

ORDER = an_order(quantity=10)
NOTHING = Progress(0, 10, None, True, busted=False, overfilled=False, executions_complete=True)


def found(**changes: Any) -> Found:
    return Found(venue_order(ORDER, **{"exchange_order_id": "X-1", **changes}))


@dataclass
class Reads:
    """`ExecutionReads`, as far as a feed needs them."""

    progress: Progress = NOTHING

    async def order(self, order_id: str) -> Any:
        await asyncio.sleep(0.001)
        return _Executed(self.progress)


@dataclass
class _Executed:
    progress: Progress


@dataclass
class Live:
    """A house whose venue cannot replay, and one live order."""

    house: House = field(default_factory=House)
    reads: Reads = field(default_factory=Reads)
    verification: Verification = field(default_factory=found)
    queried: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.house.venue.promised = replace(Capabilities(), replays_executions=False)
        self.house.venue.query = self.query  # type: ignore[attr-defined]  # what this venue can do beside
        self.house.database.live_orders = self.live_orders  # type: ignore[attr-defined]
        self.house.start(reads=self.reads)

    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:
        await asyncio.sleep(0.001)
        self.queried.append(order_id)
        return self.verification

    async def live_orders(self, *, after: str, limit: int) -> LivePage:
        await asyncio.sleep(0.001)
        return LivePage((ORDER.id,), "a") if after == "" else LivePage((), None)

    def reports(self) -> list[dict[str, Any]]:
        return [report for frame in self.house.queue.frames for report in json.loads(frame.body)]


def test_what_was_missed_is_reported_as_what_the_query_says_more() -> None:
    async def main() -> None:
        live = Live(
            reads=Reads(replace(NOTHING, cum_qty=4, avg_px=Decimal("10.5"))),
            verification=found(ord_status="partially_filled", cum_qty=7, leaves_qty=3, avg_px=Decimal("10.8")),
        )
        live.start()
        await live.house.until(live.reports)

        [report] = live.reports()
        [frame] = live.house.queue.frames
        assert (frame.count, frame.first, frame.last, frame.epoch) == (1, None, None, "e1")
        assert {name: report[name] for name in report if name != "transact_time"} == {
            "exec_id": "Q:7",
            "exec_type": "trade",
            "ord_status": "partially_filled",
            "client_order_id": ORDER.id,
            "exchange_order_id": "X-1",
            "last_qty": 3,
            "last_px": "11.20000000",
            "cum_qty": 7,
            "leaves_qty": 3,
            "avg_px": "10.8",
        }

    play(main())


@pytest.mark.parametrize(
    ("progress", "said", "reported"),
    [
        (NOTHING, {"ord_status": "filled", "cum_qty": 10, "leaves_qty": 0, "avg_px": Decimal(10)},
         [("Q:10", "trade", "filled", 10)]),
        (NOTHING, {"ord_status": "canceled", "cum_qty": 4, "leaves_qty": 0, "avg_px": Decimal(10)},
         [("Q:4", "trade", "partially_filled", 4), ("Q:canceled:4", "canceled", "canceled", 0)]),
        (NOTHING, {"ord_status": "expired", "leaves_qty": 0}, [("Q:expired:0", "expired", "expired", 0)]),
        (replace(NOTHING, cum_qty=10), {"ord_status": "filled", "cum_qty": 10, "leaves_qty": 0},
         [("Q:filled:10", "new", "filled", 0)]),
    ],
    ids=["filled", "filled in part and canceled", "expired", "filled, and its status is not known"],
)  # fmt: skip
def test_end_that_was_missed_is_reported(progress: Progress, said: dict[str, Any], reported: list[Any]) -> None:
    async def main() -> None:
        live = Live(reads=Reads(progress), verification=found(**said))
        live.start()
        await live.house.until(live.reports)

        words = ("exec_id", "exec_type", "ord_status", "last_qty")
        assert [tuple(report[word] for word in words) for report in live.reports()] == reported

    play(main())


@pytest.mark.parametrize(
    "verification",
    [
        found(),
        Absent(),
        NoAnswer("timeout"),
        found(ord_status="rejected", leaves_qty=0),
        found(ord_status="new", cum_qty=0),
    ],
    ids=["equal", "absent", "no answer", "rejected", "less than we know"],
)
def test_nothing_is_made_up(verification: Verification) -> None:
    async def main() -> None:
        progress = replace(NOTHING, cum_qty=3) if verification == found(ord_status="new", cum_qty=0) else NOTHING
        live = Live(reads=Reads(progress), verification=verification)
        live.start()
        await asyncio.sleep(200)

        assert live.reports() == []
        assert len(live.queried) >= 4

    play(main())


def test_report_that_is_just_on_its_way_is_not_made_up() -> None:
    async def main() -> None:
        live = Live(verification=found(ord_status="partially_filled", cum_qty=7, leaves_qty=3))
        live.start()
        await live.house.until(lambda: live.queried)
        await asyncio.sleep(2)
        live.reads.progress = replace(NOTHING, cum_qty=7)
        await asyncio.sleep(200)

        assert live.reports() == []

    play(main())


def test_each_connection_begins_with_queries() -> None:
    async def main() -> None:
        live = Live()
        live.start()
        await live.house.until(lambda: live.queried)
        before = len(live.queried)
        live.house.venue.restart(head=0)

        await live.house.until(lambda: len(live.queried) > before, seconds=2)

    play(main())
