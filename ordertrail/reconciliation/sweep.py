"""The reverse sweep: what the exchange has and we do not know, or know as not placed.

It reads the exchange first and our rows after, so that an order which is being placed meanwhile is not mistaken.
An order that has its trail is handed to the reconciler, which asks for it and writes down what is true; one without
is kept as an orphan, counted and logged.
"""

from dataclasses import dataclass

from ordertrail.domain.answer import NoAnswer
from ordertrail.domain.trail import PLACED_STATUSES, OrderStatus
from ordertrail.doubts import DoubtRows, SweepRows
from ordertrail.sending import Sender
from ordertrail.telemetry import metrics
from ordertrail.telemetry.logs import get_logger

_log = get_logger()

EXECUTIONS_PER_PAGE = 1000
PAGES_MAX = 50


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep saw: orders at the exchange, those handed to the reconciler, those that nobody recorded."""

    seen: int = 0
    reopened: int = 0
    orphans: int = 0


class Sweep:
    """One replica's sweep; several at once repeat each other's work and nothing else."""

    def __init__(self, rows: SweepRows, doubts: DoubtRows, sender: Sender, *, venue: str) -> None:
        self._rows = rows
        self._doubts = doubts
        self._sender = sender
        self._venue = venue

    async def run_once(self) -> Swept:
        """Read what is new in the exchange's executions, and all its open orders; then compare."""
        epoch, after = await self._rows.sweep_position(self._venue)
        at_exchange: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            page = await self._sender.executions(after=after, limit=EXECUTIONS_PER_PAGE)
            if isinstance(page, NoAnswer):
                return Swept()
            if page.epoch != epoch:
                # The exchange has begun anew: its numbers too.
                epoch, after = page.epoch, 0
                continue
            at_exchange |= {
                e.client_order_id: e.exchange_order_id for e in page.executions if e.exec_type != "rejected"
            }
            after = page.executions[-1].seq if page.executions else after
            if after >= page.head or not page.executions:
                break
        open_orders = await self._sender.open_orders()
        if not isinstance(open_orders, NoAnswer):
            at_exchange |= {o.client_order_id: o.exchange_order_id for o in open_orders.orders}
        swept = await self._compare(epoch, at_exchange)
        # Only now: what we have not compared must be read again by whoever comes after us.
        await self._rows.move_sweep_position(self._venue, epoch, after)
        return swept

    async def _compare(self, epoch: str, at_exchange: dict[str, str]) -> Swept:
        statuses = await self._rows.statuses_of(list(at_exchange))
        unknown = {order_id: at_exchange[order_id] for order_id in at_exchange.keys() - statuses.keys()}
        doubtful = sorted(order_id for order_id, found in statuses.items() if not found & PLACED_STATUSES)
        late = [order_id for order_id in doubtful if OrderStatus.NOT_PLACED in statuses[order_id]]
        for order_id in late:
            metrics.LATE_ARRIVALS.inc()
            _log.critical("an order arrived at the exchange after it was settled as not placed", order_id=order_id)
        if doubtful:
            await self._doubts.reopen(doubtful)
        fresh = await self._rows.keep_orphans(self._venue, epoch, unknown) if unknown else []
        for order_id in fresh:
            metrics.ORPHANS.inc()
            _log.critical(
                "the exchange has an order that was never recorded here",
                order_id=order_id,
                exchange_order_id=unknown[order_id],
                venue=self._venue,
            )
        return Swept(len(at_exchange), len(doubtful), len(fresh))
