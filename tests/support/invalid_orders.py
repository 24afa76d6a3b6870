"""Bodies that are no order, each with the field that is wrong and a part of the sentence that says why."""

# ruff: noqa: RUF001 - digits and letters that only look like ours are what is tested

from typing import NamedTuple

from typing_extensions import override

from tests.support.orders import MARKET_ORDER, body_with, request_body, request_body_without

INSTRUMENT = "must be 12 characters, A to Z and 0 to 9"
QUANTITY = "must be greater than 0 and at most 2147483647"
NUMBER = "must be a number, or a string of digits with at most one point"
KEY = "must be 1 to 255 visible ASCII characters"
PRICE_DIGITS = "must have at most 15 digits"
PRICE_DECIMALS = "must have at most 2 decimals"
POSITIVE = "must be greater than 0"


class Invalid(NamedTuple):
    """One request that must be refused."""

    name: str
    body: bytes
    pointer: str
    detail: str

    @override
    def __str__(self) -> str:
        return self.name


def _field(field: str, detail: str, *literals: str) -> list[Invalid]:
    return [Invalid(f"{field}={literal[:40]}", body_with(field, literal), f"/{field}", detail) for literal in literals]


def _missing(field: str, detail: str) -> Invalid:
    return Invalid(f"no {field}", request_body_without(field), f"/{field}", detail)


def _whole(name: str, body: bytes, detail: str) -> Invalid:
    return Invalid(name, body, "", detail)


_WRONG_TYPES = ("null", "true", "1", "1.5", "[]", "{}", '""')

