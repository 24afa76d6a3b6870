"""Places queued orders: waits at the gate, claims what may be sent at once, sends it, and records what came of it.

Any number of workers work beside each other, in any number of processes. What if we die here: before a claim is
committed the order waits in the queue; after it the order is in doubt by that very claim, and the reconciler queries
and waits, as it does for one whose request has died.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from ordertrail.domain.order_in_doubt import send_answer_of
from ordertrail.domain.venue_answer import Accepted, reason_of
from ordertrail.placement.place_order import Placed, Placing
from ordertrail.placement.send_window import SendWindow
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.doubt_rows import AnsweredSend, DoubtRows
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Batcher, Limits
from ordertrail.storage.order_queue_rows import FIRST_SEND, ClaimedOrder, OrderQueueRows
from ordertrail.storage.queue_expiry import expire_queued
from ordertrail.venues.gate.call_budget import Permit
from ordertrail.venues.gateway import Gateway

_log = get_logger()

BACK_OFF_SECONDS_MIN = 0.1
BACK_OFF_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """`claim_max`: orders in one claim. `in_flight_max`: that are being sent at once.

    `gather_seconds`: after a claim that did not fill, so that the next is worth its statement. `idle_seconds_max`: how
    long an empty queue is left alone where nobody says that something came, and the gate when it lets nothing through.
    `expire_seconds`: how often orders are looked for whose time is up. `answer_seconds`: how long one statement may
    take. `stop_seconds`: how long what is in flight may take at the end.
    """

    claim_max: int = 256
    in_flight_max: int = 4096
    gather_seconds: float = 0.002
    idle_seconds_min: float = 0.01
    idle_seconds_max: float = 1.0
    expire_seconds: float = 1.0
    answer_seconds: float = 10.0
    stop_seconds: float = 15.0


class PlaceWorker:
    """One process's."""

    def __init__(
        self,
        queue: OrderQueueRows,
        placing: Placing,
        gateway: Gateway,
        doubts: DoubtRows,
        *,
        clock: Clock,
        limits: WorkerLimits,
        name: str,
    ) -> None:
        self._queue = queue
        self._placing = placing
        self._gateway = gateway
        self._clock = clock
        self._limits = limits
        self._name = name
        self._window = SendWindow(sends_max=limits.in_flight_max)
        self._answers = Batcher(
            "first_answers",
            doubts.record_answers,
            clock,
            Limits(rows_max=512, queue_max=10_000, timeout_seconds=limits.answer_seconds),
        )
        self._in_flight: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stop = False
        self._expired_at = float("-inf")
        self._failure: str | None = None

    def wake_up(self) -> None:
        """Orders may have been queued, or the gate may have opened."""
        self._changed.set()

    @property
    def in_flight(self) -> int:
        """How many orders are being sent or recorded now."""
        return len(self._in_flight)

    async def run(self) -> None:
        """Work until cancelled; then what is in flight is finished first, and nothing else is claimed."""
        work = asyncio.gather(self._work())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stop = True
            self._changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.stop_seconds):
                    await work
                    await self.drain()
            work.cancel()
            raise

    async def drain(self) -> None:
        """Wait until every order that was claimed has its rows."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        await self._answers.close()

    async def run_once(self) -> int:
        """Claim what the gate lets through, if there is anything, and begin to send it; returns how many orders.

        Raises StatementFailed and StatementOutcomeUnknown.
        """
        room = min(self._limits.claim_max, self._window.room(in_flight=len(self._in_flight)))
        permits = self._gateway.reserve(sends_max=room) if room > 0 else []
        if not permits:
            return 0
        claimed: Sequence[ClaimedOrder] = ()
        # Earlier than the moment from which the claim's deadlines are reckoned.
        start = self._clock.monotonic()
        try:
            excluded, probing = self._gateway.stopped_instruments()
            failpoints.reach("before_first_claim")
            claimed = await self._queue.claim(
                orders_max=len(permits), claimed_by=self._name, excluded=excluded, probing=probing
            )
            failpoints.reach("after_first_claim")
        finally:
            # A claim whose answer was lost is sent by nobody before the reconciler has looked for it.
            self._gateway.give_back(permits[len(claimed) :])
        for each, permit in zip(claimed, permits, strict=False):
            task = asyncio.create_task(self._send(each, permit, start))
            self._in_flight.add(task)
            task.add_done_callback(self._sent)
            metrics.QUEUE_WAIT_SECONDS.observe(each.waited_seconds)
        metrics.QUEUE_CLAIMED.inc(len(claimed))
        metrics.QUEUE_IN_FLIGHT.set(len(self._in_flight))
        return len(claimed)

    async def expire(self) -> int:
        """End the orders whose time is up; returns how many. Raises as `run_once` does."""
        return await expire_queued(self._queue)

    async def _work(self) -> None:
        idle_seconds, back_off_seconds = self._limits.idle_seconds_min, BACK_OFF_SECONDS_MIN
        while not self._stop:
            self._changed.clear()
            try:
                if self._clock.monotonic() - self._expired_at >= self._limits.expire_seconds:
                    await self.expire()
                    self._expired_at = self._clock.monotonic()
                count = await self.run_once()
            except Exception as error:  # noqa: BLE001 - said and counted, and tried again
                self._report(error)
                await self._rest(back_off_seconds)
                back_off_seconds = min(2 * back_off_seconds, BACK_OFF_SECONDS_MAX)
                continue
            self._is_well()
            back_off_seconds = BACK_OFF_SECONDS_MIN
            if count:
                idle_seconds = self._limits.idle_seconds_min
                await self._clock.sleep(self._limits.gather_seconds if count < self._limits.claim_max else 0)
                continue
            await self._rest(max(idle_seconds, min(self._gateway.room_in_seconds(), self._limits.idle_seconds_max)))
            idle_seconds = min(2 * idle_seconds, self._limits.idle_seconds_max)

    async def _rest(self, seconds: float) -> None:
        """Until it is worth trying again: orders came, one that was in flight is done, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _send(self, claimed: ClaimedOrder, permit: Permit, start: float) -> None:
        began_at = self._clock.monotonic()
        placement, answer = await self._placing.send_claimed(claimed, start=start, permit=permit)
        self._window.answered(answer, began_at=began_at, now=self._clock.monotonic())
        failpoints.reach("after_first_send")
        reason = reason_of(answer)
        exchange_order_id = answer.exchange_order_id if isinstance(answer, Accepted) else None
        answered = AnsweredSend(claimed.order.id, FIRST_SEND, send_answer_of(reason), reason.text, exchange_order_id)
        is_placed = isinstance(placement, Placed)
        log = _log.info if is_placed else _log.warning
        log(
            "queued order placed" if is_placed else "queued order failed", order_id=claimed.order.id, answer=reason.text
        )
        # Of a failed order that stands in doubt by its claim the reconciler finds out what this would say.
        with contextlib.suppress(StatementFailed, StatementOutcomeUnknown):
            await self._answers.submit(answered)

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        metrics.QUEUE_IN_FLIGHT.set(len(self._in_flight))
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            metrics.INVARIANTS_BROKEN.labels("placing_raised").inc()
            _log.error("placing a queued order raised", exc_info=error)

    def _report(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        is_away = isinstance(error, StatementOutcomeUnknown) and not error.may_have_happened
        if not isinstance(error, StatementFailed | StatementOutcomeUnknown):
            metrics.INVARIANTS_BROKEN.labels("worker_raised").inc()
            _log.error("queued orders could not be claimed", exc_info=error)
        elif not is_away and text != self._failure:
            # That the database cannot be reached at all the process's watch says already.
            _log.warning("queued orders could not be claimed", error=text)
        self._failure = text

    def _is_well(self) -> None:
        if self._failure is not None:
            self._failure = None
            _log.info("queued orders are claimed again")
