"""What a compacted log begins with: all that the exchange knows in that moment, and how it comes to know it again."""

from collections.abc import Iterator, Sequence

import msgspec

from simulated_exchange.entries import (
    KEPT_LINE_MAX,
    CompactedLine,
    Kept,
    KeptFloodLine,
    KeptOrdersLine,
    KeptReportsLine,
)
from simulated_exchange.execution_log import ExecutionLog
from simulated_exchange.flood import Flood
from simulated_exchange.order_store import OrderStore
from simulated_exchange.trade_chains import TradeChains
from simulated_exchange.wire import text_us, time_text


class Known(msgspec.Struct):
    """All that an exchange knows. `last_us`: the time of its log; `epochs_count`: how many epochs it has begun."""

    last_us: int
    epochs_count: int
    executions_log: ExecutionLog
    orders: OrderStore
    chains: TradeChains
    flood: Flood | None


def kept_lines(known: Known) -> Iterator[Kept]:
    """The lines that say it."""
    log = known.executions_log
    yield CompactedLine(
        time_text(known.last_us),
        log.epoch,
        log.exec_id_suffix,
        log.dropped,
        known.orders.count,
        known.epochs_count,
        tuple(known.orders.open),
        known.chains.kept(),
    )
    yield from known.orders.kept()
    for after in range(log.dropped, log.head, KEPT_LINE_MAX):
        yield KeptReportsLine(tuple(map(msgspec.Raw, log.encoded(after, KEPT_LINE_MAX))))
    if known.flood is not None:
        yield KeptFloodLine(known.flood.kept())


def restored(lines: Sequence[Kept], *, reports_kept: int | None, keep_orders: int | None) -> Known:
    """What they say, as an exchange knows it; ValueError and KeyError where they do not say it whole."""
    first = next((line for line in lines if isinstance(line, CompactedLine)), None)
    if first is None:
        raise ValueError("its first line is missing")
    log = ExecutionLog(first.epoch, kept_max=reports_kept, exec_id_suffix=first.exec_id_suffix)
    log.dropped = first.dropped
    for line in lines:
        if isinstance(line, KeptReportsLine):
            for report in line.reports:
                log.append(bytes(report))
    orders = OrderStore(keep_orders=keep_orders)
    of_orders = [line for line in lines if isinstance(line, KeptOrdersLine)]
    by_id = orders.restore(of_orders, count=first.orders_count, open_ids=first.open)
    chains = TradeChains()
    chains.restore(first.chains)
    floods = [Flood.restored(line.flood, by_id) for line in lines if isinstance(line, KeptFloodLine)]
    return Known(text_us(first.transact_time), first.epochs_count, log, orders, chains, floods[-1] if floods else None)
