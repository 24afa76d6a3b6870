"""What the OpenAPI's schema says of an order is what the parser takes, except for what no schema can say."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from ordertrail.api.app import create_app
from ordertrail.api.openapi import PLACE_ORDER
from ordertrail.api.parse_order import _parse_plain, _parse_thoroughly, parse_order
from ordertrail.domain.errors import InvalidOrder
from tests.support.clocks import ManualClock

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)

SCHEMA = PLACE_ORDER["openapi_extra"]["requestBody"]["content"]["application/json"]["schema"]
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)

Fields = dict[str, Any]


def price_is_a_number(fields: Fields) -> bool:
    return isinstance(fields["limit_price"], Decimal | int)


def utc_may_be_in_the_year_0_or_10000(fields: Fields) -> bool:
    return str(fields["place_by"]).startswith(("0001-01-01", "9999-12-31"))


def always(fields: Fields) -> bool:
    return True


# What may be wrong with a body that fits the schema, and when. For numbers there is no pattern, and multipleOf fails
# in validators that divide in binary.
UNSAYABLE: dict[tuple[str, str], Callable[[Fields], bool]] = {
    ("/limit_price", "must have at most 2 decimals"): price_is_a_number,
    ("/limit_price", "must have at most 15 digits"): price_is_a_number,
    ("/place_by", "must be in the future"): always,
    ("/place_by", "must be a time as in RFC 3339, with an offset"): utc_may_be_in_the_year_0_or_10000,
}


def problems_of(body: bytes, key: str | None = None) -> set[tuple[str, str]]:
    try:
        parse_order(body, order_id="the-id", key=key, clock=ManualClock(wall=NOW))
    except InvalidOrder as error:
        return {(problem.pointer, problem.detail) for problem in error.problems}
    return set()


def read_both_ways(body: bytes, key: str | None) -> str:
    """Which way it is read, after having seen that the thorough one reads it alike."""
    quick = _parse_plain(body, "the-id", key)
    if quick is None:
        return "thorough"
    assert quick == _parse_thoroughly(body, "the-id", key, ManualClock(wall=NOW))
    return "quick"


def compare(body: bytes) -> str:
    """Whether the body is taken, after having seen that schema and parser agree; numbers as they are written."""
    read_both_ways(body, key=None)
    fields = json.loads(body, parse_float=Decimal)
    problems = problems_of(body)

    if not VALIDATOR.is_valid(fields):
        assert problems, "the schema refuses it and the parser takes it"
        return "refused"
    unsaid = {problem for problem in problems if not (problem in UNSAYABLE and UNSAYABLE[problem](fields))}
    assert not unsaid, "the schema takes it and the parser refuses it"
    return "unsayable" if problems else "taken"


def bodies_of_the_schema(mode: GenerationMode) -> st.SearchStrategy[bytes]:
    def never() -> Any:
        raise AssertionError("the documentation needs no service")

    operation = schemathesis.openapi.from_dict(create_app(never).openapi())["/orders"]["POST"]
    cases = operation.as_strategy(generation_mode=mode).map(lambda case: case.body)
    # Some of those that do not fit are bytes or nothing, where there is nothing for a schema to judge.
    return cases.filter(lambda body: isinstance(body, dict | list | str | int | float)).map(
        lambda body: json.dumps(body).encode()
    )


def quoted(*texts: str) -> list[str]:
    return [json.dumps(text) for text in texts]


NUMBERS = [
    *("150.00", "0", "0.00", "-0", "-0.0", "-1", "0.01", "0.010", "0.001", "1e2", "1E+2", "10.0", "1e400", "1e-400"),
    *("99999999999999", "999999999999999", "1000000000000000", "1e14", "1e15", "999999999999999.5"),
    *("9999999999999.99", "99999999999999.9", "99999999999999.99", "12345678901234.5", "0.99", "19.99", "1.999"),
    *("2147483647", "2147483648", "2147483647.000", "2147483647.5", "10.00000000000000000000000001", "true", '"10"'),
    *("1" * 40, "150." + "0" * 40, "null", "[]", "{}"),
]
# Literals to either side of each edge of what a field may be; all of them are tried.
EDGES = {
    "type": ["null", "1", *quoted("limit", "market", "Limit", "")],
    "side": ["null", "1", *quoted("buy", "sell", "BUY", "")],
    "instrument": [
        *("null", "123456789012"),
        *quoted("MSFT00000001", "AAPL1234567", "AAPL123456789", "aapl12345678", "AAPL1234567\n", "AAPL12345678\n", ""),
    ],
    "limit_price": [
        *NUMBERS,
        *quoted(*NUMBERS),
        *quoted("0" * 17 + "123456789012345", "0" * 31 + "1", "0" * 32 + "1", "1." + "0" * 32, "1." + "0" * 33),
        *quoted("00.10", "01234567890123.45", "12345678901234.50", "123456789012345.00", "123456789012345.10"),
        *quoted("", ".", "1.", ".5", " 1", "1 ", "+1", "1\n", "1_0", "1,5", "\u0663"),
    ],
    "quantity": NUMBERS,
    "client_order_id": ["null", "1", *quoted("k", "k" * 255, "k" * 256, "", "key\n", "a key", "!~", "\x7f", "\u00e9")],
    "place_by": [
        "null",
        "4070908800",
        *quoted("2026-11-22T09:30:00Z", "2026-11-22T09:30:00.000001Z", "2027-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
        *quoted(
            "9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01", "0000-01-01T00:00:00Z", "2030-01-01T24:00:00Z"
        ),
        *quoted(
            "2030-06-30T23:59:59Z", "2030-06-30T23:59:60Z", "2030-01-01T00:00:00+24:00", "2030-01-01T00:00:00-00:00"
        ),
        *quoted("2030-01-01T00:00:00.123456789Z", "2030-01-01T00:00:00.1234567890Z", "2030-01-01T00:00:00.Z"),
        *quoted(
            "2030-01-01T00:00:00+23:59", "2030-01-01T00:00:00+00:60", "2030-01-01T00:00:00+0100", "2030-01-01T00:60:00Z"
        ),
        *quoted(
            "2030-01-01t00:00:00z", "2030-01-01 00:00:00Z", "2030-01-01T00:00:00", "2030-01-01T00:00Z", "2030-01-01"
        ),
        *quoted(
            "2030-01-01T00:00:00Z\n", "2030-01-01T00:00:00,5Z", "2030-13-01T00:00:00Z", "\u0662030-01-01T00:00:00Z", ""
        ),
    ],
    "other": ["1", "null"],
}


def time_text(moment: datetime, digits: int, separator: str, zone: str) -> str:
    fraction = "." + f"{moment.microsecond:06}{0:06}"[:digits] if digits else ""
    offset = moment.isoformat()[-6:] if zone == "offset" else zone
    return moment.strftime("%Y-%m-%d").rjust(10, "0") + separator + moment.strftime("%H:%M:%S") + fraction + offset


zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.builds(
    time_text,
    st.datetimes(timezones=zones),
    st.sampled_from([0, 1, 3, 6, 9, 10]),
    st.sampled_from(["T", "T", "t", " "]),
    st.sampled_from(["offset", "Z", "z", ""]),
)
numbers = st.one_of(
    st.integers(1, 10**6).map(str),
    st.decimals(min_value=0, max_value=10**6, places=2).map(str),
    st.integers(-2, 10**16).map(str),
    st.decimals(min_value=0, max_value=10**16, places=2).map(str),
    st.tuples(st.integers(0, 10**17).map(str), st.integers(-20, 20).map(str)).map("e".join),
)
digits = st.text("0123456789", max_size=18)
prices = st.one_of(numbers, numbers.map(json.dumps), st.tuples(digits, digits).map(".".join).map(json.dumps))
keys = st.text(st.characters(min_codepoint=32, max_codepoint=128), max_size=4)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
literals = {name: st.sampled_from(edges) for name, edges in EDGES.items()} | {
    "limit_price": prices | st.sampled_from(EDGES["limit_price"]),
    "quantity": numbers | st.sampled_from(EDGES["quantity"]),
    "client_order_id": keys.map(json.dumps) | st.sampled_from(EDGES["client_order_id"]),
    "place_by": times.map(json.dumps) | st.sampled_from(EDGES["place_by"]),
}
VALID = [
    {"type": '"limit"', "side": '"buy"', "instrument": '"AAPL12345678"', "limit_price": "150.00", "quantity": "10"},
    {"type": '"market"', "side": '"sell"', "instrument": '"AAPL12345678"', "quantity": "10"},
]


@st.composite
def mutated_members(draw: st.DrawFn) -> dict[str, str]:
    """A valid order, some of whose members are changed, dropped or added; the values are JSON."""
    members = dict(draw(st.sampled_from(VALID)))
    for name in draw(st.lists(st.sampled_from(sorted(literals)), max_size=3)):
        change = draw(st.sampled_from(["fit", "fit", "fit", "anything", "drop"]))
        if change == "drop":
            members.pop(name, None)
        else:
            members[name] = draw(literals[name] if change == "fit" else anything.map(json.dumps))
    return members


def written(members: dict[str, str]) -> bytes:
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in members.items()) + "}").encode()


SOURCES = {
    "fits": (bodies_of_the_schema(GenerationMode.POSITIVE), {"taken": 50, "unsayable": 5}),
    "does not fit": (bodies_of_the_schema(GenerationMode.NEGATIVE), {"refused": 100}),
    "mutated": (mutated_members().map(written), {"taken": 100, "refused": 300, "unsayable": 5}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_parser_takes_what_the_schema_takes(source: str) -> None:
    bodies, at_least = SOURCES[source]
    met: Counter[str] = Counter()

    @settings(max_examples=1500 if source == "mutated" else 200, deadline=None, derandomize=True, database=None)
    @given(bodies)
    def agree(body: bytes) -> None:
        met[compare(body)] += 1

    agree()

    assert {kind: met[kind] for kind, count in at_least.items() if met[kind] < count} == {}
    assert source != "fits" or not met["refused"]


@pytest.mark.parametrize("field", EDGES)
def test_the_parser_takes_what_the_schema_takes_at_the_edges_of(field: str) -> None:
    for literal in EDGES[field]:
        for order in VALID:
            compare(written(order | {field: literal}))


@pytest.mark.parametrize("example", ["limit", "market"])
def test_the_documented_orders_are_taken(example: str) -> None:
    examples = PLACE_ORDER["openapi_extra"]["requestBody"]["content"]["application/json"]["examples"]

    assert compare(json.dumps(examples[example]["value"]).encode()) == "taken"


LIMIT = written(VALID[0])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(LIMIT.replace(b"}", b', "quantity": 10}'), id="a key that stands there twice"),
        pytest.param(LIMIT.replace(b"}", b', "quantit\\u0079": 11}'), id="a key twice, once spelled with an escape"),
        pytest.param(LIMIT.replace(b"150.00", b"NaN"), id="a number that is none"),
        pytest.param(LIMIT.replace(b"150.00", b"Infinity"), id="a number without an end"),
        pytest.param(LIMIT.replace(b"10}", b"010}"), id="a number with a leading zero"),
        pytest.param(LIMIT.replace(b"AAPL", b"AAP\xcc"), id="bytes that are not UTF-8"),
        pytest.param(LIMIT.decode().encode("utf-16"), id="another encoding"),
        pytest.param(b"\xef\xbb\xbf" + LIMIT, id="a byte order mark"),
        pytest.param(LIMIT + LIMIT, id="two documents"),
        pytest.param(LIMIT[:-1], id="half a document"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(LIMIT.replace(b"}", b', "\\ud800": 1}'), id="half a character"),
    ],
)
def test_what_is_no_json_document_for_a_schema_to_judge_is_refused(body: bytes) -> None:
    assert problems_of(body)


def test_two_spellings_of_one_key_must_agree_which_no_schema_can_say() -> None:
    body = written(VALID[0] | {"client_order_id": '"one"'})

    assert problems_of(body, key="one") == set()
    assert {pointer for pointer, _ in problems_of(body, key="two")} == {"/client_order_id"}


usual_members = st.builds(
    lambda price, quantity: VALID[0] | {"limit_price": price, "quantity": quantity}, numbers, numbers
)


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    """A body in which a member may stand twice, and some bytes are missing, doubled, or other signs of JSON."""
    members = draw(usual_members | mutated_members())
    body = written(members)
    if members and draw(st.integers(0, 2)) == 2:
        again = draw(st.sampled_from(sorted(members)))
        body = body[:-1] + f', "{again}": {members[again]}}}'.encode()
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 12)))
        put = draw(
            st.sampled_from([b"", b'"', b"\\", b",", b"{", b"}", b"null", b" ", b"\n", b"0", b".", b"e", b"-", b"\xff"])
            | st.just(body[start:end] * 2)
        )
        body = body[:start] + put + body[end:]
    return body


def test_a_body_is_read_alike_the_quick_and_the_thorough_way() -> None:
    ways: Counter[str] = Counter()

    @settings(max_examples=2000, deadline=None, derandomize=True, database=None)
    @given(damaged_bodies(), st.none() | st.just("key") | keys)
    def agree(body: bytes, key: str | None) -> None:
        ways[read_both_ways(body, key)] += 1

    agree()

    assert ways["quick"] > 100 and ways["thorough"] > 200, ways
