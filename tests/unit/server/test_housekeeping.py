"""Housekeeping does what it can at each look, and no failure ends it."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from ordertrail.domain.switch import Switch
from ordertrail.runtime.telemetry import metrics
from ordertrail.server.housekeeping import Housekeeping
from ordertrail.server.switch_watch import SwitchWatch
from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.venues.gate.denial import GateState


class House:
    """All that a process has to look after; `log` is what was done, in turn."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.problem: str | None = None
        self.switch = False
        self.has_trails = False
        self.error: Exception | None = None
        self.pauses = 0
        self.has_checked_twice = asyncio.Event()
        parts: Any = self
        self.housekeeping = Housekeeping(
            SwitchWatch(parts, parts), parts, parts, parts, gate=parts, clock=parts, status=parts
        )

    async def run_once(self) -> None:
        self.log.append("database")

    async def read(self) -> Switch:
        if self.error is not None:
            raise self.error
        return Switch(is_halted=self.switch)

    async def refresh(self) -> None: ...

    async def replay(self) -> None:
        self.log.append("replay")

    async def sleep(self, _seconds: float) -> None:
        self.pauses += 1
        if self.pauses > 2:
            self.has_checked_twice.set()
            await asyncio.get_running_loop().create_future()

    def probe(self) -> None:
        self.log.append("spool")

    def publish(self) -> None: ...

    def state(self) -> GateState:
        return GateState(is_halted=False, budgets=())

    def halt(self) -> None:
        self.log.append("halt")

    def resume(self) -> None:
        self.log.append("resume")


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize(("switch", "done"), [(True, "halt"), (False, "resume")])
async def test_switch_is_obeyed_and_what_is_spooled_is_replayed(house: House, switch: bool, done: str) -> None:
    house.switch, house.has_trails = switch, True

    await house.housekeeping.run_once()

    assert house.log == ["database", "spool", done, "replay"]


async def test_while_the_database_is_away_only_the_spool_is_reviewed(house: House) -> None:
    house.problem, house.has_trails = "The database cannot be used.", True

    await house.housekeeping.run_once()

    assert house.log == ["database", "spool"]
    assert REGISTRY.get_sample_value("ordertrail_database_up") == 0


async def test_database_that_is_back_shows_without_an_order(house: House) -> None:
    await house.housekeeping.run_once()

    assert REGISTRY.get_sample_value("ordertrail_database_up") == 1


@pytest.mark.parametrize(
    ("error", "bugs"), [(StatementOutcomeUnknown("cut", may_have_happened=False), 0), (KeyError("a bug"), 2)], ids=str
)
async def test_review_that_fails_is_not_the_last(house: House, error: Exception, bugs: int) -> None:
    house.error = error
    broken = metrics.INVARIANTS_BROKEN.labels("watch_raised")
    before = broken._value.get()

    running = asyncio.create_task(house.housekeeping.run())
    async with asyncio.timeout(10):
        await house.has_checked_twice.wait()
    running.cancel()
    await asyncio.wait({running})

    assert house.log == ["database", "spool"] * 2
    assert broken._value.get() - before == bugs
