"""What the exchange remembers of orders: by their ids, which of them are open, and in which books these rest."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from simulated_exchange.entries import KEPT_LINE_MAX, KeptOrdersLine
from simulated_exchange.order_book import OrderBook
from simulated_exchange.orders import KeptOrder, Order
from simulated_exchange.wire import ReportView


class OrderStore:
    """All orders; of those that share an id, the newest has it.

    `newest_by_id` is by the client's ids; `open` by the exchange's, in the order in which they wait in the books.
    `count` is how many there ever were. `keep_orders`: the oldest beyond so many are forgotten, open ones too.
    """

    def __init__(self, *, keep_orders: int | None = None) -> None:
        self.newest_by_id: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.books: dict[str, OrderBook[Order]] = {}
        self.count = 0
        self._superseded: dict[str, Order] = {}  # by the exchange's id: another order has the same client_order_id
        self._keep_orders = keep_orders
        self._kept: deque[Order] = deque()

    def of(self, report: ReportView) -> Order | None:
        """The order that it reports about, also where another one has its id since."""
        newest = self.newest_by_id.get(report.client_order_id)
        if newest is not None and newest.exchange_order_id == report.exchange_order_id:
            return newest
        return self._superseded.get(report.exchange_order_id or "")

    def add(self, order: Order) -> None:
        """From now on it has its id; it rests in no book yet."""
        self.count += 1
        superseded = self.newest_by_id.get(order.client_order_id)
        if superseded is not None:
            self._superseded[superseded.exchange_order_id] = superseded
        self.newest_by_id[order.client_order_id] = order
        if self._keep_orders is not None:
            self._kept.append(order)
            if len(self._kept) > self._keep_orders:
                self._forget(self._kept.popleft())

    def take_out(self, order: Order) -> None:
        """It is open no more, and leaves its book."""
        del self.open[order.exchange_order_id]
        instrument = order.instrument or ""
        book = self.books[instrument]
        book.remove(order)
        if book.is_empty:
            del self.books[instrument]

    def forget_all(self) -> None:
        """None of them was ever there, but for their numbers."""
        self.newest_by_id.clear()
        self._superseded.clear()
        self.open.clear()
        self.books.clear()
        self._kept.clear()

    def kept(self) -> Iterator[KeptOrdersLine]:
        """All of them, as a compacted log has them."""
        for orders in _batches(self.newest_by_id.values()):
            yield KeptOrdersLine(orders, ())
        for orders in _batches(self._superseded.values()):
            yield KeptOrdersLine((), orders)

    def restore(self, kept: Iterable[KeptOrdersLine], *, count: int, open_ids: Iterable[str]) -> Mapping[str, Order]:
        """Know them again; returns them by the exchange's ids. ValueError where an open one is not among them."""
        self.count = count
        by_id: dict[str, Order] = {}
        for line in kept:
            self.newest_by_id.update((order.client_order_id, order) for order in line.newest)
            self._superseded.update((order.exchange_order_id, order) for order in line.superseded)
            by_id.update((order.exchange_order_id, order) for order in (*line.newest, *line.superseded))
        for name in open_ids:
            if name not in by_id:
                raise ValueError(f"{name} is open and not kept")
            order = self.open[name] = by_id[name]
            self.books.setdefault(order.instrument or "", OrderBook()).rest(order)
        return by_id

    def _forget(self, oldest: Order) -> None:
        if oldest.is_open:
            self.take_out(oldest)
            oldest.leaves_qty = 0  # a flood passes it over
        if self.newest_by_id.get(oldest.client_order_id) is oldest:
            del self.newest_by_id[oldest.client_order_id]
        self._superseded.pop(oldest.exchange_order_id, None)


def _batches(orders: Iterable[Order]) -> Iterator[tuple[KeptOrder, ...]]:
    left = iter(orders)
    while batch := tuple(KeptOrder(*msgspec.structs.astuple(order)) for order in islice(left, KEPT_LINE_MAX)):
        yield batch
