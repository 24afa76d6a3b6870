"""Services are started upwards, stopped downwards, and started again with patience."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from typing_extensions import override

from ordertrail.runtime.errors import CannotStart
from ordertrail.up import supervisor
from ordertrail.up.supervisor import Supervisor


@dataclass
class Fake:
    """A service that ends when it is told to, and keeps a common diary."""

    name: str
    diary: list[str]
    stop_seconds: float = 5.0
    problem: str | None = None
    is_final: bool = False
    deaths: int = 0
    when_it_lives: Callable[[], None] = lambda: None
    runs: bool = False

    def start(self) -> None:
        self.diary.append(f"{self.name} started")
        if self.problem is not None and not self.is_final:
            raise CannotStart(self.problem)
        self.runs = self.problem is None
        if self.deaths == 0:
            self.when_it_lives()

    def is_ready(self) -> bool:
        return self.runs

    def ending(self) -> str | None:
        if self.runs and self.deaths:
            self.deaths -= 1
            self.runs = False
        return None if self.runs else f"{self.problem or 'it died'}."

    def cannot_start(self) -> bool:
        return self.is_final

    def request_stop(self) -> None:
        self.diary.append(f"{self.name} requested to stop")
        self.runs = False

    def stop_now(self) -> None:
        self.diary.append(f"{self.name} is gone")
        self.runs = False


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def diary() -> list[str]:
    return []


def test_services_start_upwards_and_stop_downwards(diary: list[str]) -> None:
    Supervisor([Fake("database", diary), Fake("api", diary)], diary.append).run(on_ready=press_ctrl_c)

    assert [line for line in diary if line[0].islower()] == [
        "database started",
        "api started",
        "api requested to stop",
        "api is gone",
        "database requested to stop",
        "database is gone",
    ]


def test_a_second_ctrl_c_hurries_as_soon_as_the_first_was_heard(
    diary: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.001)

    class Stubborn(Fake):
        checks = 0

        @override
        def request_stop(self) -> None:
            pass

        @override
        def ending(self) -> str | None:
            self.checks += 1
            assert self.checks < 100, "it was waited for"
            return super().ending()

    def say(sentence: str) -> None:
        diary.append(sentence)
        if sentence.startswith("Stopping"):
            press_ctrl_c()

    Supervisor([Stubborn("api", diary, stop_seconds=float("inf"))], say).run(on_ready=press_ctrl_c)

    assert "api is ended at once." in diary


def test_a_service_that_cannot_start_takes_down_what_stands_already(diary: list[str]) -> None:
    services = [Fake("database", diary), Fake("api", diary, problem="The port is taken.", is_final=True)]

    with pytest.raises(CannotStart, match="api cannot start: The port is taken"):
        Supervisor(services, diary.append).run(on_ready=press_ctrl_c)

    assert diary[-2:] == ["database requested to stop", "database is gone"]


def test_a_database_that_cannot_start_leaves_nothing_running(diary: list[str]) -> None:
    services = [Fake("database", diary, problem="The folder is broken."), Fake("api", diary)]

    with pytest.raises(CannotStart, match="The folder is broken"):
        Supervisor(services, diary.append).run(on_ready=press_ctrl_c)

    assert "api started" not in diary


def test_a_service_that_dies_is_started_again_with_growing_pauses(
    diary: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS_MIN", 0.01)
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS_MAX", 0.03)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.001)
    fake = Fake("api", diary, deaths=4, when_it_lives=press_ctrl_c)

    Supervisor([fake], diary.append).run(on_ready=lambda: None)

    pauses = [line.rpartition(" again in ")[2] for line in diary if "ended by itself" in line]
    assert pauses == ["0.01 s.", "0.02 s.", "0.03 s.", "0.03 s."]
    assert diary.count("api started") == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_signals_stop_as_well(diary: list[str], number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have ignored it
    try:
        Supervisor([Fake("api", diary)], diary.append).run(on_ready=lambda: os.kill(os.getpid(), number))
    finally:
        signal.signal(number, before)

    assert diary[-1] == "All is stopped."


def test_hangup_that_is_ignored_stays_ignored(diary: list[str]) -> None:
    """As `nohup` wants it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    handlers = []

    def check_and_end() -> None:
        handlers.append(signal.getsignal(signal.SIGHUP))
        os.kill(os.getpid(), signal.SIGINT)

    try:
        Supervisor([Fake("api", diary)], diary.append).run(on_ready=check_and_end)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert handlers == [signal.SIG_IGN]


def test_the_signals_have_their_old_meaning_afterwards(diary: list[str]) -> None:
    before = signal.getsignal(signal.SIGINT)

    Supervisor([Fake("api", diary)], diary.append).run(on_ready=press_ctrl_c)

    assert signal.getsignal(signal.SIGINT) is before
