"""What the API answers, as far as a command shows or believes it; None: it is not that, whoever answered."""

from typing import Annotated, Any, TypeVar

import msgspec

from ordertrail.cli.api_client import ApiReply
from ordertrail.domain.trail import Certainty, OrderStatus, Outcome

PROBLEMS = "/problems/"
Price = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+\.[0-9]{2,}$")]
_ID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


class Order(msgspec.Struct, frozen=True):
    """An order without its trail."""

    id: Annotated[str, msgspec.Meta(pattern=_ID)]
    created_at: str
    type: str
    side: str
    instrument: str
    quantity: int
    status: OrderStatus
    outcome: Outcome
    limit_price: float | str | None = None
    client_order_id: str | None = None
    exchange_order_id: str | None = None
    certainty: Certainty | None = None


class Row(msgspec.Struct, frozen=True):
    """A row of a trail."""

    status: str
    created_at: str | None = None
    recorded_at: str | None = None
    reason: str | None = None
    exchange_order_id: str | None = None


class Execution(msgspec.Struct, frozen=True):
    """A report of the exchange's; prices are decimals as text."""

    exec_id: str
    session: int
    exec_type: str
    ord_status: str
    last_qty: int
    cum_qty: int
    leaves_qty: int
    transact_time: str
    last_px: Price | None
    exec_ref_id: str | None


class ExecutedOrder(Order, frozen=True, kw_only=True):
    """An order as it is read by its id: with its trail, and what was executed of it."""

    trail: list[Row]
    cum_qty: int
    leaves_qty: int
    avg_px: Price | None
    is_live: bool | None
    busted: bool
    overfilled: bool
    executions_complete: bool
    cancel_requested_at: str | None
    executions: list[Execution]


class InstrumentPosition(msgspec.Struct, frozen=True):
    """What was bought and sold of an instrument."""

    instrument: str
    buy_qty: int
    buy_avg_px: Price | None
    sell_qty: int
    sell_avg_px: Price | None
    net_qty: int


class Positions(msgspec.Struct, frozen=True):
    """A page of positions."""

    positions: list[InstrumentPosition]
    executions_as_of: str | None
    next_cursor: str | None


class Page(msgspec.Struct, frozen=True):
    """A page of a list."""

    orders: list[Order]
    next_cursor: str | None = None


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with a field."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True):
    """A problem that the API itself has made; a proxy's has another type, or none."""

    type: Annotated[str, msgspec.Meta(pattern=f"^{PROBLEMS}")]
    title: str | None = None
    status: int | None = None
    detail: str | None = None
    order_id: str | None = None
    outcome: Outcome | None = None
    certainty: Certainty | None = None
    errors: list[FieldError] = []


_Document = TypeVar("_Document")


def read(document: dict[str, Any], kind: type[_Document]) -> _Document | None:
    """The document as that kind."""
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, UnicodeError):  # the second of half a character
        return None


def problem_of(answer: ApiReply) -> Problem | None:
    """The API's own word on why the request failed."""
    problem = read(answer.document, Problem)
    return problem if problem is not None and problem.status in {None, answer.status} else None
