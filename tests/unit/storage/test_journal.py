"""What the journal does with what the spool has kept."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from ordertrail.domain.errors import OrdertrailError
from ordertrail.domain.order import Order
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Limits
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_rows import KeyTaken, NewTrailRow, Recorded, Rows, SpooledTrail
from ordertrail.storage.spool import Spool
from tests.support.orders import an_order
from tests.unit.storage.test_spool import trail

# ruff: noqa: ASYNC240 - nothing else runs in these event loops

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Table:
    """Takes trails, but `refuses` those that it names, with an error of the test's."""

    def __init__(self, error: OrdertrailError, *refuses: str) -> None:
        self.error: OrdertrailError | None = error
        self.refuses = set(refuses)
        self.taken: list[str] = []

    async def replay(self, trails: Sequence[SpooledTrail]) -> None:
        ids = [each.order.id for each in trails]
        if self.error is not None and self.refuses & set(ids):
            raise self.error
        self.taken += ids

    def __getattr__(self, name: str) -> Any:
        return lambda *_: pytest.fail(f"{name} was called")


async def journal_of(folder: Path, table: Table) -> Journal:
    spool = Spool(folder, bytes_max=1_000_000)
    await spool.open()
    await spool.append([trail("a"), trail("poison"), trail("b")])
    limits = Limits(rows_max=10, queue_max=10, timeout_seconds=1)
    return Journal(cast("Rows", table), spool, SystemClock(), limits)


@pytest.mark.parametrize("code", ["22021", "23514"])
async def test_trail_that_will_never_be_taken_is_set_aside(tmp_path: Path, code: str) -> None:
    table = Table(StatementFailed(code, "refused"), "poison")
    journal = await journal_of(tmp_path, table)

    assert await journal.replay() == 3

    assert table.taken == ["a", "b"]
    assert len(list(tmp_path.glob("*.refused"))) == 1


PASSING: list[Any] = [
    StatementFailed("40P01", "deadlock detected"),
    StatementFailed("25006", "cannot execute INSERT in a read-only transaction"),
    StatementFailed("53200", "out of memory"),
    StatementFailed("55P03", "lock not available"),
    StatementOutcomeUnknown("gone", may_have_happened=True),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
async def test_trail_that_cannot_be_taken_now_is_kept(tmp_path: Path, error: OrdertrailError) -> None:
    table = Table(error, "poison")
    journal = await journal_of(tmp_path, table)

    with pytest.raises(type(error)):
        await journal.replay()
    assert not list(tmp_path.glob("*.refused"))

    table.error = None
    assert await journal.replay() == 3
    assert table.taken == ["a", "poison", "b"]


class TwoKinds:
    """Takes INITIATED and COMPLETED once it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = asyncio.Event()
        self.both: list[tuple[list[str], list[str]]] = []

    async def insert_initiated(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        self.begun.set()
        await self.open.wait()
        return [Recorded(NOW) for _ in orders]

    async def insert_initiated_and_completed(
        self, orders: Sequence[Order], completed: Sequence[NewTrailRow]
    ) -> tuple[list[Recorded | KeyTaken], list[bool]]:
        self.both.append(([order.id for order in orders], [row.order_id for row in completed]))
        recorded = [KeyTaken("owner") if order.client_order_id else Recorded(NOW) for order in orders]
        return recorded, [row.order_id != "gone" for row in completed]

    def __getattr__(self, name: str) -> Any:
        return lambda *_: pytest.fail(f"{name} was called")


async def test_rows_of_both_kinds_go_together_and_each_gets_its_own_result(tmp_path: Path) -> None:
    rows = TwoKinds()
    limits = Limits(rows_max=10, queue_max=2, timeout_seconds=1)
    journal = Journal(cast("Rows", rows), Spool(tmp_path, bytes_max=1), SystemClock(), limits)
    first = asyncio.ensure_future(journal.initiated(an_order()))
    async with asyncio.timeout(5):
        await rows.begun.wait()
    waiting: list[Any] = [
        journal.initiated(an_order(id="a")),
        asyncio.ensure_future(journal.completed("placed", "x-1")),
        asyncio.ensure_future(journal.completed("gone", "x-2")),
    ]
    await asyncio.sleep(0)  # both tasks begin, and their rows are in the line
    waiting.append(journal.initiated(an_order(id="b", client_order_id="key")))
    journal.publish()
    assert REGISTRY.get_sample_value("ordertrail_commit_queue_rows", {"batcher": "placing"}) == 3

    rows.open.set()
    recorded, placed, gone, turned_away = await asyncio.gather(*waiting, return_exceptions=True)

    assert rows.both == [(["a"], ["placed", "gone"])]
    assert await first == recorded == Recorded(NOW)
    assert placed is None
    assert isinstance(gone, StatementFailed)
    # An order that is at the exchange has its place where a new one has none.
    assert isinstance(turned_away, StatementOutcomeUnknown)
    assert not turned_away.may_have_happened
    journal.publish()
    assert REGISTRY.get_sample_value("ordertrail_commit_queue_rows", {"batcher": "placing"}) == 0
