from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from simulated_exchange.order_book import BookOrder, OrderBook


@dataclass
class NaiveOrder:
    number: int
    is_buy: bool
    price: int | None
    leaves: int


class NaiveBook:
    """The same rules, written so that one sees them: look at everybody, take the best, again and again."""

    def __init__(self) -> None:
        self.resting: list[NaiveOrder] = []

    def place(self, order: NaiveOrder) -> list[tuple[int, int, int]]:
        fills = []
        while order.leaves:
            others = [other for other in self.resting if other.is_buy != order.is_buy and crosses(order, other)]
            if not others:
                break
            best = min(others, key=lambda other: (priority(other), other.number))
            quantity = min(order.leaves, best.leaves)
            order.leaves -= quantity
            best.leaves -= quantity
            assert best.price is not None
            fills.append((best.number, quantity, best.price))
            self.resting = [other for other in self.resting if other.leaves]
        if order.leaves and order.price is not None:
            self.resting.append(order)
        return fills


def crosses(order: NaiveOrder, other: NaiveOrder) -> bool:
    assert other.price is not None
    return order.price is None or (order.price >= other.price if order.is_buy else order.price <= other.price)


def priority(order: NaiveOrder) -> int:
    assert order.price is not None
    return -order.price if order.is_buy else order.price


placing = st.tuples(st.booleans(), st.none() | st.integers(1, 6), st.integers(1, 9))
commands = st.lists(placing | st.integers(0, 30), max_size=60)


@given(commands)
def test_book_trades_like_the_naive_one(steps: list[tuple[bool, int | None, int] | int]) -> None:
    book: OrderBook[BookOrder] = OrderBook()
    naive = NaiveBook()
    orders: list[BookOrder] = []

    for step in steps:
        if isinstance(step, int):
            open_numbers = {order.number for order in naive.resting}
            if step in open_numbers:
                book.remove(orders[step])
                naive.resting = [order for order in naive.resting if order.number != step]
            continue
        is_buy, price, quantity = step
        order = BookOrder(len(orders), is_buy, price, quantity)
        orders.append(order)
        expected = naive.place(NaiveOrder(order.number, is_buy, price, quantity))

        fills = book.place(order)

        assert [(fill.resting.number, fill.quantity, fill.price_ticks) for fill in fills] == expected
        assert book.is_empty == (not naive.resting)
        assert all(orders[left.number].leaves_qty == left.leaves for left in naive.resting)


def test_what_a_market_order_has_left_does_not_rest() -> None:
    book: OrderBook[BookOrder] = OrderBook()
    order = BookOrder(1, is_buy=True, price_ticks=None, leaves_qty=5)

    fills = book.place(order)

    assert fills == []
    assert order.leaves_qty == 5
    assert book.is_empty


def test_trade_is_at_the_price_of_the_order_that_was_there_first() -> None:
    book: OrderBook[BookOrder] = OrderBook()
    book.place(BookOrder(1, is_buy=False, price_ticks=1000, leaves_qty=5))

    [fill] = book.place(BookOrder(2, is_buy=True, price_ticks=1200, leaves_qty=5))

    assert fill.price_ticks == 1000
