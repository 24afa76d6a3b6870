"""The query of a list → filters, a page's size and a cursor, or everything that is wrong with it at once.

Strict, because a filter that is misspelled or given twice and silently ignored answers another question than
the client has.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Literal, TypeVar

from ordertrail.api.cursor import AFTER_ID, Decoder, OtherFilters, UnreadableCursor, read_cursor
from ordertrail.api.field_formats import (
    CLIENT_ORDER_ID,
    CLIENT_ORDER_ID_RULE,
    INSTRUMENT,
    INSTRUMENT_RULE,
    RFC_3339,
    RFC_3339_RULE,
    utc_moment,
)
from ordertrail.domain.errors import FieldProblem
from ordertrail.domain.order import Side
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.storage.order_reads import OrderFilter

LIMIT_DEFAULT = 100
LIMIT_MAX = 500

FILTERS = ("status", "outcome", "instrument", "side", "client_order_id", "created_after", "created_before")
PARAMETERS = ("limit", "cursor", *FILTERS)

_NAME_LENGTH_SHOWN = 64
_LIMIT = re.compile(r"\d{1,3}", re.ASCII)

_NO_SUCH_TIME = "must be a time that exists, in the years 1 to 9999"

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of a list: `limit` orders after `before_id` in falling order of ids."""

    wanted: OrderFilter
    limit: int
    before_id: str | None


@dataclass(frozen=True, slots=True)
class PageQuery(Generic[T]):
    """How many, and after what; None: from the first on."""

    limit: int
    after: T | None


class InvalidQuery(Exception):
    """The query means nothing, or may mean two things."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.pointer} {p.detail}" for p in problems))
        self.problems = problems


class _Invalid(ValueError):
    """A value is not valid; the text says what it must be."""


def parse_list_query(pairs: Pairs) -> ListQuery:
    """Read the query's parameters. Raises InvalidQuery."""
    pairs = list(pairs)
    statuses = [value for name, value in pairs if name == "status"]
    values, problems = once_each((pair for pair in pairs if pair[0] != "status"), PARAMETERS)

    def read(name: str, read_value: Callable[[str], T]) -> T | None:
        value = values.get(name)
        try:
            return None if value is None else read_value(value)
        except _Invalid as invalid:
            problems.append(FieldProblem(pointer_to(name), str(invalid)))
            return None

    def read_statuses() -> Iterator[OrderStatus]:
        """Each once, in the order of the enum, so that one question has one cursor."""
        try:
            wanted_statuses = {_choice(value, OrderStatus) for value in statuses}
            yield from (status for status in OrderStatus if status in wanted_statuses)
        except _Invalid as invalid:
            problems.append(FieldProblem(pointer_to("status"), str(invalid)))

    limit = read("limit", _limit)
    wanted = OrderFilter(
        statuses=tuple(read_statuses()),
        outcome=read("outcome", lambda value: _choice(value, Outcome)),
        instrument=read("instrument", _instrument),
        side=read("side", lambda value: _choice(value, Side)),
        client_order_id=read("client_order_id", _client_order_id),
        created_after=read("created_after", _whole_microsecond_before),
        created_before=read("created_before", _whole_microsecond_after),
    )
    # A cursor is checked against the filters, so it says nothing while they cannot be read.
    before_id = None if problems else read("cursor", lambda cursor: _read_cursor(cursor, wanted, AFTER_ID))
    if problems:
        raise InvalidQuery(problems)
    return ListQuery(wanted, LIMIT_DEFAULT if limit is None else limit, before_id)


def parse_page_query(pairs: Pairs, wanted: object, decoder: Decoder[tuple[Literal[1], str, T]]) -> PageQuery[T]:
    """Of a list that has no filters; `wanted` tells it from others. Raises InvalidQuery."""
    values, problems = once_each(pairs, ("limit", "cursor"))
    limit, after = LIMIT_DEFAULT, None
    for name, value in values.items():
        try:
            if name == "limit":
                limit = _limit(value)
            elif name == "cursor":
                after = _read_cursor(value, wanted, decoder)
        except _Invalid as invalid:
            problems.append(FieldProblem(pointer_to(name), str(invalid)))
    if problems:
        raise InvalidQuery(problems)
    return PageQuery(limit, after)


def refuse_parameters(pairs: Pairs) -> None:
    """For what takes no parameters. Raises InvalidQuery."""
    _, problems = once_each(pairs, ())
    if problems:
        raise InvalidQuery(problems)


def once_each(pairs: Pairs, known: tuple[str, ...]) -> tuple[dict[str, str], list[FieldProblem]]:
    """The parameters by their names, and what is wrong with those that are unknown here or given twice."""
    values: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            problems[name] = "is not a parameter here" + (f"; there are {', '.join(known)}" if known else "")
        elif name in values:
            problems[name] = "is given more than once"
        values[name] = value
    return values, [FieldProblem(pointer_to(name), detail) for name, detail in problems.items()]


def pointer_to(name: str) -> str:
    """Where a parameter stands, in a problem."""
    return "/query/" + name[:_NAME_LENGTH_SHOWN].replace("~", "~0").replace("/", "~1")


def _limit(value: str) -> int:
    if not _LIMIT.fullmatch(value) or not 1 <= int(value) <= LIMIT_MAX:
        raise _Invalid(f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(value)


def _choice(value: str, choices: type[E]) -> E:
    try:
        return choices(value)
    except ValueError:
        raise _Invalid("must be one of " + ", ".join(choices)) from None


def _instrument(value: str) -> str:
    if not INSTRUMENT.fullmatch(value):
        raise _Invalid(INSTRUMENT_RULE)
    return value


def _client_order_id(value: str) -> str:
    if not CLIENT_ORDER_ID.fullmatch(value):
        raise _Invalid(CLIENT_ORDER_ID_RULE)
    return value


def _whole_microsecond_before(value: str) -> datetime:
    """The column has no finer times, so rounding this way changes no comparison of "after"."""
    return _moment(value)[0]


def _whole_microsecond_after(value: str) -> datetime:
    """And this way, none of "before"."""
    moment, is_finer = _moment(value)
    try:
        return moment + timedelta(microseconds=1 if is_finer else 0)
    except OverflowError:
        raise _Invalid(_NO_SUCH_TIME) from None


def _moment(value: str) -> tuple[datetime, bool]:
    """Cut to the microsecond, and whether something was cut off."""
    match = RFC_3339.fullmatch(value)
    if match is None:
        hint = "; in a query, + is written %2B" if " " in value else ""
        raise _Invalid(RFC_3339_RULE + hint)
    moment = utc_moment(value)
    if moment is None:
        raise _Invalid(_NO_SUCH_TIME)
    finer = (match[1] or "")[len(".123456") :].strip("0")
    return moment, bool(finer)


def _read_cursor(cursor: str, wanted: object, decoder: Decoder[tuple[Literal[1], str, T]]) -> T:
    try:
        return read_cursor(cursor, wanted, decoder)
    except UnreadableCursor:
        raise _Invalid("is not a cursor that came as next_cursor") from None
    except OtherFilters:
        raise _Invalid("comes from a list with other filters; keep them the same from page to page") from None
