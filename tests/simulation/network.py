"""What lies between a process and the others: wires on which requests and answers are slow, late or lost.

Whatever a process asks for happens on the other side, whether or not it lives to hear of it.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import CancelAnswer, NoAnswer, NotSent, PlaceAnswer, Unknown, Verification
from ordertrail.runtime.clock import Clock
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.venues.venue import (
    Compacted,
    ExecutionPage,
    OpenOrders,
    OtherEpoch,
    Reports,
    UnreadableElement,
    Venue,
)
from tests.simulation.sockets import SimulatedSocket, SocketFrame

T = TypeVar("T")

# Named here: an annotation within a function is made anew whenever that runs.
Announce = Callable[[Any], None]


class Passage(NamedTuple):
    """One request's fate. Seconds: until the other side acts, and from then until its answer is here.

    `refused`: nobody takes it. `lost_request`, `lost_answer`: the connection is cut before, or after, the other side
    has acted; with `is_silent` nothing tells of that. `error`: a code with which a database answers instead.
    `starts_before`: how long before it takes effect a transaction read its clock.
    """

    out_seconds: float = 0.0
    back_seconds: float = 0.0
    refused: bool = False
    lost_request: bool = False
    lost_answer: bool = False
    is_silent: bool = False
    error: str | None = None
    starts_before: float = 0.0


# What a fault makes of a passage; the other kinds only take time, or befall a process.
FAULTS: Mapping[str, Mapping[str, Any]] = {
    "refused": {"refused": True},
    "lost_request": {"lost_request": True},
    "lost_answer": {"lost_answer": True},
    "silent_request": {"lost_request": True, "is_silent": True},
    "silent_answer": {"lost_answer": True, "is_silent": True},
    "error": {"error": "40P01"},
}


def with_fault(passage: Passage, fault: str, **changes: Any) -> Passage:
    """The passage as this fault leaves it; KeyError where there is no such fault."""
    return passage._replace(**{**FAULTS[fault], **changes})


class Fates(Protocol):
    """Who decides what becomes of a process's requests."""

    def database(self, operation: str) -> Passage:
        """The fate of a transaction."""
        ...

    def exchange(self, call: str) -> Passage:
        """The fate of a call of the exchange."""
        ...

    def frame(self, frame: SocketFrame) -> float | str:
        """The fate of a frame on the exchange's socket, as `SocketFates` has it."""
        ...

    def broker(self, call: str) -> Passage:
        """The fate of a call of the broker."""
        ...


class DatabaseWire:
    """A process's connections to the simulated database."""

    def __init__(
        self,
        fates: Fates,
        now: Callable[[float], datetime],
        world: contextvars.Context,
        *,
        timeout_seconds: float,
        note: Callable[[str, str], None],
    ) -> None:
        """`now(ago)`: the database's clock; `note(event, text)` writes the trace."""
        self._fates = fates
        self._now = now
        self._world = world
        self._timeout_seconds = timeout_seconds
        self._note = note

    async def transact(self, name: str, work: Callable[[datetime], T]) -> T:
        """Run a transaction at the other end."""
        loop = asyncio.get_running_loop()
        passage = self._fates.database(name)
        if passage.refused:
            await asyncio.sleep(passage.back_seconds)
            raise StatementOutcomeUnknown("cannot connect: ConnectionRefusedError", may_have_happened=False)
        answer: asyncio.Future[T] = loop.create_future()

        def act() -> None:
            self._note("database", name)
            if passage.error is not None:
                reply(answer.set_exception, StatementFailed(passage.error, "drawn"))
                return
            try:
                result = work(self._now(passage.starts_before))
            except StatementFailed as error:
                reply(answer.set_exception, error)
            else:
                reply(answer.set_result, result)

        def reply(announce: Announce, what: Any) -> None:
            if not passage.lost_answer:
                loop.call_later(passage.back_seconds, settle, announce, what, context=self._world)
            elif not passage.is_silent:
                loop.call_later(passage.back_seconds, settle, answer.set_exception, cut(), context=self._world)

        def settle(announce: Announce, what: Any) -> None:
            if not answer.done():
                announce(what)

        if not passage.lost_request:
            loop.call_later(passage.out_seconds, act, context=self._world)
        elif not passage.is_silent:
            loop.call_later(passage.out_seconds, settle, answer.set_exception, cut(), context=self._world)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await answer
        except TimeoutError:
            raise StatementOutcomeUnknown("TimeoutError: ", may_have_happened=True) from None


