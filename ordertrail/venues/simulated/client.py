"""A venue that calls the simulated exchange in this very process, with the answers HTTP would have given."""

import asyncio
from datetime import UTC, datetime

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.reason import Cause, http_cause
from ordertrail.domain.venue_answer import (
    Absent,
    CancelAccepted,
    CancelAnswer,
    CancelTooLate,
    Found,
    NoAnswer,
    NotSent,
    PlaceAnswer,
    Unknown,
    VenueOrder,
    Verification,
)
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.venues.adapter_error import adapter_raised
from ordertrail.venues.report_frames import read_frame
from ordertrail.venues.simulated import translation
from ordertrail.venues.simulated.following import SimulatedFollowing, open_following, refusal_of
from ordertrail.venues.simulated.opening import Opening
from ordertrail.venues.venue import (
    Compacted,
    Execution,
    ExecutionPage,
    OpenOrders,
    OtherEpoch,
    Reports,
    UnreadableElement,
)
from simulated_exchange import results
from simulated_exchange.log import LogError
from simulated_exchange.service import ExchangeService

_log = get_logger()


class SimulatedVenue:
    """The simulated exchange, opened with this process and closed with it."""

    name = "simulated"

    def __init__(self, opening: Opening, *, clock: Clock) -> None:
        self._opening = opening
        self._clock = clock
        self._service: ExchangeService | None = None

    @property
    def exchange(self) -> ExchangeService:
        """The other side, for tests, which set its faults."""
        assert self._service is not None, "open() comes first"
        return self._service

    async def open(self) -> None:
        """CannotStart where another process has the exchange's log."""
        self._service = self._opening.open()
        if self._opening.is_in_memory:
            _log.warning("this exchange keeps its orders in memory alone: for benchmarks only", venue=self.name)

    async def close(self) -> None:
        if self._service is not None:
            await self._service.close()

    async def capabilities(self, *, timeout_seconds: float) -> Capabilities | NoAnswer:  # noqa: ARG002 - known at once
        exchange = self.exchange.exchange
        return translation.capabilities_of(exchange.epoch, exchange.capabilities())

    async def place(
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> PlaceAnswer:
        try:
            service = self.exchange
            new = translation.new_order(order, accept_by)
        except Exception as error:  # noqa: BLE001 - nothing of the order has left
            adapter_raised(self.name, order.id, error)
            return NotSent(Cause.ADAPTER_RAISED)
        if self._clock.monotonic() >= send_by:
            return NotSent(Cause.WINDOW_PASSED)
        try:
            async with asyncio.timeout(timeout_seconds):
                result = await service.place(new)
                if type(result) is results.Silence:
                    await asyncio.get_running_loop().create_future()  # as on a connection on which nothing comes
        except TimeoutError:
            return Unknown(Cause.TIMEOUT)
        except LogError:
            return Unknown(Cause.EXCHANGE_BROKEN)
        return translation.answer_of(result, order)

    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:
        try:
            async with asyncio.timeout(timeout_seconds):
                result = await self.exchange.query(order_id)
        except (TimeoutError, LogError) as problem:
            return _no_answer(problem)
        match result:
            case results.UnknownOrder():
                return Absent()
            case results.ServerError():
                return NoAnswer(http_cause(503))
            case view:
                found = translation.venue_order(view)
                return NoAnswer(Cause.UNREADABLE) if found is None else Found(found)

    async def cancel(self, order_id: str, *, timeout_seconds: float) -> CancelAnswer:
        try:
            async with asyncio.timeout(timeout_seconds):
                result = await self.exchange.cancel(order_id)
                if type(result) is results.Silence:
                    await asyncio.get_running_loop().create_future()
        except (TimeoutError, LogError) as problem:
            return _no_answer(problem)
        match result:
            case results.Canceled() | results.CancelPending():
                return CancelAccepted()
            case results.ServerError():
                return NoAnswer(http_cause(500))
            case results.Silence():
                return NoAnswer(Cause.TIMEOUT)
            case results.TooLate():
                return CancelTooLate()
            case results.UnknownOrder():
                return Absent()

    async def open_orders(self, *, timeout_seconds: float) -> OpenOrders | NoAnswer:
        try:
            async with asyncio.timeout(timeout_seconds):
                result = await self.exchange.open_orders()
        except (TimeoutError, LogError) as problem:
            return _no_answer(problem)
        read = [translation.venue_order(view) or translation.unreadable(view) for view in result.orders]
        return OpenOrders(
            tuple(item for item in read if isinstance(item, VenueOrder)),
            datetime.fromisoformat(result.as_of).astimezone(UTC),
            tuple(item for item in read if isinstance(item, UnreadableElement)),
        )

    async def executions(self, *, after: int, limit: int, timeout_seconds: float) -> ExecutionPage | NoAnswer:
        try:
            async with asyncio.timeout(timeout_seconds):
                result = await self.exchange.executions(after, limit)
        except (TimeoutError, LogError) as problem:
            return _no_answer(problem)
        executions = tuple(
            Execution(e.seq, e.exec_id, e.exec_type, e.client_order_id, e.exchange_order_id) for e in result.executions
        )
        return ExecutionPage(result.epoch, executions, result.head)

    async def follow(
        self, *, after: int, epoch: str | None, timeout_seconds: float
    ) -> SimulatedFollowing | OtherEpoch | Compacted | NoAnswer:
        return await open_following(self.exchange, after=after, epoch=epoch, timeout_seconds=timeout_seconds)

    async def report_page(
        self, *, after: int, limit: int, epoch: str, timeout_seconds: float
    ) -> Reports | OtherEpoch | Compacted | NoAnswer:
        try:
            async with asyncio.timeout(timeout_seconds):
                result = await self.exchange.executions_raw(after, limit, epoch)
        except (TimeoutError, LogError) as problem:
            return _no_answer(problem)
        if isinstance(result, results.OtherEpoch | results.Compacted):
            return refusal_of(result)
        reports = read_frame(result.reports)
        assert isinstance(reports, Reports), "the exchange in this process writes arrays"
        return reports


def _no_answer(problem: TimeoutError | LogError) -> NoAnswer:
    return NoAnswer(Cause.TIMEOUT if isinstance(problem, TimeoutError) else Cause.EXCHANGE_BROKEN)
