"""The status reads the database once at a time, for so long and no longer, and answers whatever comes of that."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.metrics import TroubleCounters
from ordertrail.server import status as module
from ordertrail.server.status import FRESH_SECONDS, KEPT_SECONDS, Status
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.event_rows import HorizonHolder, LogKept
from ordertrail.venues.gate.denial import GateState
from ordertrail.venues.gate.venue_trouble import VenueTrouble
from tests.support.clocks import NOON

FIGURES = {
    "read_at": NOON,
    "schema_version": "0007",
    "doubts": 3,
    "unresolved": 0,
    "oldest_seconds": 1.0,
    "parked": 0,
    "orphans": 0,
    "late_arrivals": 0,
    "live_late_arrivals": [],
    "is_halted": False,
    "halt_operator": None,
    "halt_acted_at": None,
    "halt_reason": None,
}


class House:
    """All that the status looks at; `may_answer` holds up the database."""

    def __init__(self) -> None:
        self.time = 0.0
        self.reads = 0
        self.counters = TroubleCounters(0, 0, {})
        self.problem: str | None = None
        self.error: Exception | None = None
        self.holder: HorizonHolder | Exception | None = None
        self.was_read = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        parts: Any = self
        watch: Any = SimpleNamespace(problem=None, since=NOON)
        self.watch = watch
        gateway: Any = SimpleNamespace(trouble=VenueTrouble(), venue_name="venue")
        gate: Any = SimpleNamespace(state=lambda: GateState(is_halted=False, budgets=()))
        spool: Any = SimpleNamespace(state=lambda: (0, 0, 100, 0), problem=None)
        self.status = Status(
            parts,
            watch,
            spool=spool,
            gate=gate,
            gateway=gateway,
            clock=parts,
            problems=list,
            worker="host:1",
            venue="venue",
            event_log=parts,
        )

    async def keep(self, *, kept_days: float) -> LogKept:
        raise AssertionError("the status only reads")

    async def horizon_holder(self) -> HorizonHolder | None:
        if isinstance(self.holder, Exception):
            raise self.holder
        return self.holder

    async def fetch(self, _sql: str) -> list[dict[str, Any]]:
        self.reads += 1
        self.was_read.set()
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return [FIGURES]

    def monotonic(self) -> float:
        return self.time

    def now(self) -> Any:
        return NOON + timedelta(seconds=self.time)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    house = House()
    monkeypatch.setattr(metrics, "trouble_counters", lambda: house.counters)
    return house


async def test_database_is_read_once_a_second_however_often_the_status_is_wanted(house: House) -> None:
    for _ in range(5):
        assert (await house.status.document())["doubts"]["count"] == 3
    assert house.reads == 1

    house.time += FRESH_SECONDS
    await house.status.document()
    assert house.reads == 2


async def test_figures_at_hand_are_kept_for_ten_seconds(house: House) -> None:
    await house.status.refresh()
    house.time += KEPT_SECONDS - 0.1
    await house.status.refresh()
    assert house.reads == 1

    house.time += 0.1
    await house.status.refresh()
    assert house.reads == 2


async def test_database_that_hangs_holds_up_no_answer_but_for_so_long(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_SECONDS_MAX", 0.02)
    house.may_answer.clear()

    first = await house.status.document()
    second = await house.status.document()

    assert house.reads == 1
    assert first["figures_as_of"] is second["figures_as_of"] is None
    assert first["doubts"]["count"] is None


async def test_others_do_not_wait_for_a_read_that_is_under_way(house: House) -> None:
    house.may_answer.clear()
    slow = asyncio.create_task(house.status.document())
    await house.was_read.wait()
    house.time += 100

    at_once = await house.status.document()
    house.may_answer.set()

    assert at_once["figures_as_of"] is None
    assert (await slow)["doubts"]["count"] == 3
    assert house.reads == 1


async def test_failed_read_leaves_the_figures_of_before(house: House) -> None:
    await house.status.refresh()
    house.error = StatementOutcomeUnknown("cut", may_have_happened=False)
    house.time += KEPT_SECONDS

    document = await house.status.document()

    assert house.reads == 2
    assert document["doubts"]["count"] == 3
    assert document["figures_as_of"] == "2026-01-01T12:00:00.000Z"
    assert document["as_of"] == "2026-01-01T12:00:10.000Z"


async def test_what_holds_events_back_is_read_anew_and_costs_the_figures_nothing(house: House) -> None:
    house.holder = HorizonHolder(pid=7, database="d", prepared=None, seconds=40)
    first = await house.status.document()
    house.holder = StatementFailed("42501", "permission denied")
    house.time += KEPT_SECONDS
    second = await house.status.document()

    assert (first["events"]["horizon_seconds"], first["events"]["held_by"]["pid"]) == (40.0, 7)
    # What it was says nothing of what it is.
    assert (second["events"]["horizon_seconds"], second["events"]["held_by"]) == (None, None)
    assert (second["doubts"]["count"], house.reads) == (3, 2)


async def test_database_that_is_known_to_be_away_is_left_alone(house: House) -> None:
    house.watch.problem = "The database cannot be used."

    document = await house.status.document()

    assert house.reads == 0
    assert not document["database"]["is_up"]


async def test_what_to_do_about_a_counter_is_said_for_an_hour_after_it_rose(house: House) -> None:
    async def to_do() -> list[str]:
        document: Any = await house.status.document()
        assert [document["log"]["records_dropped"], document["invariants"]["broken"]] == [
            house.counters.log_records_dropped,
            house.counters.invariants_broken,
        ]
        found: list[str] = document["to_do"]
        return found

    assert await to_do() == []
    house.counters = TroubleCounters(7, 0, {"venue_raised": 1})
    assert len(await to_do()) == 2

    house.time += 3599
    assert len(await to_do()) == 2
    house.time += 1
    assert await to_do() == []

    house.counters = TroubleCounters(7, 0, {"venue_raised": 2})
    assert len(await to_do()) == 1
