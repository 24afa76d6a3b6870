"""The reports of a frame one by one, as they stand in it, where they cannot be applied together.

Where an element ends is told by brackets and quotes alone, so that one that nobody can read spoils none beside it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from ordertrail.queues.queue import Frame

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
_SEQ_VALUE = re.compile(rb"\s*:\s*(\d{1,19})\s*[,}]")
_BLANK = b" \t\n\r"
_OPENING, _CLOSING = (b"[", b"{"), (b"]", b"}")

_BIGINT_MAX = 2**63 - 1
# A longer text does not fit into an index.
_KEY_LENGTH_MAX = 2000

_TEXTS = ("exec_id", "client_order_id", "exec_type", "ord_status", "transact_time")
_TEXTS_OR_NULL = ("exchange_order_id", "exec_ref_id", "reject_reason")
_QUANTITIES = ("last_qty", "cum_qty", "leaves_qty")
_PRICES = ("last_px", "avg_px")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a report: the field, where it is one, and why in a few words; `seq` where it can be read."""

    field: str | None
    why: str
    seq: int | None


def split_reports(body: bytes) -> list[bytes] | None:
    """The elements of a JSON array; None: it is none."""
    text = body.strip(_BLANK)
    if not (text.startswith(b"[") and text.endswith(b"]")):
        return None
    inner = text[1:-1]
    elements: list[bytes] = []
    depth, begin = 0, 0
    for token in _TOKEN.finditer(inner):
        mark = token.group()
        if mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
        elif mark == b"," and depth == 0:
            elements.append(inner[begin : token.start()].strip(_BLANK))
            begin = token.end()
        if depth < 0 or mark == b'"':
            return None
    elements.append(inner[begin:].strip(_BLANK))
    if depth or (len(elements) > 1 and b"" in elements):
        return None
    return [] if elements == [b""] else elements


def frame_of(frame: Frame, reports: Sequence[bytes]) -> Frame:
    """A frame of some of another's reports; what it covers is told by them alone."""
    return replace(frame, count=len(reports), first=None, last=None, body=b"[" + b",".join(reports) + b"]")


def fault_of(raw: bytes, otherwise: str) -> Fault:
    """What is wrong with a report that breaks a statement; `otherwise`: where nothing can be named."""
    try:
        report = json.loads(raw, parse_float=Decimal, parse_int=_read_integer)
    except (ValueError, RecursionError):
        return Fault(None, "is no JSON", _seq_in(raw))
    if not isinstance(report, dict):
        return Fault(None, "is no object", None)
    seq = report.get("seq")
    has_seq = type(seq) is int and 0 < seq <= _BIGINT_MAX
    for name in ("seq", *_TEXTS, *_QUANTITIES, *_PRICES, *_TEXTS_OR_NULL):
        why = _why_not(name, report)
        if why is not None:
            return Fault(name, why, seq if has_seq else None)
    return Fault(None, otherwise, seq if has_seq else None)


def _seq_in(raw: bytes) -> int | None:
    """What stands behind the name `seq` in an object that is no JSON; None: nothing, or it stands there twice."""
    found = []
    depth = 0
    for token in _TOKEN.finditer(raw):
        mark = token.group()
        if mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
        elif mark == b'"seq"' and depth == 1 and (value := _SEQ_VALUE.match(raw, token.end())) is not None:
            found.append(int(value[1]))
    return found[0] if len(found) == 1 and 0 < found[0] <= _BIGINT_MAX else None


def _why_not(name: str, report: dict[str, Any]) -> str | None:
    """Why a field cannot be what it says; None: it can."""
    value = report.get(name)
    if value is None:
        is_wanted = name in _TEXTS or name in _QUANTITIES
        return None if not is_wanted else "is null" if name in report else "is missing"
    if name == "seq" or name in _QUANTITIES:
        return _why_no_quantity(value)
    if not isinstance(value, str):
        return "is no text"
    if "\0" in value:
        return "has a NUL in it"
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        return "has half a character in it"
    if name in _PRICES:
        return _why_no_price(value)
    if name == "transact_time":
        return _why_no_time(value)
    return "is too long" if len(value.encode()) > _KEY_LENGTH_MAX else None


def _why_no_quantity(value: object) -> str | None:
    if type(value) is not int:
        return "is no whole number"
    return None if 0 <= value <= _BIGINT_MAX else "is out of range"


def _why_no_price(value: str) -> str | None:
    try:
        price = Decimal(value)
    except InvalidOperation:
        return "is no number"
    return None if price.is_finite() and abs(price.adjusted()) < 1000 else "is out of range"


def _why_no_time(value: str) -> str | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return "is no time"
    return None if moment.tzinfo is not None else "has no offset"


def _read_integer(text: str) -> int | Decimal:
    """Numbers of thousands of digits are none that anybody wants, and take long."""
    return int(text) if len(text) < 100 else Decimal(text)
