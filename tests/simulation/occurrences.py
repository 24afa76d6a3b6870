"""What happens at the exchange in a run beside orders: trades are busted and corrected, orders expire, epochs begin."""

from random import Random
from typing import assert_never

from simulated_exchange.occurrences import Amendment, EpochChange, Expiry, StrayTrade
from tests.simulation.site import Site

PRICES = ("99.50", "100.00", "100.25")


Happening = Amendment | EpochChange | Expiry | StrayTrade


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
