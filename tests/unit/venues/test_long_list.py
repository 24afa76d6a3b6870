"""A list of open orders as long as any that is read: in slices, within a stated memory, and others have their turn."""

import json
import time
import tracemalloc

from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.venues.http import json_list, wire
from ordertrail.venues.http.wire import Reply
from ordertrail.venues.venue import OpenOrders
from tests.support.payloads import payload

ORDERS = 6_000
# Of a processor, and generous: read in one go it would be more than a hundred slices.
SLICE_SECONDS_MAX = 0.5


def a_list(orders: int, *, spoiled_every: int = 0) -> bytearray:
    [order] = payload("open_orders")["orders"]
    good = json.dumps(order).encode()
    bad = json.dumps(order | {"client_order_id": "a\x00b"}).encode()
    elements = [bad if spoiled_every and number % spoiled_every == 0 else good for number in range(orders)]
    return bytearray(b'{"orders": [' + b", ".join(elements) + b'], "as_of": "2026-01-01T12:00:00Z"}')


def read(body: bytearray) -> tuple[OpenOrders | NoAnswer, list[float]]:
    """What is read, and how long each slice took."""
    slices = wire.read_open_orders(Reply(200, body))
    times: list[float] = []
    while True:
        started_at = time.process_time()
        try:
            next(slices)
        except StopIteration as end:
            return end.value, times
        finally:
            times.append(time.process_time() - started_at)


def test_long_list_is_read_in_short_slices() -> None:
    answer, times = read(a_list(ORDERS))

    assert isinstance(answer, OpenOrders)
    assert len(answer.orders) == ORDERS and answer.is_complete
    assert len(times) >= ORDERS / json_list.SLICE_ELEMENTS
    assert max(times) < SLICE_SECONDS_MAX


def test_long_list_in_which_nothing_can_be_understood_is_read_in_slices_and_kept_in_part() -> None:
    answer, times = read(a_list(ORDERS // 4, spoiled_every=1))

    assert isinstance(answer, OpenOrders)
    assert len(answer.unreadable) == json_list.PARKED_KEPT_MAX
    assert len(answer.unreadable) + answer.dropped == ORDERS // 4
    assert max(times) < SLICE_SECONDS_MAX


def test_one_element_as_long_as_a_list_is_passed_in_slices() -> None:
    [order] = payload("open_orders")["orders"]
    deep = b"[" * 300_000 + b"]" * 300_000
    body = bytearray(b'{"orders": [' + deep + b", " + json.dumps(order).encode() + b"]}")

    answer, times = read(body)

    assert isinstance(answer, OpenOrders)
    assert (len(answer.orders), len(answer.unreadable)) == (1, 1)
    assert max(times) < SLICE_SECONDS_MAX


def test_open_orders_are_decoded_when_they_are_wanted() -> None:
    [order] = payload("open_orders")["orders"]
    elements = [json.dumps(order | {"client_order_id": f"order-{n}"}).encode() for n in range(5)]
    body = bytearray(b'{"orders": [' + b" ,\n".join([*elements[:3], b'{"side": "}"}', *elements[3:]]) + b"]}")

    answer, _ = read(body)

    assert isinstance(answer, OpenOrders)
    ids = [f"order-{n}" for n in range(5)]
    assert [order.client_order_id for order in answer.orders] == ids
    assert [order.client_order_id for order in answer.orders[1:4]] == ids[1:4]
    assert answer.orders[-1].client_order_id == ids[-1] and not answer.orders[5:]
    assert len(answer.orders) == 5 and len(answer.unreadable) == 1


def test_long_list_takes_a_small_part_of_its_length_beside_it() -> None:
    body = a_list(ORDERS)
    tracemalloc.start()
    try:
        answer, _ = read(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(answer, OpenOrders)
    assert peak < len(body) / 8