def cut() -> StatementOutcomeUnknown:
    return StatementOutcomeUnknown("ConnectionDoesNotExistError: connection was closed", may_have_happened=True)


class FarEnd(Protocol):
    """The exchange as it stands now: an adapter in its own process."""

    @property
    def venue(self) -> Venue: ...

    @property
    def context(self) -> contextvars.Context: ...

    def opened(self, socket: SimulatedSocket, *, after: int) -> SimulatedSocket:
        """A connection over which frames come; its end here must be known when this process dies."""
        ...


class ExchangeWire:
    """A process's way to the exchange, as a `Venue`."""

    name = "simulated"

    def __init__(
        self,
        far_end: "FarEnd",
        fates: Fates,
        clock: Clock,
        on_send: Callable[[str], None] = lambda _order_id: None,
        is_unreadable: Callable[[str], bool] = lambda _mark: False,
    ) -> None:
        """`on_send` is told of each order whose first byte leaves.

        `is_unreadable`: whether this element of the exchange's lists can be understood by nobody, now and ever.
        """
        self._is_unreadable = is_unreadable
        self._on_send = on_send
        self._far_end = far_end
        self._fates = fates
        self._clock = clock
        self._acting: set[asyncio.Task[None]] = set()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def capabilities(self, *, timeout_seconds: float) -> Capabilities | NoAnswer:
        answer = await self._call("capabilities", self._far_end.venue.capabilities, timeout_seconds)
        return NoAnswer(answer) if isinstance(answer, str) else answer

    async def place(
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> PlaceAnswer:
        if self._clock.monotonic() >= send_by:
            return NotSent("send_window_passed")

        def place(**_: float) -> Awaitable[PlaceAnswer]:
            # How long a caller waits is no business of the other side's.
            return self._far_end.venue.place(order, send_by=float("inf"), timeout_seconds=FOR_EVER, accept_by=accept_by)

        answer = await self._call("place", place, timeout_seconds, leaves=partial(self._on_send, order.id))
        if isinstance(answer, str):
            return NotSent(answer) if answer == REFUSED else Unknown(answer)
        return answer

    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:
        async def query(timeout_seconds: float) -> Verification:
            return await self._far_end.venue.query(order_id, timeout_seconds=timeout_seconds)

        answer = await self._call("query", query, timeout_seconds)
        return NoAnswer(answer) if isinstance(answer, str) else answer

    async def cancel(self, order_id: str, *, timeout_seconds: float) -> CancelAnswer:
        async def cancel(timeout_seconds: float) -> CancelAnswer:
            return await self._far_end.venue.cancel(order_id, timeout_seconds=timeout_seconds)

        answer = await self._call("cancel", cancel, timeout_seconds)
        return NoAnswer(answer) if isinstance(answer, str) else answer

    async def open_orders(self, *, timeout_seconds: float) -> OpenOrders | NoAnswer:
        answer = await self._call("open_orders", self._far_end.venue.open_orders, timeout_seconds)
        return NoAnswer(answer) if isinstance(answer, str) else self._spoiled_orders(answer)

    async def executions(self, *, after: int, limit: int, timeout_seconds: float) -> ExecutionPage | NoAnswer:
        async def executions(timeout_seconds: float) -> ExecutionPage | NoAnswer:
            return await self._far_end.venue.executions(after=after, limit=limit, timeout_seconds=timeout_seconds)

        answer = await self._call("executions", executions, timeout_seconds)
        return NoAnswer(answer) if isinstance(answer, str) else self._spoiled_page(answer)

    async def follow(
        self, *, after: int, epoch: str | None, timeout_seconds: float
    ) -> SimulatedSocket | OtherEpoch | Compacted | NoAnswer:
        async def follow(timeout_seconds: float) -> SimulatedSocket | OtherEpoch | Compacted | NoAnswer:
            venue = self._far_end.venue
            answer = await venue.follow(after=after, epoch=epoch, timeout_seconds=timeout_seconds)
            if isinstance(answer, OtherEpoch | Compacted | NoAnswer):
                return answer
            return self._far_end.opened(
                SimulatedSocket(answer, self._fates, far_context=self._far_end.context), after=after
            )

        answer = await self._call("follow", follow, timeout_seconds)
        return NoAnswer(answer) if isinstance(answer, str) else answer

    async def report_page(
        self, *, after: int, limit: int, epoch: str, timeout_seconds: float
    ) -> Reports | OtherEpoch | Compacted | NoAnswer:
        async def page(timeout_seconds: float) -> Reports | OtherEpoch | Compacted | NoAnswer:
            venue = self._far_end.venue
            return await venue.report_page(after=after, limit=limit, epoch=epoch, timeout_seconds=timeout_seconds)

        answer = await self._call("report_page", page, timeout_seconds)
        return NoAnswer(answer) if isinstance(answer, str) else answer

    def _spoiled_orders(self, answer: OpenOrders | NoAnswer) -> OpenOrders | NoAnswer:
        """Some orders of the list as an adapter has them that cannot read them."""
        if isinstance(answer, NoAnswer):
            return answer
        marks = {order: f"open {order.exchange_order_id}" for order in answer.orders}
        spoiled = [order for order in answer.orders if self._is_unreadable(marks[order])]
        if not spoiled:
            return answer
        return OpenOrders(
            tuple(order for order in answer.orders if order not in spoiled),
            answer.as_of,
            tuple(UnreadableElement("open_order", "leaves_qty", "drawn", marks[order].encode()) for order in spoiled),
        )

    def _spoiled_page(self, page: ExecutionPage | NoAnswer) -> ExecutionPage | NoAnswer:
        """Not the first report of an order: what only that one proves would be for a person."""
        if isinstance(page, NoAnswer):
            return page
        spoiled = [e for e in page.executions if e.exec_type != "new" and self._is_unreadable(f"execution {e.seq}")]
        if not spoiled:
            return page
        return ExecutionPage(
            page.epoch,
            tuple(execution for execution in page.executions if execution not in spoiled),
            page.head,
            tuple(
                UnreadableElement("execution_report", "exec_type", "drawn", b"%d" % e.seq, seq=e.seq) for e in spoiled
            ),
            page.executions[-1].seq,
        )

    async def _call(
        self,
        name: str,
        call: Callable[..., Awaitable[T]],
        timeout_seconds: float,
        *,
        leaves: Callable[[], None] = lambda: None,
    ) -> T | str:
        """The answer, or in a word why there is none."""
        loop = asyncio.get_running_loop()
        passage = self._fates.exchange(name)
        if passage.refused:
            await asyncio.sleep(passage.back_seconds)
            return REFUSED
        leaves()
        answer: asyncio.Future[T | str] = loop.create_future()

        async def act() -> None:
            result: T | str = await call(timeout_seconds=timeout_seconds)
            if passage.lost_answer:
                if passage.is_silent:
                    return
                result = "connection_lost"
            loop.call_later(passage.back_seconds, settle, result)

        def arrive() -> None:
            self._acting.add(task := loop.create_task(act(), context=self._far_end.context))
            task.add_done_callback(self._acting.discard)

        def settle(result: T | str) -> None:
            if not answer.done():
                answer.set_result(result)

        if not passage.lost_request:
            loop.call_later(passage.out_seconds, arrive, context=self._far_end.context)
        elif not passage.is_silent:
            loop.call_later(passage.out_seconds, settle, "connection_lost", context=self._far_end.context)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await answer
        except TimeoutError:
            return "timeout"


REFUSED = "connection_refused"
FOR_EVER = 1e6
