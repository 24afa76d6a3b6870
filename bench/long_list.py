"""What orders see that are placed while a list of open orders of 62 MB is read: `python -m bench.long_list`.

An exchange in a process of its own accepts every order at once and shows the list; orders are placed over HTTP, at a
steady rate and without a database, first by themselves and then while the list is read again and again.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from multiprocessing.connection import Connection

from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.venue_answer import Accepted
from ordertrail.reconciliation.sweep import OPEN_ORDERS_PER_PAGE
from ordertrail.runtime.clock import SystemClock
from ordertrail.venues.http.client import HttpVenue
from ordertrail.venues.venue import OpenOrders

LIST_BYTES = 62_000_000
ORDERS_PER_SECOND = 200
SECONDS = 8.0
WAIT_SECONDS = 60.0
QUERY_SECONDS = 0.001
PIECE_BYTES = 64 * 1024
ORDER = Order("order-1", OrderType.LIMIT, Side.BUY, "US0378331005", Decimal("10.50"), 10)
SHOWN = {
    "exchange_order_id": "X-{n}", "client_order_id": "order-{n}", "type": "limit", "side": "buy",
    "instrument": "US0378331005", "limit_price": "10.50", "quantity": 10, "ord_status": "new", "cum_qty": 0,
    "leaves_qty": 10, "avg_px": None, "reject_reason": None,
}  # fmt: skip


def listing(size: int) -> bytes:
    """A list of open orders of about so many bytes."""
    template = json.dumps(SHOWN)
    orders = [template.replace("{n}", str(number)) for number in range(size // (len(template) + 8))]
    return b'{"orders": [' + ", ".join(orders).encode() + b'], "as_of": "2026-01-01T12:00:00Z"}'


def serve(ready: Connection) -> None:
    """The exchange."""
    shown = listing(LIST_BYTES)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
                body = await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b""
                if head.startswith(b"POST"):
                    id_ = json.loads(body)["client_order_id"]
                    reply = {"exchange_order_id": "X-1", "client_order_id": id_, "ord_status": "new"}
                    status, text = b"201 Created", json.dumps(reply).encode()
                else:
                    status, text = b"200 OK", shown
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(text)))
                # By the piece, so that the exchange itself does not hold up the orders beside it.
                for begin in range(0, len(text), PIECE_BYTES):
                    writer.write(text[begin : begin + PIECE_BYTES])
                    await writer.drain()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def place_steadily(venue: HttpVenue, seconds: float) -> list[float]:
    """How long each order took, from the moment at which it was due."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []

    async def place(number: int, due: float) -> None:
        order = replace(ORDER, id=f"order-{number}")
        answer = await venue.place(
            order, send_by=time.monotonic() + WAIT_SECONDS, timeout_seconds=WAIT_SECONDS, accept_by=None
        )
        assert isinstance(answer, Accepted), answer
        latencies.append(loop.time() - due)

    begin, tasks = loop.time(), []
    for number in range(int(seconds * ORDERS_PER_SECOND)):
        due = begin + number / ORDERS_PER_SECOND
        await asyncio.sleep(max(due - loop.time(), 0))
        tasks.append(asyncio.create_task(place(number, due)))
    await asyncio.gather(*tasks)
    return sorted(latencies)


async def read_again_and_again(venue: HttpVenue, took: list[float], is_read: asyncio.Event) -> None:
    """Until cancelled; `took` gets how long each reading took."""
    while True:
        start = time.monotonic()
        answer = await venue.open_orders(timeout_seconds=WAIT_SECONDS)
        assert isinstance(answer, OpenOrders), answer
        # As a sweep takes them, which queries the database after each page.
        for first in range(0, len(answer.orders), OPEN_ORDERS_PER_PAGE):
            page = {order.client_order_id: order for order in answer.orders[first : first + OPEN_ORDERS_PER_PAGE]}
            assert page
            await asyncio.sleep(QUERY_SECONDS)
        took.append(time.monotonic() - start)
        is_read.set()


def report(name: str, latencies: list[float]) -> None:
    """One line of percentiles."""
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    print(f"{name:<22} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   worst {latencies[-1] * 1000:7.1f} ms")


async def compare(port: int, seconds: float) -> None:
    """Both, and how long a reading took."""
    venue = HttpVenue(f"http://127.0.0.1:{port}", clock=SystemClock(), connections_max=64)
    await venue.open()
    try:
        await place_steadily(venue, 1.0)
        report("by themselves", await place_steadily(venue, seconds))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took: list[float] = []
        is_read = asyncio.Event()
        reading = asyncio.create_task(read_again_and_again(venue, took, is_read))
        report("while a list is read", await place_steadily(venue, seconds))
        async with asyncio.timeout(5 * WAIT_SECONDS):
            await is_read.wait()
        reading.cancel()
        await asyncio.wait({reading})
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grown = (after - before) / 1024
        print(f"a list of {LIST_BYTES / 1e6:.0f} MB took {min(took):.1f} s; memory grew by {grown:.0f} MB")
    finally:
        await venue.close()


def main() -> None:
    """Start the exchange, and compare."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=SECONDS)
    seconds = arguments.parse_args().seconds
    ours, theirs = multiprocessing.Pipe()
    exchange = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    exchange.start()
    try:
        asyncio.run(compare(ours.recv(), seconds))
    finally:
        exchange.terminate()
        exchange.join()


if __name__ == "__main__":
    main()
