"""The reverse sweep: what the exchange has and we do not know, or know as not placed.

It reads the exchange first and our rows after, so that an order which is being placed meanwhile is not mistaken.
That the exchange has shown an order is kept, and the reconciler asks for it and writes down what is true; an order
that nobody recorded here is kept as an orphan, counted and logged. What cannot be understood is parked and passed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ordertrail.domain.trail import OrderStatus
from ordertrail.domain.venue_answer import NoAnswer, VenueOrder
from ordertrail.reconciliation.fed_reports import FedReports
from ordertrail.reconciliation.parking import Parking, ParkingPass
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.doubt_rows import ShownOrder, SweepRows
from ordertrail.storage.parked_rows import ParkedRows
from ordertrail.venues.gateway import Gateway

_log = get_logger()

ORDERS_PER_PAGE = 1000
# As many as are decoded in a few milliseconds: resends wait for no more.
OPEN_ORDERS_PER_PAGE = 200
PAGES_MAX = 50
LEASE_SECONDS = 60


@dataclass(slots=True)
class Swept:
    """What a sweep saw: orders at the exchange, those handed to the reconciler, those that nobody recorded.

    `parked`: things that nobody can understand, not kept before; `not_kept`: more of them, too many to keep.
    `gap_reports`: reports that the feed was to bring, and that have been missing for long.
    """

    shown_orders: int = 0
    observed: int = 0
    late: int = 0
    orphans: int = 0
    parked: int = 0
    not_kept: int = 0
    gap_reports: int = 0
    has_more: bool = False


class Sweep:
    """One replica's sweep; they take turns, and one that dies in its turn leaves it to the next."""

    def __init__(
        self,
        rows: SweepRows,
        parked: ParkedRows,
        gateway: Gateway,
        *,
        venue: str,
        rest_seconds: float,
        fed: FedReports | None = None,
    ) -> None:
        self._rows = rows
        self._fed = fed
        self._parking = Parking(parked, venue=venue)
        self._gateway = gateway
        self._venue = venue
        self._rest_seconds = rest_seconds

    async def run_once(self) -> Swept:
        """Read what is new in the exchange's executions, where no feed does, then all its open orders, in our turn."""
        swept = Swept()
        position = await self._rows.lease_sweep(self._venue, lease_seconds=LEASE_SECONDS)
        if position is None:
            return swept
        parking = self._parking.begin_pass()
        try:
            epoch = await self._review_fed(swept)
            if epoch is None:
                epoch = await self._sweep_executions(*position, swept, parking)
            if epoch is not None:
                await self._sweep_open_orders(epoch, swept, parking)
        finally:
            swept.parked, swept.not_kept = parking.new, parking.dropped
            parking.end()
        metrics.PARKED_OPEN.set(await self._parking.count_open())
        await self._rows.end_sweep(self._venue, rest_seconds=0 if swept.has_more else self._rest_seconds)
        return swept

    async def _review_fed(self, swept: Swept) -> str | None:
        """The epoch whose reports a feed brings; where it ends one day, the sweep goes on from what is applied."""
        fed = None if self._fed is None else await self._fed.review()
        if fed is None:
            return None
        swept.gap_reports = fed.gap_reports
        if fed.applied_up_to:
            await self._rows.move_sweep(self._venue, fed.epoch, fed.applied_up_to)
        return fed.epoch

    async def _sweep_executions(self, epoch: str, after: int, swept: Swept, parking: ParkingPass) -> str | None:
        """Page by page, each compared before the position moves past it; None: the exchange did not answer."""
        swept.has_more = True
        for _ in range(PAGES_MAX):
            page = await self._gateway.executions(after=after, limit=ORDERS_PER_PAGE)
            if isinstance(page, NoAnswer):
                swept.has_more = False
                return None
            if page.epoch != epoch:
                # The exchange has begun anew: its numbers too.
                epoch, after = page.epoch, 0
                continue
            # What was refused is not there, and may have no id.
            shown = {
                e.client_order_id: e.exchange_order_id
                for e in page.executions
                if e.exec_type != "rejected" and e.exchange_order_id is not None
            }
            await self._compare(epoch, shown, swept)
            await parking.park(page.unreadable, epoch=epoch)
            before, after = after, page.position_after(after)
            await self._rows.move_sweep(self._venue, epoch, after)
            if after >= page.head or after == before:
                swept.has_more = False
                break
        return epoch

    async def _sweep_open_orders(self, epoch: str, swept: Swept, parking: ParkingPass) -> None:
        answer = await self._gateway.open_orders()
        if isinstance(answer, NoAnswer):
            return
        await parking.park(answer.unreadable, epoch=epoch, dropped=answer.dropped)
        for start in range(0, len(answer.orders), OPEN_ORDERS_PER_PAGE):
            page = answer.orders[start : start + OPEN_ORDERS_PER_PAGE]
            terms = {order.client_order_id: order for order in page if order.ord_status != "rejected"}
            ids = {id_: order.exchange_order_id for id_, order in terms.items() if order.exchange_order_id is not None}
            await self._compare(epoch, ids, swept, terms)

    async def _compare(
        self, epoch: str, shown: Mapping[str, str], swept: Swept, terms: Mapping[str, VenueOrder] | None = None
    ) -> None:
        """`terms`: what the orders are, where the exchange has shown that."""
        if not shown:
            return
        swept.shown_orders += len(shown)
        statuses = await self._rows.statuses_of(list(shown))
        # One that is placed although it was settled as not placed is as late as one that is not placed yet.
        doubtful = {
            order_id: shown[order_id]
            for order_id, found in statuses.items()
            if OrderStatus.NOT_PLACED in found or OrderStatus.COMPLETED not in found
        }
        observed = await self._rows.keep_observations(doubtful) if doubtful else []
        swept.observed += len(observed)
        for order_id in observed:
            if OrderStatus.NOT_PLACED in statuses[order_id]:
                swept.late += 1
                metrics.LATE_ARRIVALS.inc()
                _log.critical("an order arrived at the exchange after it was settled as not placed", order_id=order_id)
        orphans = {id_: _shown(shown[id_], (terms or {}).get(id_)) for id_ in shown.keys() - statuses.keys()}
        await self._keep_orphans(epoch, orphans, swept)

    async def _keep_orphans(self, epoch: str, orphans: Mapping[str, ShownOrder], swept: Swept) -> None:
        fresh = await self._rows.keep_orphans(self._venue, epoch, orphans) if orphans else []
        swept.orphans += len(fresh)
        for order_id in fresh:
            metrics.ORPHANS.inc()
            _log.critical(
                "the exchange has an order that was never recorded here",
                order_id=order_id,
                exchange_order_id=orphans[order_id].exchange_order_id,
                instrument=orphans[order_id].instrument,
                venue=self._venue,
            )


def _shown(exchange_order_id: str, order: VenueOrder | None) -> ShownOrder:
    if order is None:
        return ShownOrder(exchange_order_id)
    return ShownOrder(exchange_order_id, order.instrument, order.side.value, order.quantity)
