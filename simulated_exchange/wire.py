"""How orders and execution reports are written, on the wire and in the log: prices and times are texts."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from simulated_exchange.order_book import TICKS_PER_UNIT
from simulated_exchange.orders import Order, OrdStatus, Report

AVERAGE_DECIMALS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AVERAGE_SCALE = 10**AVERAGE_DECIMALS // TICKS_PER_UNIT


class OrderView(msgspec.Struct, frozen=True, gc=False):
    """An order as `GET /v1/orders/{client_order_id}` shows it."""

    exchange_order_id: str | None
    client_order_id: str
    type: str | None
    side: str | None
    instrument: str | None
    limit_price: str | None
    quantity: int | None
    ord_status: OrdStatus
    cum_qty: int
    leaves_qty: int
    avg_px: str | None
    reject_reason: str | None


class ReportView(msgspec.Struct, frozen=True, gc=False):
    """An execution report as it is sent and logged. What is unset is left out."""

    seq: int
    exec_id: str
    exec_type: str
    ord_status: OrdStatus
    client_order_id: str
    exchange_order_id: str | None
    last_qty: int
    last_px: str | None
    cum_qty: int
    leaves_qty: int
    avg_px: str | None
    transact_time: str
    exec_ref_id: str | msgspec.UnsetType = msgspec.UNSET
    reject_reason: str | msgspec.UnsetType = msgspec.UNSET


def order_view(order: Order) -> OrderView:
    """The order as it stands now; later trades do not change the view."""
    return OrderView(
        exchange_order_id=order.shown_id,
        client_order_id=order.client_order_id,
        type=order.type,
        side=order.side,
        instrument=order.instrument,
        limit_price=price_text(order.price_ticks),
        quantity=order.quantity,
        ord_status=order.ord_status,
        cum_qty=order.cum_qty,
        leaves_qty=order.leaves_qty,
        avg_px=average_text(order.notional_ticks, order.cum_qty),
        reject_reason=order.reject_reason,
    )


def report_view(report: Report) -> ReportView:
    """The report in full."""
    return ReportView(
        seq=report.seq,
        exec_id=report.exec_id,
        exec_type=report.exec_type,
        ord_status=report.ord_status,
        client_order_id=report.client_order_id,
        exchange_order_id=report.exchange_order_id,
        last_qty=report.last_qty,
        last_px=price_text(report.last_ticks),
        cum_qty=report.cum_qty,
        leaves_qty=report.leaves_qty,
        avg_px=average_text(report.notional_ticks, report.cum_qty),
        transact_time=time_text(report.transacted_at_us),
        exec_ref_id=msgspec.UNSET if report.exec_ref_id is None else report.exec_ref_id,
        reject_reason=msgspec.UNSET if report.reject_reason is None else report.reject_reason,
    )


@lru_cache(maxsize=4_096)
def price_text(ticks: int | None) -> str | None:
    """Always two decimals; None stays None."""
    return None if ticks is None else f"{ticks // TICKS_PER_UNIT}.{ticks % TICKS_PER_UNIT:02d}"


def average_text(notional_ticks: int, quantity: int) -> str | None:
    """The average price, rounded half up to 8 decimals, with at least two; None where nothing traded."""
    if not quantity:
        return None
    ticks, rest = divmod(notional_ticks, quantity)
    if not rest:
        return price_text(ticks)
    scaled = (2 * notional_ticks * _AVERAGE_SCALE + quantity) // (2 * quantity)
    digits = f"{scaled:0{AVERAGE_DECIMALS + 1}d}"
    return f"{digits[:-AVERAGE_DECIMALS]}.{digits[-AVERAGE_DECIMALS:].rstrip('0').ljust(2, '0')}"


@lru_cache(maxsize=256)
def time_text(at_us: int) -> str:
    """RFC 3339 in UTC with microseconds."""
    second, microsecond = divmod(at_us, 1_000_000)
    return f"{_second_text(second)}.{microsecond:06d}Z"


def time_us(at: datetime) -> int:
    """Microseconds since 1970 of a time with an offset."""
    return (at - _EPOCH) // _MICROSECOND


def text_us(text: str) -> int:
    """The inverse of `time_text`; ValueError if the text is no such time."""
    return time_us(datetime.fromisoformat(text))


@lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")
