"""The lines of the exchange's log: one for every command that changed something, with what came of it.

An outside checker reads these; README.md describes them. The format is added to, never changed.
"""

from decimal import Decimal
from typing import TypeAlias

import msgspec

from simulated_exchange.flood import KeptFlood
from simulated_exchange.occurrences import Amendment, EpochChange, Load, StrayTrade
from simulated_exchange.orders import KeptOrder, NewOrder, Order, Refusal, Report
from simulated_exchange.trade_chains import KeptChain
from simulated_exchange.wire import ReportView, price_text, report_view, time_text

FORMAT = 1
KEPT_LINE_MAX = 1_000  # so many orders, or reports, are in one line of a compacted log


class LoggedOrder(msgspec.Struct, frozen=True):
    """The order as it came; what could not be read is null."""

    client_order_id: str
    type: str | None
    side: str | None
    instrument: str | None
    limit_price: str | None
    quantity: int | None
    accept_by: str | None


class EpochLine(msgspec.Struct, frozen=True, tag_field="kind", tag="epoch"):
    """The first line."""

    format: int
    epoch: str


class AcceptedLine(msgspec.Struct, frozen=True, tag_field="kind", tag="accepted"):
    """An order was taken in; `reports` include those of the orders it traded with."""

    transact_time: str
    exchange_order_id: str
    order: LoggedOrder
    reports: tuple[ReportView, ...]


class RejectedLine(msgspec.Struct, frozen=True, tag_field="kind", tag="rejected"):
    """An order was refused for good; its id is taken all the same."""

    transact_time: str
    exchange_order_id: str
    order: LoggedOrder
    reject_reason: str
    text: str
    reports: tuple[ReportView, ...]


class CanceledLine(msgspec.Struct, frozen=True, tag_field="kind", tag="canceled"):
    """An open order was canceled on demand."""

    transact_time: str
    exchange_order_id: str
    client_order_id: str
    reports: tuple[ReportView, ...]


class ExpiredLine(msgspec.Struct, frozen=True, tag_field="kind", tag="expired"):
    """An open order has expired."""

    transact_time: str
    exchange_order_id: str
    client_order_id: str
    reports: tuple[ReportView, ...]


class AmendedLine(msgspec.Struct, frozen=True, tag_field="kind", tag="amended"):
    """A trade was busted or corrected; where its order is open again, it may have traded at once."""

    transact_time: str
    amendment: Amendment
    reports: tuple[ReportView, ...]


class StrayTradeLine(msgspec.Struct, frozen=True, tag_field="kind", tag="stray_trade"):
    """An order traded in whatever state it was, with nobody."""

    transact_time: str
    trade: StrayTrade
    reports: tuple[ReportView, ...]


class NoiseLine(msgspec.Struct, frozen=True, tag_field="kind", tag="noise"):
    """Reports that come of nothing that happened to an order."""

    transact_time: str
    reports: tuple[ReportView, ...]


class EpochChangedLine(msgspec.Struct, frozen=True, tag_field="kind", tag="epoch_changed"):
    """The numbering of reports began anew, or went back; `reports` are those that were numbered anew."""

    transact_time: str
    epoch: str
    exec_id_suffix: str
    change: EpochChange
    reports: tuple[ReportView, ...]


class LoadLine(msgspec.Struct, frozen=True, tag_field="kind", tag="load"):
    """A flood of reports begins; those of a flood that ran before are over."""

    transact_time: str
    load: Load


class LoadedLine(msgspec.Struct, frozen=True, tag_field="kind", tag="loaded"):
    """So many turns of the flood were taken, after which `head` was the newest report; these follow from all before."""

    transact_time: str
    turns: int
    head: int


class CompactedLine(msgspec.Struct, frozen=True, tag_field="kind", tag="compacted"):
    """In place of all lines that were before: what the exchange still knew, in this line and those of `Kept` after it.

    Reports up to `dropped` are not kept. `open`: the ids of open orders at the exchange, in the order in which they
    wait in its books. `chains`: of amended trades, what they count by now and the reports that name them.
    """

    transact_time: str
    epoch: str
    exec_id_suffix: str
    dropped: int
    orders_count: int
    epochs_count: int
    open: tuple[str, ...]
    chains: tuple[KeptChain, ...]


class KeptOrdersLine(msgspec.Struct, frozen=True, tag_field="kind", tag="kept_orders"):
    """Orders by their ids; `superseded` are those whose id another order has taken since."""

    newest: tuple[KeptOrder, ...]
    superseded: tuple[KeptOrder, ...]


class KeptReportsLine(msgspec.Struct, frozen=True, tag_field="kind", tag="kept_reports"):
    """Reports that can be read again, in order of `seq`."""

    reports: tuple[msgspec.Raw, ...]


class KeptFloodLine(msgspec.Struct, frozen=True, tag_field="kind", tag="kept_flood"):
    """The flood that had begun last, and where it was."""

    flood: KeptFlood


Kept: TypeAlias = CompactedLine | KeptOrdersLine | KeptReportsLine | KeptFloodLine
Placed: TypeAlias = AcceptedLine | RejectedLine
Occurred: TypeAlias = ExpiredLine | AmendedLine | StrayTradeLine | NoiseLine | EpochChangedLine | LoadLine | LoadedLine
Command: TypeAlias = Placed | CanceledLine | Occurred
Line: TypeAlias = EpochLine | Kept | Command


def accepted_line(new: NewOrder, order: Order, reports: list[Report]) -> AcceptedLine:
    """What `Exchange` wrote down for an order it accepted."""
    return AcceptedLine(
        time_text(order.transacted_at_us), order.exchange_order_id, _logged(new, order), _views(reports)
    )


def rejected_line(new: NewOrder, order: Order, refusal: Refusal, reports: list[Report]) -> RejectedLine:
    """What it wrote down for an order it refused."""
    return RejectedLine(
        time_text(order.transacted_at_us),
        order.exchange_order_id,
        _logged(new, order),
        refusal.reject_reason,
        refusal.text,
        _views(reports),
    )


def canceled_line(order: Order, reports: list[Report]) -> CanceledLine:
    """What it wrote down for a cancel that took effect."""
    at_us = reports[-1].transacted_at_us
    return CanceledLine(time_text(at_us), order.exchange_order_id, order.client_order_id, _views(reports))


def as_ordered(logged: LoggedOrder) -> NewOrder:
    """The order as it arrived, without its `accept_by`: that was decided on long ago."""
    return NewOrder(
        client_order_id=logged.client_order_id,
        type=logged.type,
        side=logged.side,
        instrument=logged.instrument,
        limit_price=None if logged.limit_price is None else Decimal(logged.limit_price),
        quantity=logged.quantity,
    )


def _logged(new: NewOrder, order: Order) -> LoggedOrder:
    as_written = None if new.limit_price is None else str(new.limit_price)
    return LoggedOrder(
        client_order_id=new.client_order_id,
        type=new.type,
        side=new.side,
        instrument=new.instrument,
        limit_price=price_text(order.price_ticks) or as_written,
        quantity=new.quantity,
        accept_by=None if new.accept_by_us is None else time_text(new.accept_by_us),
    )


def _views(reports: list[Report]) -> tuple[ReportView, ...]:
    return tuple(map(report_view, reports))
