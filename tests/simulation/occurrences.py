"""What happens at the exchange in a run beside orders: trades are busted and corrected, orders expire, epochs begin.

And reports that break the statement which applies them (poison): the exchange's log has them in their place, as the
socket and the pages do, and they move nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import assert_never

import msgspec
from typing_extensions import override

from simulated_exchange.entries import EpochChangedLine, EpochLine, Line, NoiseLine
from simulated_exchange.execution_log import encode_view
from simulated_exchange.noise import Noise, noise
from simulated_exchange.occurrences import Amendment, EpochChange, Expiry, StrayTrade
from simulated_exchange.orders import Order
from simulated_exchange.wire import ReportView, order_view, time_text
from tests.simulation.site import Site
from tests.support.execution_checker import PoisonReport

PRICES = ("99.50", "100.00", "100.25")
# What a field says that no column takes.
POISONS = (
    ("last_px", "abc"),
    ("avg_px", "1,5"),
    ("transact_time", "2026-02-30T25:00:00Z"),
    ("reject_reason", "none\0"),
    ("exec_ref_id", "E1\0"),
)
POISON_MARK = "P"


@dataclass(frozen=True)
class Poison:
    """A report about an order, of a type that nobody knows, and with a field that nobody can read."""

    order: Order
    field: str
    text: str

    @override
    def __str__(self) -> str:
        return f"poison in {self.field}"


Happening = Amendment | EpochChange | Expiry | StrayTrade | Poison


def occur(site: Site, occurrence: Happening) -> None:
    """In the exchange's process."""
    exchange = site.exchange.exchange
    site.note("occurs", str(occurrence))
    match occurrence:
        case Amendment():
            site.exchange.context.run(exchange.amend, occurrence)
        case Expiry():
            site.exchange.context.run(exchange.expire, occurrence)
        case StrayTrade():
            site.exchange.context.run(exchange.trade, occurrence)
        case EpochChange():
            site.exchange.context.run(exchange.change_epoch, occurrence)
        case Poison():
            site.exchange.context.run(_report_poison, site, occurrence)
        case _:
            assert_never(occurrence)


def draw_amendment(site: Site) -> Happening | None:
    """A bust, a correction, an expiry, or a fill of an order in whatever state; None: there is nothing to amend."""
    random, exchange = site.random, site.exchange.exchange
    log = exchange.executions_log
    reports = log.views(log.dropped, log.head)
    trades = [report for report in reports if report.exec_type in {"trade", "trade_correct", "trade_cancel"}]
    kind = random.choice(("bust", "correct", "correct", "expire", "trade"))
    if kind == "expire":
        ids = [order.client_order_id for order in exchange.open_orders().orders]
        return Expiry(client_order_id=random.choice(ids)) if ids else None
    if not trades:
        return None
    chosen = random.choice(trades)
    if kind == "trade":
        return StrayTrade(client_order_id=chosen.client_order_id, last_qty=1, last_px=random.choice(PRICES))
    is_reinstated = random.random() < 0.5
    if kind == "bust":
        return Amendment(exec_id=chosen.exec_id, exec_type="trade_cancel", reinstate=is_reinstated)
    return Amendment(
        exec_id=chosen.exec_id,
        exec_type="trade_correct",
        last_qty=_drawn_quantity(random),
        last_px=random.choice(PRICES),
        reinstate=is_reinstated,
    )


def draw_epoch(site: Site, *, is_all_applied: bool) -> EpochChange | None:
    """What is not applied yet is there in the new epoch, under its old ids; where ids begin anew, it would be lost."""
    if site.exchange.exchange.capabilities().exec_id_unique == "epoch":
        return EpochChange() if is_all_applied else None
    return EpochChange(replay=not is_all_applied or site.random.random() < 0.3)


def draw_poison(site: Site) -> Happening | None:
    """About any order that the exchange has accepted; None: there is none."""
    orders = [order for order in site.exchange.exchange.orders.newest_by_id.values() if order.ord_status != "rejected"]
    if not orders:
        return None
    return Poison(site.random.choice(orders), *site.random.choice(POISONS))


def _report_poison(site: Site, poison: Poison) -> None:
    exchange = site.exchange.exchange
    log, at = exchange.executions_log, time_text(exchange._now())
    exec_id = f"{POISON_MARK}{log.head + 1}{log.exec_id_suffix}"
    about = order_view(poison.order)
    view = noise(Noise.UNKNOWN_TYPE, about, seq=log.head + 1, exec_id=exec_id, transact_time=at)
    view = msgspec.structs.replace(view, **{poison.field: poison.text})
    exchange._append(view)
    site.exchange.log.occurred(NoiseLine(at, (view,)))


def without_poison(line: Line) -> Line:
    """The same line, with those of its reports that can be read."""
    reports = getattr(line, "reports", ())
    readable = tuple(report for report in reports if not _is_poison(report))
    return line if len(readable) == len(reports) else msgspec.structs.replace(line, reports=readable)


def poison_of(lines: list[Line]) -> Iterator[PoisonReport]:
    """Those that cannot be read, as the exchange sent them."""
    epoch = ""
    for line in lines:
        if isinstance(line, EpochLine | EpochChangedLine):
            epoch = line.epoch
        for report in getattr(line, "reports", ()):
            if _is_poison(report):
                broken = next(name for name, text in POISONS if getattr(report, name) == text)
                yield PoisonReport(epoch, report.seq, report.exec_id, encode_view(report), broken)


def _is_poison(report: ReportView) -> bool:
    return report.exec_id.startswith(POISON_MARK)


def compact(site: Site, *, up_to: int) -> None:
    """The exchange keeps no report any more up to this one."""
    log = site.exchange.exchange.executions_log
    dropped = min(up_to, log.head) - log.dropped
    if dropped > 0:
        site.note("occurs", f"compacted up to {up_to}")
        del log._kept[:dropped]
        log.dropped += dropped


def _drawn_quantity(random: Random) -> int:
    return random.randint(1, 3)