INVALID: list[Invalid] = [
    *_field("type", 'must be "market" or "limit"', *_WRONG_TYPES, '"LIMIT"', '"stop"', '"limit "', '["limit"]'),
    *_field("side", 'must be "buy" or "sell"', *_WRONG_TYPES, '"Buy"', '"short"', r'"buy\u0000"'),
    *_field("instrument", INSTRUMENT, *_WRONG_TYPES),
    *_field("instrument", INSTRUMENT, '"AAPL1234567"', '"AAPL123456789"', '"aapl12345678"', '"AAPL 1234567"'),
    *_field("instrument", INSTRUMENT, '"AAPL1234567٣"', '"AAPL1234567３"', '"AAPL1234567Ä"', '"ＡAPL12345678"'),
    *_field(
        "instrument", INSTRUMENT, r'"AAPL1234567\u0000"', r'"AAPL12345678\n"', r'"AAPL1234567\ud800"', '"AAPL-1234567"'
    ),
    *_field("limit_price", "is needed for a limit order", "null"),
    *_field("limit_price", NUMBER, "true", "false", "[]", "{}", '""', '" 150"', '"150 "', '"+150"', '"-150"', '"1e2"'),
    *_field("limit_price", NUMBER, '"1_000"', '"1,000"', '"NaN"', '"Infinity"', '".5"', '"5."', '"0x10"', '"150.0.0"'),
    *_field(
        "limit_price",
        NUMBER,
        '"١٥٠"',
        '"１５０"',
        '"۱۵۰"',
        '"१५०"',
        r'"150\u0000"',
        r'"150\n"',
        '"' + "1" * 60_000 + '"',
    ),
    *_field(
        "limit_price", POSITIVE, "0", "0.00", "-0", "-0.0", "-1", "-0.01", '"0"', '"0.00"', "0e99999999999999999999"
    ),
    *_field("limit_price", POSITIVE, "-1e99999999999999999999", "-" + "9" * 5000),
    *_field("limit_price", PRICE_DECIMALS, "150.001", '"150.001"', "0.001", "1e-3", "1e-400", "1e-9999999"),
    *_field("limit_price", PRICE_DECIMALS, "1e-1000000000000000000", "1e-" + "9" * 5000, "0." + "0" * 60_000 + "1"),
    *_field(
        "limit_price", PRICE_DIGITS, "1234567890123456", "1000000000000000", "99999999999999.99", "1e999", "1e400000"
    ),
    *_field("limit_price", PRICE_DIGITS, '"1234567890123456"', "1e1000000000000000000", "1e" + "9" * 5000),
    *_field("limit_price", PRICE_DIGITS, "9" * 4300, "9" * 4301, "9" * 60_000),
    *_field("quantity", "must be a whole JSON number", "null", "true", "false", "[]", "{}", '""', '"10"', '"ten"'),
    *_field("quantity", "must be a whole number", "0.5", "1.5", "10.01", "1e-1", "2147483646.5", "1e-400000"),
    *_field("quantity", "must be a whole number", "1e-1000000000000000000", "1." + "0" * 60_000 + "1"),
    *_field("quantity", QUANTITY, "0", "-0", "0.0", "-1", "-1.0", "2147483648", "2147483647.5", "1e10", "1e400000"),
    *_field("quantity", QUANTITY, "1e1000000000000000000", "-1e1000000000000000000", "0e1000000000000000000"),
    *_field("quantity", QUANTITY, "9" * 4300, "9" * 4301, "9" * 60_000, "-" + "9" * 60_000),
    *_field("client_order_id", KEY, "1", "true", "[]", "{}", '""', '" "', '"a b"', '"é"', r'"a\u0000"', r'"\ud800"'),
    *_field("client_order_id", KEY, '"' + "a" * 256 + '"', '"a\u2028"', r'"a\n"'),
    *_field("place_by", "must be in the future", '"2000-01-01T00:00:00Z"', '"0001-01-01T00:00:00Z"'),
    *_field("place_by", "RFC 3339", '"2099-01-01T00:00:00"', '"soon"', "4070908800", '"9999-12-31T23:59:59-23:59"'),
    *_field("place_by", "RFC 3339", '"0001-01-01T00:00:00+23:59"', r'"2099-01-01T00:00:00Z\u0000"', "[]"),
    _missing("type", 'must be "market" or "limit"'),
    _missing("side", 'must be "buy" or "sell"'),
    _missing("instrument", INSTRUMENT),
    _missing("limit_price", "is needed for a limit order"),
    _missing("quantity", "must be a whole JSON number"),
    Invalid(
        "market with a price",
        request_body(**(MARKET_ORDER | {"limit_price": 150})),
        "/limit_price",
        "must not be given for a market order",
    ),
    *_field("colour", "is not a field of an order", '"red"', "null"),
    Invalid("field of our own", request_body(id="mine"), "/id", "is not a field of an order"),
    Invalid("field in another case", request_body(Type="limit"), "/Type", "is not a field of an order"),
    Invalid("field with no name", request_body(**{"": 1}), "/", "is not a field of an order"),
    Invalid("field that is a lone surrogate", request_body(**{"\ud800": 1}), "/\\ud800", "is not a field of an order"),
    Invalid("field with NUL", request_body(**{"type\0": 1}), "/type\0", "is not a field of an order"),
    _whole("repeated key", request_body()[:-1] + b', "quantity": 10}', "'quantity' stands in it twice"),
    _whole("repeated key, escaped", request_body()[:-1] + rb', "quantit\u0079": 11}', "stands in it twice"),
    _whole("repeated key, deeper", request_body()[:-1] + b', "x": {"a": 1, "a": 2}}', "stands in it twice"),
    _whole("NaN", body_with("limit_price", "NaN"), "is not JSON"),
    _whole("Infinity", body_with("limit_price", "Infinity"), "is not JSON"),
    _whole("-Infinity", body_with("quantity", "-Infinity"), "is not JSON"),
    _whole("leading zero", body_with("quantity", "010"), "is not JSON"),
    _whole("hexadecimal", body_with("quantity", "0x10"), "is not JSON"),
    _whole("plus sign", body_with("quantity", "+10"), "is not JSON"),
    _whole("Arabic-Indic digits", body_with("quantity", "١٠"), "is not JSON"),
    _whole("full-width digits after one", body_with("quantity", "1０"), "is not JSON"),
    _whole("empty body", b"", "is not JSON"),
    _whole("spaces", b" \n", "is not JSON"),
    _whole("not JSON", b"type=limit&side=buy", "is not JSON"),
    _whole("half of it", request_body()[:-1], "is not JSON"),
    _whole("two of them", request_body() * 2, "is not JSON"),
    _whole("trailing comma", request_body()[:-1] + b",}", "is not JSON"),
    _whole("single quotes", request_body().replace(b'"', b"'"), "is not JSON"),
    _whole("BOM", b"\xef\xbb\xbf" + request_body(), "is not JSON"),
    _whole("UTF-16", request_body().decode().encode("utf-16"), "is not JSON"),
    _whole("invalid UTF-8", request_body().replace(b"AAPL", b"\xff\xfe\xfd\xfc"), "is not JSON"),
    _whole("overlong UTF-8", request_body().replace(b"AA", b"\xc1\x81"), "is not JSON"),
    _whole("surrogate in UTF-8", request_body().replace(b"AAP", b"\xed\xa0\x80"), "is not JSON"),
    _whole("raw NUL", request_body().replace(b"A", b"\0", 1), "is not JSON"),
    _whole("NUL after the end", request_body() + b"\0", "is not JSON"),
    _whole("array", b"[" + request_body() + b"]", "must be a JSON object"),
    _whole("string", b'"order"', "must be a JSON object"),
    _whole("number", b"1", "must be a JSON object"),
    _whole("null", b"null", "must be a JSON object"),
    _whole("deep arrays", b"[" * 65_000, "is nested too deeply"),
    _whole("deep objects", b'{"a":' * 13_000, "is nested too deeply"),
    _whole("deep and closed", b'{"type":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "is nested too deeply"),
]
