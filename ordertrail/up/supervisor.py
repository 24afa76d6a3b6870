"""Runs services one on top of the other: started upwards, restarted when one ends by itself, stopped downwards."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from ordertrail.runtime.errors import CannotStart

POLL_SECONDS = 0.05
BACKOFF_SECONDS_MIN = 0.5
BACKOFF_SECONDS_MAX = 30.0
STEADY_SECONDS = 60.0  # after this long, the next end of a service is the first again
SLOW_SECONDS = 15.0

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SupervisedService(Protocol):
    """Something that runs beside us: a program, or the database."""

    name: str
    stop_seconds: float

    def start(self) -> None:
        """Start it, or start it again; raises CannotStart. May take long."""

    def is_ready(self) -> bool:
        """Whether what stands on it can start."""

    def ending(self) -> str | None:
        """How it ended, in words; None while it runs."""

    def cannot_start(self) -> bool:
        """Whether it ended because of something that a restart does not mend."""

    def request_stop(self) -> None:
        """Let it finish what is in flight, and end."""

    def stop_now(self) -> None:
        """End it whatever it does; returns when it is gone. Harmless if it does not run."""


class _StopRequested(BaseException):
    """A signal arrived while something that blocks may be left alone."""


@dataclass
class _Running:
    service: SupervisedService
    began: float = 0.0
    failures: int = 0
    restart_at: float | None = None
    was_ready: bool = field(default=False)


class Supervisor:
    """`services` from the lowest to the highest. The first Ctrl-C (or SIGTERM, SIGHUP) stops, the second hurries."""

    def __init__(self, services: Sequence[SupervisedService], say: Callable[[str], None]) -> None:
        self._services = services
        self._say = say
        self._running: list[_Running] = []
        self._signals = 0
        self._may_interrupt = False

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start all, call `on_ready`, keep them running, and return when all are stopped; raises CannotStart."""
        with self._signals_caught():
            try:
                for service in self._services:
                    if not self._start_and_wait(service):
                        return
                on_ready()
                while not self._signals:
                    self._check_all()
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop_all()

    @contextlib.contextmanager
    def _signals_caught(self) -> Iterator[None]:
        previous = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        for number, handler in previous.items():
            if handler is not signal.SIG_IGN:  # `nohup`, or a background job
                signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._may_interrupt:
            self._may_interrupt = False
            raise _StopRequested

    def _start(self, running: _Running) -> None:
        """Start and let a signal cut that short: a recovering database may take its time."""
        running.began = time.monotonic()
        try:
            self._may_interrupt = True
            if not self._signals:
                running.service.start()
        except _StopRequested:
            pass
        finally:
            self._may_interrupt = False

    def _start_and_wait(self, service: SupervisedService) -> bool:
        running = _Running(service)
        self._running.append(running)
        self._start(running)
        said = False
        while not self._signals:
            self._check_all()
            if running.restart_at is None and service.is_ready():
                running.was_ready = True
                return True
            if not said and time.monotonic() - running.began > SLOW_SECONDS:
                said = True
                self._say(f"Still waiting for {service.name} to be ready.")
            time.sleep(POLL_SECONDS)
        return False

    def _check_all(self) -> None:
        for running in self._running:
            if self._signals:
                return
            self._check(running)

    def _check(self, running: _Running) -> None:
        now = time.monotonic()
        if running.restart_at is not None:
            if now >= running.restart_at:
                running.restart_at = None
                self._restart(running)
            return
        ending = running.service.ending()
        if ending is None:
            if running.failures and now - running.began > STEADY_SECONDS:
                running.failures = 0
            return
        if not running.was_ready and running.service.cannot_start():
            raise CannotStart(f"{running.service.name} cannot start: {ending}")
        self._plan_restart(running, f"{running.service.name} ended by itself: {ending}")

    def _restart(self, running: _Running) -> None:
        try:
            self._start(running)
        except CannotStart as error:
            self._plan_restart(running, str(error))

    def _plan_restart(self, running: _Running, why: str) -> None:
        pause = min(BACKOFF_SECONDS_MIN * 2**running.failures, BACKOFF_SECONDS_MAX)
        running.failures += 1
        running.restart_at = time.monotonic() + pause
        self._say(f"{why} Starting it again in {pause:g} s.")

    def _stop_all(self) -> None:
        # Before a word is said: the person who reads it may answer with the second at once.
        requested = min(self._signals, 1)
        if requested:
            self._say("Stopping; again Ctrl-C hurries.")
        for running in reversed(self._running):
            service = running.service
            if service.ending() is None:
                service.request_stop()
                deadline = time.monotonic() + service.stop_seconds
                while service.ending() is None and time.monotonic() < deadline and self._signals <= requested:
                    time.sleep(POLL_SECONDS)
                if service.ending() is None:
                    self._say(f"{service.name} is ended at once.")
            service.stop_now()
        if self._signals:
            self._say("All is stopped.")
