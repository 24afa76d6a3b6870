"""What keeps the event log: when, what it says of what holds events back, and what it does after a failure."""

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from structlog.typing import EventDict

from ordertrail.events import log_upkeep, trouble
from ordertrail.events.log_upkeep import HELD_BACK_SECONDS_MAX, HORIZON_SECONDS, KEEP_SECONDS, LogUpkeep
from ordertrail.runtime.duties import FAILED_SECONDS_MAX
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.event_rows import HorizonHolder, LogKept
from tests.support.clocks import ManualClock

T = TypeVar("T")

OPEN = HorizonHolder(pid=42, database="elsewhere", prepared=None, seconds=HELD_BACK_SECONDS_MAX + 1)
BRIEF = HorizonHolder(pid=42, database="elsewhere", prepared=None, seconds=HELD_BACK_SECONDS_MAX)
PREPARED = HorizonHolder(pid=None, database="elsewhere", prepared="left open", seconds=99)
DENIED = StatementFailed("42501", "must be owner of table event_log")
AWAY = StatementOutcomeUnknown("cannot connect", may_have_happened=False)


@pytest.fixture(autouse=True)
def loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Such as no test before has used, and that write whatever a test before has silenced."""
    configured = structlog.get_config()
    structlog.reset_defaults()
    for module in (log_upkeep, trouble):
        monkeypatch.setattr(module, "_log", structlog.get_logger())
    yield
    structlog.configure(**configured)


class KeptLog:
    """Answers what a test has put in, the last for ever; notes how it was kept."""

    def __init__(self) -> None:
        self.kept: list[LogKept | Exception] = [LogKept(dropped=0, misplaced=0)]
        self.holders: list[HorizonHolder | Exception | None] = [None]
        self.days: list[float] = []

    async def keep(self, *, kept_days: float) -> LogKept:
        self.days.append(kept_days)
        return next_of(self.kept)

    async def horizon_holder(self) -> HorizonHolder | None:
        return next_of(self.holders)


def next_of(answers: list[T | Exception]) -> T:
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


class House:
    def __init__(self) -> None:
        self.log = KeptLog()
        self.clock = ManualClock()
        self.upkeep = LogUpkeep(self.log, self.clock, kept_days=3)

    async def turns(self, count: int) -> Sequence[EventDict]:
        """So many turns, one after the other; what was logged."""
        with capture_logs() as logs:
            for _ in range(count):
                await self.upkeep.run_once()
                self.clock.move(HORIZON_SECONDS)
        return logs


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"ordertrail_event_log_{name}")


async def test_the_log_is_kept_at_once_and_then_once_an_hour() -> None:
    house = House()

    await house.turns(int(KEEP_SECONDS / HORIZON_SECONDS))
    assert house.log.days == [3]
    await house.turns(1)

    assert house.log.days == [3, 3]


async def test_what_failed_is_tried_again_soon_and_said_once() -> None:
    house = House()
    house.log.kept = [DENIED]

    logs = await house.turns(int(FAILED_SECONDS_MAX / HORIZON_SECONDS) + 1)

    assert len(house.log.days) == 2
    assert [each["log_level"] for each in logs] == ["warning"]
    assert "must be owner" in logs[0]["error"]


async def test_a_database_that_was_away_may_be_another_one_so_its_log_is_kept_at_once() -> None:
    house = House()
    house.log.holders = [None, AWAY, None]

    await house.turns(2)
    before = len(house.log.days)
    await house.turns(2)

    assert (before, len(house.log.days)) == (1, 2)


async def test_who_holds_events_back_is_said_once_with_all_that_is_known_and_so_is_the_end() -> None:
    house = House()
    house.log.holders = [BRIEF, OPEN, OPEN, PREPARED, None, None]

    logs = await house.turns(6)

    assert [(each["log_level"], each.get("pid"), each.get("prepared"), each.get("seconds")) for each in logs] == [
        ("warning", 42, None, HELD_BACK_SECONDS_MAX + 1),
        ("warning", None, "left open", 99),
        ("info", None, None, None),
    ]
    assert logs[0]["database"] == "elsewhere"


@pytest.mark.parametrize(("holder", "seconds"), [(None, 0), (BRIEF, HELD_BACK_SECONDS_MAX), (PREPARED, 99)])
async def test_the_horizon_is_measured(holder: HorizonHolder | None, seconds: float) -> None:
    house = House()
    house.log.holders = [holder]

    await house.turns(1)

    assert gauge("horizon_seconds") == seconds


async def test_a_horizon_that_cannot_be_read_is_no_figure() -> None:
    house = House()
    house.log.holders = [OPEN, DENIED]

    await house.turns(2)

    found = gauge("horizon_seconds")
    assert found is not None and math.isnan(found)


async def test_rows_without_a_day_are_counted_and_said_once() -> None:
    house = House()
    house.log.kept = [LogKept(dropped=2, misplaced=5), DENIED, LogKept(dropped=0, misplaced=5)]

    logs = await house.turns(int((KEEP_SECONDS + FAILED_SECONDS_MAX) / HORIZON_SECONDS) + 2)

    assert len(house.log.days) == 3
    assert gauge("misplaced") == 5
    said = [(each["event"], each.get("rows"), each.get("days")) for each in logs if "error" not in each]
    assert said[:2] == [
        ("days of the event log were dropped", None, 2),
        ("rows of the event log are in no day's partition", 5, None),
    ]
    assert len([each for each in logs if "rows" in each]) == 1
