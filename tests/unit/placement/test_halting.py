"""A halt waits for what was begun before it, and for nothing else."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from ordertrail.domain.switch import Switch
from ordertrail.placement.halting import Halted, Halting
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.switch_rows import Turned, UnderWay
from tests.support.clocks import NOON
from tests.support.switch import ALICE

SEND_SECONDS = 5.0
HALT = Turned(NOON, "7")
BEFORE = Switch(True, NOON, "alice", None, 1)
RESUMED = Switch(False, NOON, "alice", None, 2)
NEWER = Switch(True, NOON, "bob", None, 3)
LOST = StatementOutcomeUnknown("cut", may_have_happened=True)


class House:
    """Database and clocks: both show the same time, which passes while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.notices = 0
        self.errors: list[Exception] = []
        self.turns = 0
        self.switch = BEFORE
        self.under_way_at: Callable[[float], UnderWay | Exception] = lambda seconds: self.nothing()
        parts: Any = self
        self.halting = Halting(parts, parts, send_seconds=SEND_SECONDS)

    def nothing(
        self, *, startable: int = 0, until: float | None = None, has_earlier_statements: bool = False
    ) -> UnderWay:
        last = None if until is None else self.at(until)
        return UnderWay(self.at(self.seconds), has_earlier_statements, startable, last, startable)

    def at(self, seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    def monotonic(self) -> float:
        return 1000 + self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    async def under_way(self, halt: Turned) -> UnderWay:
        assert halt == HALT
        found = self.under_way_at(self.seconds)
        if isinstance(found, Exception):
            raise found
        return found

    async def halt(self, operator: object, reason: str | None) -> Turned:
        self.turns += 1
        if self.errors:
            raise self.errors.pop(0)
        return HALT

    async def resume(self, operator: object, reason: str | None, *, before: Switch) -> bool:
        self.turns += 1
        is_newest = before == self.switch
        if is_newest:
            self.switch = RESUMED
        if self.errors:
            raise self.errors.pop(0)
        return is_newest

    async def read(self) -> Switch:
        return self.switch

    def notice(self) -> None:
        self.notices += 1

    async def wait(self) -> Halted:
        return await self.halting.wait(HALT, on_wait=self.notice)


@pytest.fixture
def house() -> House:
    return House()


async def test_nothing_under_way_is_not_waited_for(house: House) -> None:
    halted = await house.wait()

    assert (house.seconds, house.notices) == (0, 0)
    assert halted == Halted(NOON, house.nothing())


async def test_answer_ends_the_wait(house: House) -> None:
    house.under_way_at = lambda seconds: house.nothing(startable=int(seconds < 2), until=4)

    await house.wait()

    assert house.seconds == pytest.approx(2, abs=0.2)
    assert house.notices == 1


async def test_send_window_ends_the_wait(house: House) -> None:
    house.under_way_at = lambda seconds: house.nothing(startable=1, until=4)

    await house.wait()

    assert house.seconds == pytest.approx(4, abs=0.2)


async def test_orders_that_come_after_the_halt_are_not_waited_for(house: House) -> None:
    house.under_way_at = lambda seconds: house.nothing(startable=1, until=4 + seconds)

    await house.wait()

    assert house.seconds == pytest.approx(4, abs=0.2)


async def test_what_an_earlier_statement_records_is_waited_for(house: House) -> None:
    house.under_way_at = lambda seconds: (
        house.nothing(has_earlier_statements=True) if seconds < 1 else house.nothing(startable=1, until=3)
    )

    await house.wait()

    assert house.seconds == pytest.approx(3, abs=0.2)


async def test_backup_does_not_hold_it_up_for_longer_than_the_send_window(house: House) -> None:
    house.under_way_at = lambda seconds: house.nothing(has_earlier_statements=True)

    await house.wait()

    assert house.seconds == pytest.approx(SEND_SECONDS, abs=0.2)


async def test_database_that_goes_away_is_waited_for_by_our_own_clock(house: House) -> None:
    house.under_way_at = lambda seconds: LOST

    halted = await house.wait()

    assert halted == Halted(NOON, None)
    assert house.seconds == pytest.approx(SEND_SECONDS, abs=0.2)


async def test_lost_answer_is_repeated_for_halting_twice_is_halting(house: House) -> None:
    house.errors = [LOST, LOST]

    assert await house.halting.halt(ALICE, None) == HALT
    assert house.turns == 3


@pytest.mark.parametrize(
    "error", [StatementFailed("42P01", "no table"), StatementOutcomeUnknown("no connection", may_have_happened=False)]
)
async def test_failure_that_is_certain_is_not_repeated(house: House, error: Exception) -> None:
    house.errors = [error]

    with pytest.raises(type(error)):
        await house.halting.halt(ALICE, None)
    assert house.turns == 1


async def test_resume_whose_answer_was_lost_is_done_once(house: House) -> None:
    house.errors = [LOST]

    assert await house.halting.resume(ALICE, None, before=BEFORE) is None
    assert (house.turns, house.switch) == (2, RESUMED)


async def test_resume_leaves_a_newer_halt_and_names_it(house: House) -> None:
    house.switch = NEWER

    assert await house.halting.resume(ALICE, None, before=BEFORE) == NEWER
    assert house.switch == NEWER
