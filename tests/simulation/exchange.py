"""The other side: the simulated exchange's own state machine and service, with a log in memory, as a process."""

import contextvars
from collections.abc import Callable
from random import Random

import msgspec

from ordertrail.runtime.clock import Clock
from ordertrail.venues.simulated.client import SimulatedVenue
from simulated_exchange.capabilities import Profile
from simulated_exchange.entries import (
    AcceptedLine,
    Line,
    Occurred,
    RejectedLine,
    accepted_line,
    canceled_line,
    rejected_line,
)
from simulated_exchange.exchange import Exchange
from simulated_exchange.faults import Faults
from simulated_exchange.noise import Noise
from simulated_exchange.occurrences import EpochChange
from simulated_exchange.orders import NewOrder, Order, Refusal, Report
from simulated_exchange.service import ExchangeService
from simulated_exchange.wire import text_us, time_text
from tests.simulation.loop import Process, SimulationLoop
from tests.simulation.sockets import SimulatedSocket

# What may be called of an exchange that is about to take orders again.
_READING = frozenset({"capabilities", "follow", "report_page"})


class MemoryLog:
    """Durable in the same moment, for the machine that it is on does not fail."""

    pending = False

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def accepted(self, new: NewOrder, order: Order, reports: list[Report]) -> None:
        self.lines.append(accepted_line(new, order, reports))

    def rejected(self, new: NewOrder, order: Order, refusal: Refusal, reports: list[Report]) -> None:
        self.lines.append(rejected_line(new, order, refusal, reports))

    def canceled(self, order: Order, reports: list[Report]) -> None:
        self.lines.append(canceled_line(order, reports))

    def occurred(self, line: Occurred) -> None:
        self.lines.append(line)

    async def durable(self) -> None: ...

    async def close(self) -> None: ...


class ExchangeHost:
    """The exchange's process: it may be killed and started again on the same log.

    `skew_us`: how far its clock is ahead of the database's.
    """

    def __init__(
        self,
        loop: SimulationLoop,
        clock: Clock,
        random: Random,
        now_us: Callable[[], int],
        *,
        profile: Profile,
        faults: Faults,
        skew_us: int,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._skew_us = skew_us
        self.log = MemoryLog()
        self.exchange = Exchange(
            epoch="e",
            log=self.log,
            now_us=lambda: now_us() + skew_us,
            random=random,
            profile=profile,
            faults=faults,
        )
        self.process = Process("exchange")
        self.venue = self._venue()
        self.is_out_of_reach = False
        # How often it came back with fewer reports than it had; and whether who follows it must notice, for it makes
        # no others before it is followed again, and no connection breaks.
        self.times_gone_back = 0
        self.is_read_again_for_sure = False
        self._is_quiet = False
        self._sockets: list[SimulatedSocket] = []

    @property
    def is_up(self) -> bool:
        """Whether somebody takes connections."""
        return self.process.is_alive and not self.is_out_of_reach

    def takes(self, call: str) -> bool:
        """Whether somebody takes this call."""
        return self.is_up and (not self._is_quiet or call in _READING)

    def go_back(self, head: int, *, others: int) -> None:
        """Its log of reports ends with `head` again, and has so many others after it; for a dead process."""
        self.times_gone_back += 1
        self._is_quiet = True
        exchange = self.exchange
        exchange.on_report = None
        exchange.change_epoch(EpochChange(head=head))
        for about in exchange.executions_log.views(max(0, head - others), others):
            exchange.report_noise(Noise.UNKNOWN_TYPE, about)

    @property
    def context(self) -> contextvars.Context:
        return self.process.context

    def kill(self) -> None:
        """What was under way, also what was to be accepted late, is gone with it."""
        self._loop.kill(self.process)
        for socket in self._sockets:
            socket.cut()
        self._sockets.clear()

    def opened(self, socket: SimulatedSocket, *, after: int) -> SimulatedSocket:
        """A connection over which execution reports go."""
        if after <= self.exchange.executions_log.head:
            self._is_quiet = False
        self._sockets = [each for each in self._sockets if each.is_open]
        self._sockets.append(socket)
        return socket

    def start(self) -> None:
        """Harmless if it runs."""
        if not self.process.is_alive:
            self.process = Process("exchange")
            self.venue = self._venue()

    def lines(self) -> list[Line]:
        """Its log, with times as the database's clock would have told them."""
        lines: list[Line] = []
        for line in self.log.lines:
            if isinstance(line, AcceptedLine | RejectedLine):
                reported = time_text(text_us(line.transact_time) - self._skew_us)
                lines.append(msgspec.structs.replace(line, transact_time=reported))
            else:
                lines.append(line)
        return lines

    def _venue(self) -> SimulatedVenue:
        service = ExchangeService(self.exchange, self.log)
        venue = SimulatedVenue(_Opened(service), clock=self._clock)
        venue._service = service
        return venue


class _Opened:
    """An exchange that is open already."""

    is_in_memory = False

    def __init__(self, service: ExchangeService) -> None:
        self._service = service

    def open(self) -> ExchangeService:
        return self._service
