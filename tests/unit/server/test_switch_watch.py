"""A process says once that placing was halted or resumed, by whom and why, and obeys at each look."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ordertrail.domain.switch import Switch
from ordertrail.server import switch_watch
from ordertrail.server.switch_watch import SwitchWatch

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HALTED = Switch(True, NOON, "alice", "the venue asked")
RESUMED = Switch(False, NOON, "bob", None)


class House:
    """The switch, the gate and the log."""

    def __init__(self) -> None:
        self.switch = Switch()
        self.is_halted: bool | None = None
        self.lines: list[tuple[str, str | None, str | None]] = []
        parts: Any = self
        self.watch = SwitchWatch(parts, parts)

    async def read(self) -> Switch:
        return self.switch

    def halt(self) -> None:
        self.is_halted = True

    def resume(self) -> None:
        self.is_halted = False

    def warning(self, event: str, *, at: str, operator: str, reason: str | None) -> None:
        assert at == NOON.isoformat()
        self.lines.append((event, operator, reason))


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    house = House()
    monkeypatch.setattr(switch_watch, "_log", house)
    return house


async def test_halt_and_resume_are_logged_once(house: House) -> None:
    for switch in (Switch(), HALTED, HALTED, RESUMED, RESUMED):
        house.switch = switch
        await house.watch.run_once()

        assert house.is_halted == switch.is_halted
        assert house.watch.switch == switch
    assert house.lines == [("placing is halted", "alice", "the venue asked"), ("placing is resumed", "bob", None)]


async def test_resume_of_before_the_start_is_no_news(house: House) -> None:
    house.switch = RESUMED

    await house.watch.run_once()

    assert house.lines == []


async def test_second_halt_is_news_of_its_own(house: House) -> None:
    house.switch = HALTED
    await house.watch.run_once()
    house.switch = Switch(True, NOON, "carol", "still")

    await house.watch.run_once()

    assert [line[1] for line in house.lines] == ["alice", "carol"]
