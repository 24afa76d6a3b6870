"""The tables of execution reports in a simulation, and how PostgreSQL reads a report out of JSON."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import count
from typing import Any, NoReturn

from ordertrail.domain.execution import (
    EXEC_TYPES,
    EXECUTION_PRICE_DECIMALS_MAX,
    EXECUTION_PRICE_MAX,
    EXECUTION_QUANTITY_MAX,
    EXECUTION_SEQ_MAX,
    EXECUTION_TEXT_LENGTH_MAX,
    TRADE,
    TRADE_CANCEL,
    TRADE_CORRECT,
    proves_acceptance,
)
from ordertrail.storage.errors import StatementFailed

Record = dict[str, Any]
Ranges = list[tuple[int, int]]
Sums = dict[tuple[str, str], tuple[int, Decimal]]

_TEXTS = ("exec_id", "exec_type", "ord_status", "client_order_id", "exchange_order_id", "exec_ref_id", "reject_reason")
_INTEGERS = ("seq", "last_qty", "cum_qty", "leaves_qty")
_PRICES = ("last_px", "avg_px")
_BIGINT_MAX = 2**63 - 1


@dataclass(slots=True)
class ExecutionTables:
    """`executions`: by order id, then by session and exec id. `retries`: by parked id, the tries and when it is due.

    `revisions`: by order id, session and exec id, what is not in the sums yet: when it was noted, and looked at.
    """

    epochs: dict[tuple[str, str], int] = field(default_factory=dict)
    executions: dict[str, dict[tuple[int, str], Record]] = field(default_factory=dict)
    coverage: list[tuple[str, str, Ranges]] = field(default_factory=list)
    position_sums: list[Sums] = field(default_factory=list)
    revisions: dict[tuple[str, int, str], tuple[datetime, datetime | None]] = field(default_factory=dict)
    inbox: dict[int, Record] = field(default_factory=dict)
    feeds: dict[str, Record] = field(default_factory=dict)
    retries: dict[int, tuple[int, datetime]] = field(default_factory=dict)
    comparisons: list[Record] = field(default_factory=list)
    frame_numbers: Iterator[int] = field(default_factory=lambda: count(1))


class _Number(str):
    """A number as it stands in the text."""

    __slots__ = ()


def _fail(code: str, text: str) -> NoReturn:
    raise StatementFailed(code, text)


def elements_of(body: str) -> list[Record]:
    """The objects of an array."""
    try:
        found = json.loads(
            body, parse_float=_Number, parse_int=_Number, parse_constant=lambda _: _fail("22P02", "json")
        )
    except ValueError as error:
        _fail("22P02", str(error))
    except RecursionError as error:
        _fail("54001", str(error))
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        _fail("22023", "no array of objects")
    return found


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else json.dumps(value)
    if "\x00" in text:
        _fail("22P05", "unsupported Unicode escape sequence")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        _fail("22P02", "half of a pair of surrogates")
    return str(text)


def _integer(value: Any) -> int | None:
    text = _text(value)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError as error:
        _fail("22P02", str(error))
    return number if -_BIGINT_MAX - 1 <= number <= _BIGINT_MAX else _fail("22003", "out of range")


def _decimal(value: Any) -> Decimal | None:
    text = _text(value)
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation as error:
        _fail("22P02", str(error))


def report_of(element: Record) -> Record:
    """Its fields as the columns have them."""
    for value in element.values():
        _text(value)
    report: Record = {name: _text(element.get(name)) for name in (*_TEXTS, "transact_time")}
    report |= {name: _integer(element.get(name)) for name in _INTEGERS}
    return report | {name: _decimal(element.get(name)) for name in _PRICES}


def _is_quantity(quantity: int | None) -> bool:
    return quantity is not None and 0 <= quantity <= EXECUTION_QUANTITY_MAX


def _is_price(price: Decimal | None, *, decimals_max: int | None = None) -> bool:
    if price is None:
        return True
    if not price.is_finite() or not 0 <= price <= EXECUTION_PRICE_MAX:
        return False
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)
    return decimals_max is None or -exponent <= decimals_max


def unreadable_field(report: Record) -> str | None:
    """The first that is missing, or says what cannot be."""
    moves = report["exec_type"] in {TRADE, TRADE_CORRECT} and bool(report["last_qty"])
    proves = proves_acceptance(report["exec_type"] or "", report["ord_status"] or "")
    problems = (
        ("seq", report["seq"] is not None and not 1 <= report["seq"] <= EXECUTION_SEQ_MAX),
        ("exec_id", not 1 <= len((report["exec_id"] or "").encode()) <= EXECUTION_TEXT_LENGTH_MAX),
        *((name, not report[name]) for name in ("exec_type", "ord_status", "client_order_id")),
        ("exchange_order_id", (report["exchange_order_id"] is None and proves) or report["exchange_order_id"] == ""),
        ("last_qty", not _is_quantity(report["last_qty"])),
        ("last_qty", report["exec_type"] == TRADE and report["last_qty"] == 0),
        ("exec_type", bool(report["last_qty"]) and report["exec_type"] not in EXEC_TYPES),
        ("last_px", not _is_price(report["last_px"], decimals_max=EXECUTION_PRICE_DECIMALS_MAX)),
        ("last_px", moves and not report["last_px"]),
        ("cum_qty", not _is_quantity(report["cum_qty"])),
        ("leaves_qty", not _is_quantity(report["leaves_qty"])),
        ("avg_px", not _is_price(report["avg_px"])),
        ("exec_ref_id", report["exec_ref_id"] is None and report["exec_type"] in {TRADE_CANCEL, TRADE_CORRECT}),
        ("exec_ref_id", report["exec_ref_id"] == ""),
        ("transact_time", not "0" <= (report["transact_time"] or "") <= ":"),
    )
    return next((name for name, is_problem in problems if is_problem), None)


def moment_of(text: str) -> datetime:
    """As a column of times takes it."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        _fail("22007", str(error))


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges, both ends included, as `range_agg` joins them: rising, and apart."""
    together: Ranges = []
    for first, last in sorted(ranges):
        if together and first <= together[-1][1] + 1:
            together[-1] = (together[-1][0], max(last, together[-1][1]))
        else:
            together.append((first, last))
    return together
