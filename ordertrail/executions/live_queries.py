"""For venues whose socket sends nothing again: open orders are queried one by one, and what was missed is reported.

Such a report is made here, of what the query said: quantity and price of its trade are differences, and its id is `Q:`
with the order's filled quantity after it. It is made only if the difference is the same at a second look, so that a
report that is just on its way is not counted twice. One that comes later all the same makes the order `overfilled`, and
that is alerted. An order that has ended by its last word is queried no more; the daily comparison finds what it lacks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext

import msgspec

from ordertrail.domain.execution import AVG_PX_DECIMALS, TERMINAL_ORD_STATUSES, TRADE, Progress
from ordertrail.domain.venue_answer import Found, VenueOrder
from ordertrail.executions.feed_connection import FeedConnection
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.execution_reads import ExecutionReads
from ordertrail.storage.execution_rows import FeedRows
from ordertrail.venues.venue import Venue

_log = get_logger()

EVERY_SECONDS = 60.0
SETTLE_SECONDS = 5.0
ORDERS_PER_PAGE = 500
REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class _Missed:
    """What the venue says of an order, and what our rows come to."""

    found: VenueOrder
    cum_qty: int
    avg_px: Decimal | None
    is_live: bool | None


class LiveQueries:
    """For the time of one connection: once it is made, and every minute."""

    def __init__(
        self, venue: Venue, rows: FeedRows, reads: ExecutionReads, clock: Clock, *, timeout_seconds: float
    ) -> None:
        self._venue = venue
        self._rows = rows
        self._reads = reads
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    async def run(self, connection: FeedConnection) -> None:
        """For ever."""
        while True:
            try:
                await self.run_once(connection)
            except (StatementFailed, StatementOutcomeUnknown) as error:
                _log.warning("open orders could not be compared with the venue", error=str(error))
            await self._clock.sleep(EVERY_SECONDS)

    async def run_once(self, connection: FeedConnection) -> None:
        """Query every open order, and publish what was missed."""
        after: str | None = ""
        while after is not None:
            page = await self._rows.live_orders(after=after, limit=ORDERS_PER_PAGE)
            after = page.last
            missed = await self._missed_of(page.order_ids)
            if not missed:
                continue
            await self._clock.sleep(SETTLE_SECONDS)
            still = await self._missed_of(missed)
            for order_id, one in still.items():
                if one == missed[order_id]:
                    metrics.FEED_GAPS.labels("queried").inc()
                    _log.warning("the venue's socket left reports out", order_id=order_id, venue=self._venue.name)
                    await connection.put_unnumbered(_reports_of(one, self._clock))

    async def _missed_of(self, order_ids: Iterable[str]) -> dict[str, _Missed]:
        missed = {}
        for order_id in order_ids:
            verification = await self._venue.query(order_id, timeout_seconds=self._timeout_seconds)
            if not isinstance(verification, Found):
                continue
            executed = await self._reads.order(order_id)
            if executed is not None and _differs(verification.order, executed.progress):
                progress = executed.progress
                missed[order_id] = _Missed(verification.order, progress.cum_qty, progress.avg_px, progress.is_live)
        return missed


def _differs(found: VenueOrder, progress: Progress) -> bool:
    """More was filled than we know, or it is over and we do not know."""
    is_over = found.ord_status in TERMINAL_ORD_STATUSES and found.ord_status != REJECTED
    return found.cum_qty > progress.cum_qty or (is_over and progress.is_live is not False)


def _reports_of(missed: _Missed, clock: Clock) -> list[bytes]:
    found = missed.found
    is_filled = found.ord_status == "filled"
    reports: list[tuple[str, str, str, int, str | None]] = []
    if found.cum_qty > missed.cum_qty:
        ord_status = "filled" if is_filled else "partially_filled"
        reports.append((f"Q:{found.cum_qty}", TRADE, ord_status, found.cum_qty - missed.cum_qty, _price_of(missed)))
    if found.ord_status in TERMINAL_ORD_STATUSES and (not is_filled or not reports):
        exec_type = "new" if is_filled else found.ord_status
        reports.append((f"Q:{found.ord_status}:{found.cum_qty}", exec_type, found.ord_status, 0, None))
    return [
        msgspec.json.encode(
            {
                "exec_id": exec_id,
                "exec_type": exec_type,
                "ord_status": ord_status,
                "client_order_id": found.client_order_id,
                "exchange_order_id": found.exchange_order_id,
                "last_qty": last_qty,
                "last_px": last_px,
                "cum_qty": found.cum_qty,
                "leaves_qty": found.leaves_qty,
                "avg_px": None if found.avg_px is None else format(found.avg_px, "f"),
                "transact_time": clock.now().isoformat(),
            }
        )
        for exec_id, exec_type, ord_status, last_qty, last_px in reports
    ]


def _price_of(missed: _Missed) -> str:
    """What the missed quantity must have cost, for the averages before and after to be what they are."""
    found = missed.found
    with localcontext() as context:
        context.prec = 100
        after = found.cum_qty * (found.avg_px or Decimal(0))
        before = missed.cum_qty * (missed.avg_px or Decimal(0))
        price = (after - before) / (found.cum_qty - missed.cum_qty)
        return format(price.quantize(Decimal(1).scaleb(-AVG_PX_DECIMALS), rounding=ROUND_HALF_UP), "f")
