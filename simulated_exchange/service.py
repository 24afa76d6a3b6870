"""The exchange with its time and its memory: what both doors use, HTTP and the same loop.

Every answer waits until the log holds all that it may show. A caller in this process maps what `place` gives:

- `Accepted`: accepted. `Duplicate`: the id is taken; compare `order`, it may be an earlier send.
- `Rejected`: refused, proof that this send did not place the order and never will.
- `Throttled`, `Closed`: not sent; proof that nothing was executed.
- `ServerError`, `Unreadable`, `ConnectionReset`: unknown, at once.
- `NoAnswer`: unknown, after the caller's own deadline; `place` returns at once and leaves the waiting to it.
- `LogError` raised: unknown; the exchange cannot write any more and takes nothing until it is opened anew.

Cancelling a call is a client that hangs up: what the exchange has begun, a late order too, goes on.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from typing import TypeVar, assert_never

from simulated_exchange.capabilities import Profile
from simulated_exchange.exchange import Exchange
from simulated_exchange.faults import INSTRUMENTS, CancelFault, Faults, PlaceFault
from simulated_exchange.following import Following, Publisher
from simulated_exchange.latency import Latency
from simulated_exchange.load_pump import LoadPump
from simulated_exchange.log import DurableLog, InMemoryLog, Log, LogError
from simulated_exchange.occurrences import Amendment, EpochChange, Expiry, Load, Occurrence, StrayTrade
from simulated_exchange.orders import NewOrder, Refusal
from simulated_exchange.results import (
    CancelPending,
    CancelResult,
    Closed,
    Compacted,
    ConnectionReset,
    Decision,
    Duplicate,
    Executions,
    ExecutionsRaw,
    Occurred,
    OccurrenceResult,
    OpenOrders,
    OtherEpoch,
    PlaceResult,
    QueryResult,
    ServerError,
    Silence,
    Throttled,
    TooLate,
    UnknownOrder,
    Unreadable,
)
from simulated_exchange.wire import order_view

LATE_ORDERS_MAX = 10_000
KEPT_ORDERS = 20_000
KEPT_REPORTS_PER_ORDER = 4
KEPT_REPORTS = 1_000_000
RETRY_AFTER_SECONDS = 1
ON_PURPOSE = Refusal("refused_on_purpose", "The exchange refuses this order on purpose.")
HELD_TOO_LONG = Refusal("held_too_long", "The order was held for longer than accepts_within_seconds.")

AnyResult = TypeVar("AnyResult")

_BEFORE: dict[PlaceFault, PlaceResult] = {
    PlaceFault.THROTTLE: Throttled(RETRY_AFTER_SECONDS),
    PlaceFault.CLOSED: Closed(),
    PlaceFault.ERROR_BEFORE: ServerError(),
}
# An instrument that fails on purpose speaks of itself; weights are the whole exchange's.
_BEFORE_IN_INSTRUMENT: dict[PlaceFault, PlaceResult] = {
    PlaceFault.THROTTLE: Throttled(RETRY_AFTER_SECONDS, "instrument"),
    PlaceFault.CLOSED: Closed("instrument"),
}
_AFTER: dict[PlaceFault, PlaceResult] = {
    PlaceFault.LOST: Silence(),
    PlaceFault.ERROR_AFTER: ServerError(),
    PlaceFault.GARBAGE: Unreadable(),
    PlaceFault.RESET: ConnectionReset(),
}


class ExchangeService:
    """An exchange that is open for calls; every method belongs to the event loop it is first called in."""

    def __init__(self, exchange: Exchange, log: Log) -> None:
        self.exchange = exchange
        self._log = log
        self._latency = Latency(0.0)
        self._late: set[asyncio.Task[Decision] | asyncio.Task[None]] = set()
        self._publisher = Publisher(exchange, log)
        self._load: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()

    async def place(self, order: NewOrder, refusal: Refusal | None = None) -> PlaceResult:
        """Place an order and answer as the faults have it; `refusal` is the door's, for what is unreadable."""
        exchange = self.exchange
        fault = exchange.dice.place(order.instrument)
        held = self._hold()
        result: PlaceResult
        if fault is PlaceFault.ACCEPT:
            result = exchange.place(order, refusal)
        else:
            result = await self._place_with(fault, order, refusal)
        if self._log.pending:
            await self._log.durable()
        if held is not None:
            await held
        return result

    async def query(self, client_order_id: str) -> QueryResult:
        """One order by its id; `ServerError` is an answer that says nothing."""
        held = self._hold()
        result: QueryResult
        if self.exchange.dice.query_has_no_answer():
            result = ServerError()
        else:
            result = self.exchange.query(client_order_id) or UnknownOrder()
        return await self._answer(result, held)

    async def cancel(self, client_order_id: str) -> CancelResult:
        """Cancel an order and answer as the faults have it; harmless if repeated."""
        held = self._hold()
        exchange = self.exchange
        result: CancelResult
        match exchange.dice.cancel():
            case CancelFault.ACCEPT:
                result = exchange.cancel(client_order_id)
            case CancelFault.LATE:
                result = self._cancel_late(client_order_id)
            case CancelFault.LOST:
                result = Silence()
            case CancelFault.ERROR_AFTER:
                exchange.cancel(client_order_id)
                result = ServerError()
            case CancelFault.REFUSE:
                result = exchange.refuse_cancel(client_order_id)
            case never:
                assert_never(never)
        return await self._answer(result, held)

    async def open_orders(self) -> OpenOrders:
        """Every open order, never a part of them."""
        return await self._answer(self.exchange.open_orders(), self._hold())

    async def executions(self, after: int, limit: int) -> Executions:
        """Execution reports with `seq` above `after` that are kept, in order, at most `limit`."""
        return await self._answer(self.exchange.executions(after, limit), None)

    async def executions_raw(
        self, after: int, limit: int, epoch: str | None = None
    ) -> ExecutionsRaw | OtherEpoch | Compacted:
        """The same as bytes and to the letter of the protocol: `epoch` is checked, and nothing is passed over."""
        return await self._answer(self.exchange.executions_raw(after, limit, epoch), None)

    async def occur(self, occurrence: Occurrence) -> OccurrenceResult:
        """Let something happen at the exchange, whatever its rules say."""
        result: OccurrenceResult
        match occurrence:
            case Amendment():
                result = self.exchange.amend(occurrence)
            case StrayTrade():
                result = self.exchange.trade(occurrence)
            case Expiry():
                result = self.exchange.expire(occurrence)
            case EpochChange():
                result = self.exchange.change_epoch(occurrence)
            case Load():
                result = await self._begin_load(occurrence)
            case never:
                assert_never(never)
        return await self._answer(result, None)

    async def follow(self, after: int, epoch: str | None = None) -> Following | OtherEpoch | Compacted:
        """What the WebSocket would send: `async for frame in following`, the JSON text of a frame each, in bytes.

        `following.epoch` and `following.head` are those of the first frame. Close it when done: `following.close()`.
        """
        return await self._publisher.follow(after, epoch)

    def stop(self) -> None:
        """Take nothing late any more and let go of callers who wait for an answer that will not come."""
        self.stopping.set()
        self._publisher.stop()
        for task in self._late:
            task.cancel()

    async def close(self) -> None:
        """Call once, after the last call has ended: the log is made durable and its lock let go."""
        self.stop()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._end_load()
        await self._publisher.close()
        await self._log.close()

    async def _place_with(self, fault: PlaceFault, order: NewOrder, refusal: Refusal | None) -> PlaceResult:
        if fault in _BEFORE:
            is_on_purpose = order.instrument in INSTRUMENTS
            return _BEFORE_IN_INSTRUMENT[fault] if is_on_purpose else _BEFORE[fault]
        if fault is PlaceFault.REFUSE:
            return self.exchange.place(order, refusal or ON_PURPOSE)
        if fault is PlaceFault.LATE:
            return await self._place_late(order, refusal)
        self.exchange.place(order, refusal)
        return _AFTER[fault]

    async def _place_late(self, order: NewOrder, refusal: Refusal | None) -> PlaceResult:
        taken_by = self.exchange.taken_by(order.client_order_id)
        if taken_by is not None:
            return Duplicate(order_view(taken_by))
        if len(self._late) >= LATE_ORDERS_MAX:
            return Throttled(RETRY_AFTER_SECONDS)
        task = asyncio.get_running_loop().create_task(
            self._accept_late(order, refusal, self.exchange.faults.late_seconds)
        )
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        await asyncio.wait((task,))  # does not cancel the task with the caller, who may have hung up
        return ConnectionReset() if task.cancelled() else task.result()

    async def _accept_late(self, order: NewOrder, refusal: Refusal | None, late_seconds: float) -> Decision:
        loop = asyncio.get_running_loop()
        arrived_at = loop.time()
        await asyncio.sleep(late_seconds)
        accepts_within = self.exchange.capabilities().accepts_within_seconds
        if accepts_within is not None and loop.time() - arrived_at > accepts_within:
            refusal = refusal or HELD_TOO_LONG
        decision = self.exchange.place(order, refusal)
        await self._log.durable()  # here too: the caller, who would wait for the log, may have gone
        return decision

    async def _begin_load(self, load: Load) -> OccurrenceResult:
        """In place of the flood that runs, if one does."""
        await self._end_load()
        result = self.exchange.begin_load(load)
        if isinstance(result, Occurred):
            pump = LoadPump(self.exchange, self._log, self._publisher)
            self._load = asyncio.get_running_loop().create_task(pump.run(load))
        return result

    async def _end_load(self) -> None:
        if self._load is not None:
            self._load.cancel()
            await asyncio.gather(self._load, return_exceptions=True)
            self._load = None

    def _cancel_late(self, client_order_id: str) -> CancelResult:
        found = self.exchange.refuse_cancel(client_order_id)
        if isinstance(found, UnknownOrder) or found.order.leaves_qty == 0:
            return found
        if len(self._late) >= LATE_ORDERS_MAX:
            return self.exchange.cancel(client_order_id)
        task = asyncio.get_running_loop().create_task(
            self._take_cancel(client_order_id, found.order.exchange_order_id, self.exchange.faults.late_seconds)
        )
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return CancelPending(found.order)

    async def _take_cancel(self, client_order_id: str, exchange_order_id: str | None, late_seconds: float) -> None:
        """Whatever came first, a fill or another cancel, has ended the order."""
        await asyncio.sleep(late_seconds)
        found = self.exchange.refuse_cancel(client_order_id)
        if isinstance(found, TooLate) and found.order.exchange_order_id == exchange_order_id:
            self.exchange.cancel(client_order_id)
            await self._log.durable()

    def _hold(self) -> asyncio.Future[None] | None:
        """The time an answer takes at least, from now on."""
        seconds = self.exchange.faults.latency_ms / 1000
        if not seconds:
            return None
        if seconds != self._latency.seconds:
            self._latency = Latency(seconds)  # those who wait in the one before are released by it
        return self._latency.begin()

    async def _answer(self, result: AnyResult, held: asyncio.Future[None] | None) -> AnyResult:
        if self._log.pending:
            await self._log.durable()
        if held is not None:
            await held
        return result


