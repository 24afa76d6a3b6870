"""One instrument's book: price first, then time; trades are at the resting order's price."""

from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar

import msgspec
from sortedcontainers import SortedDict

TICKS_PER_UNIT = 100  # prices have two decimals


class BookOrder(msgspec.Struct, eq=False, gc=False):
    """What matching needs to know of an order; `number` grows with arrival and is unique within the book.

    `price_ticks` is None for a market order. The book lowers `leaves_qty` as it trades.
    """

    number: int
    is_buy: bool
    price_ticks: int | None
    leaves_qty: int


AnyOrder = TypeVar("AnyOrder", bound=BookOrder)


class Fill(NamedTuple, Generic[AnyOrder]):
    """A trade between an arriving order and `resting`."""

    resting: AnyOrder
    quantity: int
    price_ticks: int


class OrderBook(Generic[AnyOrder]):
    """The resting orders of one instrument."""

    def __init__(self) -> None:
        # Levels are linked dictionaries, so that the first goes out and any one is canceled in constant time.
        self._bids: SortedDict[int, OrderedDict[int, AnyOrder]] = SortedDict()
        self._asks: SortedDict[int, OrderedDict[int, AnyOrder]] = SortedDict()

    @property
    def is_empty(self) -> bool:
        return not self._bids and not self._asks

    def place(self, order: AnyOrder) -> list[Fill[AnyOrder]]:
        """Trade what crosses, then rest what a limit order has left.

        What a market order has left does not rest: the caller sees it in `leaves_qty` and cancels it.
        """
        fills = self._match(order)
        if order.leaves_qty and order.price_ticks is not None:
            self._rest(order, order.price_ticks)
        return fills

    def rest(self, order: AnyOrder) -> None:
        """Let an order wait behind those of its price that are there, whatever it crosses."""
        assert order.price_ticks is not None, "a market order never rests"
        self._rest(order, order.price_ticks)

    def remove(self, order: AnyOrder) -> None:
        """Take a resting order out; KeyError if it does not rest here."""
        assert order.price_ticks is not None, "a market order never rests"
        side = self._bids if order.is_buy else self._asks
        level = side[order.price_ticks]
        del level[order.number]
        if not level:
            del side[order.price_ticks]

    def _match(self, order: AnyOrder) -> list[Fill[AnyOrder]]:
        opposite = self._asks if order.is_buy else self._bids
        best_index = 0 if order.is_buy else -1
        fills: list[Fill[AnyOrder]] = []
        while order.leaves_qty and opposite:
            price_ticks, level = opposite.peekitem(best_index)
            if not _crosses(order, price_ticks):
                break
            while order.leaves_qty and level:
                resting = next(iter(level.values()))
                quantity = min(order.leaves_qty, resting.leaves_qty)
                order.leaves_qty -= quantity
                resting.leaves_qty -= quantity
                if not resting.leaves_qty:
                    del level[resting.number]
                fills.append(Fill(resting, quantity, price_ticks))
            if not level:
                del opposite[price_ticks]
        return fills

    def _rest(self, order: AnyOrder, price_ticks: int) -> None:
        side = self._bids if order.is_buy else self._asks
        level = side.get(price_ticks)
        if level is None:
            level = side[price_ticks] = OrderedDict()
        level[order.number] = order


def _crosses(order: BookOrder, price_ticks: int) -> bool:
    if order.price_ticks is None:
        return True
    return order.price_ticks >= price_ticks if order.is_buy else order.price_ticks <= price_ticks
