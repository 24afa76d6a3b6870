"""A flood of reports: whose turn it is, which depends on nothing but the turns before, and what a turn is told as."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from simulated_exchange.occurrences import Load
from simulated_exchange.orders import NewOrder, Order
from simulated_exchange.wire import average_text, price_text, time_text

LIMIT_PRICE = Decimal("10.00")
PRICES = 5


class FloodOrder(msgspec.Struct):
    """An order that takes turns, and what all reports of it have in common, as text."""

    order: Order
    text: str

    def trade(self, turn: int, seq: int, exec_id_suffix: str, now_us: int) -> bytes:
        """Trade 1 and stay open: the report, encoded here and now, for half of what it costs by way of a `Report`."""
        order = self.order
        ticks = price_of(order, turn)
        order.cum_qty += 1
        order.leaves_qty -= 1
        order.notional_ticks += ticks
        order.ord_status = "partially_filled"
        average = average_text(order.notional_ticks, order.cum_qty)
        return (
            f'{{"seq":{seq},"exec_id":"E{seq}{exec_id_suffix}{self.text}{price_text(ticks)}","cum_qty":{order.cum_qty},'
            f'"leaves_qty":{order.leaves_qty},"avg_px":"{average}","transact_time":"{time_text(now_us)}"}}'
        ).encode()


def flood_order(order: Order) -> FloodOrder:
    """For an order that is open."""
    names = msgspec.json.encode(
        {"client_order_id": order.client_order_id, "exchange_order_id": order.exchange_order_id}
    ).decode()
    head = '","exec_type":"trade","ord_status":"partially_filled",'
    return FloodOrder(order, f'{head}{names[1:-1]},"last_qty":1,"last_px":"')


def price_of(order: Order, turn: int) -> int:
    """Not all trades are at one price, so that averages have something to average; none is worse than the limit."""
    base, step = order.price_ticks or 0, turn % PRICES
    return max(base - step, 1) if order.is_buy else base + step


class KeptFlood(msgspec.Struct, frozen=True):
    """A flood and where it was; `orders` by their ids at the exchange, `waiting` by those of whoever placed them."""

    load: Load
    prefix: str
    made: int
    turn: int
    waiting: tuple[str, ...]
    orders: tuple[str, ...]


class Flood:
    """The orders of one `Load`. `made_before` sets its ids apart from those of other floods."""

    def __init__(self, load: Load, usable: dict[str, Order | None], made_before: int) -> None:
        """`usable`: of `load.client_order_ids`, without those that are over; None: there is none yet."""
        self.load = load
        self._prefix = load.prefix if load.prefix is not None else f"load-{made_before}-"
        self._made = 0
        self._waiting = [name for name, order in usable.items() if order is None]
        self._orders = [flood_order(order) for order in usable.values() if order is not None]
        self._turn = 0
        self._is_endless = not load.client_order_ids

    def kept(self) -> KeptFlood:
        """Where it is."""
        orders = tuple(entry.order.exchange_order_id for entry in self._orders)
        return KeptFlood(self.load, self._prefix, self._made, self._turn, tuple(self._waiting), orders)

    @classmethod
    def restored(cls, kept: KeptFlood, orders: Mapping[str, Order]) -> "Flood":
        """From there on; `orders` by their ids at the exchange."""
        flood = cls(kept.load, {}, 0)
        flood._prefix, flood._made, flood._turn = kept.prefix, kept.made, kept.turn
        flood._waiting = list(kept.waiting)
        flood._orders = [flood_order(orders[name]) for name in kept.orders]
        return flood

    @property
    def is_over(self) -> bool:
        """Whether there is no order left that could trade."""
        return not (self._is_endless or self._waiting or self._orders)

    def next(self) -> FloodOrder | None:
        """The open order whose turn it is; None where a new one is to be placed first."""
        orders = self._orders
        while not self._waiting and orders and not (self._is_endless and len(orders) < self.load.orders):
            if self._turn >= len(orders):
                self._turn = 0
            entry = orders[self._turn]
            if entry.order.leaves_qty:
                self._turn += 1
                return entry
            last = orders.pop()  # takes the place of the one that is over
            if last is not entry:
                orders[self._turn] = last
        return None

    def new_order(self) -> NewOrder:
        """The one that is to be placed now."""
        if self._waiting:
            name = self._waiting.pop()
        else:
            self._made += 1
            name = f"{self._prefix}{self._made}"
        return NewOrder(name, "limit", "buy", self.load.instrument, LIMIT_PRICE, self.load.quantity)

    def add(self, order: Order) -> None:
        """It was placed, and takes its turns."""
        self._orders.append(flood_order(order))
