"""The quick way to read an order takes nothing that the thorough way refuses, and reads what it takes alike."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ordertrail.api.parse_order import _parse_plain, _parse_thoroughly
from ordertrail.runtime.clock import SystemClock

CLOCK = SystemClock()

numbers = st.one_of(
    st.integers(-2, 2**40).map(str),
    st.decimals(min_value=0, max_value=10**16, places=2).map(str),
    st.sampled_from(["150.00", "0", "0.00", "00.1", "1e2", "1.", ".5", "10.0", "-1", "true", "null", "NaN", '"150.5"']),
)
texts = st.sampled_from(["limit", "market", "buy", "sell", "AAPL12345678", "AAPL1234567", "aapl12345678", "type", ""])
members = st.one_of(
    st.tuples(
        st.sampled_from(["type", "side", "instrument", "client_order_id", "place_by", "other"]), texts.map(json.dumps)
    ),
    st.tuples(st.sampled_from(["limit_price", "quantity"]), numbers),
)
usual = st.tuples(
    st.sampled_from([("type", '"limit"'), ("type", '"market"')]),
    st.sampled_from([("side", '"buy"'), ("side", '"sell"')]),
    st.just(("instrument", '"AAPL12345678"')),
    st.tuples(st.just("limit_price"), numbers),
    st.tuples(st.just("quantity"), numbers),
).map(list)
documents = st.one_of(
    usual,
    st.lists(members, max_size=8),
    st.tuples(usual, st.lists(members, max_size=2)).map(lambda two: two[0] + two[1]),
).flatmap(st.permutations)
keys = st.one_of(st.none(), st.just("key-1"), st.text(max_size=3))


@settings(max_examples=1500, deadline=None)
@given(documents, keys)
def test_what_the_quick_way_takes_the_thorough_way_reads_alike(members: list[tuple[str, str]], key: str | None) -> None:
    body = ("{" + ",".join(f'"{name}": {value}' for name, value in members) + "}").encode()

    quick = _parse_plain(body, "id", key)

    if quick is not None:
        assert _parse_thoroughly(body, "id", key, CLOCK) == quick


def test_the_usual_order_goes_the_quick_way() -> None:
    body = b'{"type": "limit", "side": "buy", "instrument": "AAPL12345678", "limit_price": 150.00, "quantity": 10}'

    assert _parse_plain(body, "id", "key-1") == _parse_thoroughly(body, "id", "key-1", CLOCK)


def test_a_repeated_field_does_not_go_the_quick_way() -> None:
    body = b'{"type":"market","side":"buy","instrument":"AAPL12345678","quantity":10,"quantity":11}'

    assert _parse_plain(body, "id", None) is None