def wall_clock_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def open_exchange(
    folder: Path | None,
    *,
    profile: Profile | None = None,
    faults: Faults | None = None,
    now_us: Callable[[], int] = wall_clock_us,
    random: Random | None = None,
    reports_kept: int | None = None,
    log_bytes_max: int | None = None,
) -> ExchangeService:
    """An exchange on the log in `folder`, as it was left; None: one that forgets, with bounded memory.

    `reports_kept`: how many execution reports can be read again at most; None: a million, or 80,000 where it forgets.
    `log_bytes_max`: from which size on the log is compacted, whenever it has doubled; None: never.
    LogError where the log is in use or broken, ValueError where `faults` would break the `profile`.
    """
    random = random or SystemRandom()
    epoch = f"{random.getrandbits(48):012x}"
    if folder is None:
        log: Log = InMemoryLog()
        return ExchangeService(
            Exchange(
                epoch=epoch,
                log=log,
                now_us=now_us,
                random=random,
                profile=profile,
                faults=faults,
                keep_orders=KEPT_ORDERS,
                reports_kept=reports_kept or KEPT_ORDERS * KEPT_REPORTS_PER_ORDER,
            ),
            log,
        )
    durable = DurableLog(folder, epoch_if_new=epoch)
    try:
        exchange = Exchange(
            epoch=durable.epoch,
            log=durable,
            now_us=now_us,
            random=random,
            profile=profile,
            faults=faults,
            reports_kept=reports_kept or KEPT_REPORTS,
        )
        _replay(durable, exchange)
        if log_bytes_max is not None:
            durable.compact(log_bytes_max, exchange.compacted)
    except BaseException:
        durable.release()
        raise
    return ExchangeService(exchange, durable)


def _replay(log: DurableLog, exchange: Exchange) -> None:
    try:
        exchange.restore(log.kept())
    except (ValueError, KeyError) as problem:
        raise LogError(f"{log.path}, with what it was compacted to: {problem}.") from problem
    for number, command in log.commands():
        try:
            exchange.replay(command)
        except ValueError as problem:
            raise LogError(f"{log.path}, line {number}: {problem}.") from problem
