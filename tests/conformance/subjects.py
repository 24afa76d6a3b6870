"""What the suite needs of an adapter: the venue itself, and a hand on the other side of its wire."""

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ordertrail.runtime.clock import SystemClock
from ordertrail.venues.http.client import HttpVenue
from ordertrail.venues.simulated.client import SimulatedVenue
from ordertrail.venues.simulated.opening import Durable
from ordertrail.venues.venue import Venue
from simulated_exchange.capabilities import Profile
from simulated_exchange.faults import Faults, PlaceWeights, QueryFaults
from simulated_exchange.occurrences import EpochChange
from simulated_exchange.server import ExchangeServer
from simulated_exchange.service import ExchangeService, open_exchange
from tests.simulation.network import ExchangeWire, Passage
from tests.simulation.sockets import SimulatedSocket, SocketFrame

# Both are more than the suite's own timeout for answers that do not come.
LATE_SECONDS = 0.6
SLOW_MS = 1500


class Way(StrEnum):
    """What may become of an order that is sent, other than an answer of yes."""

    REFUSE = "refuse"
    THROTTLE = "throttle"
    CLOSED = "closed"
    LOST = "lost"
    LATE = "late"
    ERROR_AFTER = "error_after"
    ERROR_BEFORE = "error_before"
    GARBAGE = "garbage"
    RESET = "reset"
    QUERY_UNANSWERED = "ask_unanswered"
    SLOW = "slow"


class OtherSide(Protocol):
    """The exchange behind an adapter, as a test can look at it and make it fail."""

    def fail(self, way: Way | None) -> None:
        """From now on everything ends this way; None: nothing fails."""
        ...

    def has_received(self, order_id: str) -> bool:
        """Whether an order under this id ever arrived."""
        ...

    def compact(self, *, oldest: int) -> None:
        """Forget the execution reports before this one."""
        ...

    def begin_epoch(self) -> None:
        """Number the reports anew, from now on."""
        ...

    def cut(self) -> None:
        """End every connection over which execution reports come."""
        ...


@dataclass(frozen=True)
class Subject:
    """An adapter under test. `cannot_show`: what cannot be brought about through it; its tests are skipped."""

    venue: Venue
    other_side: OtherSide
    cannot_show: frozenset[Way] = frozenset()


Open = Callable[[Path, Profile], AbstractAsyncContextManager[Subject]]


class Simulated:
    """The simulated exchange, reached past the adapter."""

    def __init__(self, service: ExchangeService) -> None:
        self._service = service
        self._exchange = service.exchange

    def fail(self, way: Way | None) -> None:
        self._exchange.set_faults(_faults(way))

    def has_received(self, order_id: str) -> bool:
        return self._exchange.query(order_id) is not None

    def compact(self, *, oldest: int) -> None:
        reports = self._exchange.executions_log
        del reports._kept[: oldest - 1 - reports.dropped]
        reports.dropped = oldest - 1

    def begin_epoch(self) -> None:
        self._exchange.change_epoch(EpochChange())

    def cut(self) -> None:
        self._service._publisher.stop()


def _faults(way: Way | None) -> Faults:
    match way:
        case None:
            return Faults()
        case Way.QUERY_UNANSWERED:
            return Faults(ask=QueryFaults(no_answer=1.0))
        case Way.SLOW:
            return Faults(latency_ms=SLOW_MS)
        case _:
            return Faults(place=PlaceWeights(**{way.value: 1.0}), late_seconds=LATE_SECONDS)


@contextlib.asynccontextmanager
async def in_process(folder: Path, profile: Profile) -> AsyncIterator[Subject]:
    """The adapter that needs no wire."""
    venue = SimulatedVenue(Durable(folder, profile=profile), clock=SystemClock())
    await venue.open()
    try:
        yield Subject(venue, Simulated(venue.exchange))
    finally:
        await venue.close()


class _Straight:
    """The other end of a simulation's wire that loses nothing, and who says so."""

    def __init__(self, venue: SimulatedVenue) -> None:
        self.venue = venue
        self.context = contextvars.copy_context()

    def database(self, operation: str) -> Passage:
        raise NotImplementedError

    def frame(self, frame: SocketFrame) -> float:
        return 0.0

    def broker(self, call: str) -> Passage:
        raise NotImplementedError

    def opened(self, socket: SimulatedSocket, *, after: int) -> SimulatedSocket:
        return socket

    def exchange(self, call: str) -> Passage:
        return Passage()


@contextlib.asynccontextmanager
async def over_simulated_wire(folder: Path, profile: Profile) -> AsyncIterator[Subject]:
    """The way to the exchange that the simulation takes."""
    async with in_process(folder, profile) as subject:
        assert isinstance(subject.venue, SimulatedVenue)
        straight = _Straight(subject.venue)
        yield Subject(ExchangeWire(straight, straight, SystemClock()), subject.other_side)


@contextlib.asynccontextmanager
async def over_http(folder: Path, profile: Profile) -> AsyncIterator[Subject]:
    """The HTTP adapter and a simulated exchange behind a socket."""
    async with _over_http(open_exchange(folder, profile=profile)) as subject:
        yield subject


@contextlib.asynccontextmanager
async def over_http_compacted(folder: Path, profile: Profile) -> AsyncIterator[Subject]:
    """The same, whose log is compacted as often as it doubles."""
    async with _over_http(open_exchange(folder, profile=profile, log_bytes_max=0)) as subject:
        yield subject


@contextlib.asynccontextmanager
async def _over_http(service: ExchangeService) -> AsyncIterator[Subject]:
    is_ready = asyncio.Event()
    server = ExchangeServer(service, on_ready=is_ready.set)
    with listening_socket() as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        venue = HttpVenue(f"http://127.0.0.1:{port_of(listener)}", clock=SystemClock(), connections_max=64)
        await venue.open()
        try:
            async with asyncio.timeout(20):
                await is_ready.wait()
            yield Subject(venue, Simulated(service))
        finally:
            await venue.close()
            server.should_exit = True
            await serving
            await service.close()


def listening_socket() -> socket.socket:
    """On any free port of this machine alone.

    asyncio turns Nagle's algorithm off only for sockets that say they are TCP; with it, each answer on a kept
    connection would take 40 ms more.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
