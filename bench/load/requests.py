"""The requests: the seed's order; every second one carries a key of its own."""

import itertools
import secrets
from collections.abc import Callable

BODY = b'{"type": "limit", "side": "buy", "instrument": "AAPL12345678", "limit_price": 150.00, "quantity": 10}'


def make_requests(port: int, *, keys: bool, prefer: str = "") -> Callable[[], bytes]:
    """A function that gives the next request's bytes; keys never repeat, also not between runs."""
    head = b"POST /orders HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n" % port
    head += b"Prefer: %b\r\n" % prefer.encode() if prefer else b""
    tail = b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    plain = head + tail
    keyed = b"%bIdempotency-Key: %b-%%d\r\n%b" % (head, secrets.token_hex(6).encode(), tail)
    numbers = itertools.count()

    def next_request() -> bytes:
        number = next(numbers)
        return keyed % number if keys and number & 1 else plain

    return next_request
