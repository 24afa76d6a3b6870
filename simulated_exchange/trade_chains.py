"""What a trade counts by now, after all the busts and corrections that refer to it."""

import msgspec

from simulated_exchange.occurrences import Amendment, price_ticks
from simulated_exchange.wire import ReportView


class TradeChain(msgspec.Struct):
    """A trade and all that refers to it, through any number of steps; the last word counts."""

    quantity: int
    ticks: int


class KeptChain(msgspec.Struct, frozen=True):
    """A chain, and the reports that name it: of each the order's id at the exchange, and its own."""

    quantity: int
    ticks: int
    names: tuple[tuple[str | None, str], ...]


class TradeChains:
    """The chains of trades that were ever amended; the others are what their reports say."""

    def __init__(self) -> None:
        self._of: dict[tuple[str | None, str], TradeChain] = {}

    def of(self, report: ReportView) -> TradeChain | None:
        """The chain that the report belongs to; None where it reports no trade."""
        chain = self._of.get((report.exchange_order_id, report.exec_id))
        if chain is not None:
            return chain
        if report.exec_type != "trade" or report.last_px is None:
            return None
        return TradeChain(report.last_qty, price_ticks(report.last_px))

    def kept(self) -> tuple[KeptChain, ...]:
        """All of them."""
        names: dict[int, list[tuple[str | None, str]]] = {}
        for name, chain in self._of.items():
            names.setdefault(id(chain), []).append(name)
        chains = {id(chain): chain for chain in self._of.values()}
        return tuple(KeptChain(chains[key].quantity, chains[key].ticks, tuple(of)) for key, of in names.items())

    def restore(self, kept: tuple[KeptChain, ...]) -> None:
        """Know them again."""
        for each in kept:
            chain = TradeChain(each.quantity, each.ticks)
            self._of.update(dict.fromkeys(each.names, chain))

    def amend(self, target: ReportView, chain: TradeChain, by_exec_id: str, quantity: int, ticks: int) -> None:
        """From now on the trade counts so much, and `by_exec_id` names it too."""
        chain.quantity, chain.ticks = quantity, ticks
        self._of[target.exchange_order_id, target.exec_id] = chain
        self._of[target.exchange_order_id, by_exec_id] = chain


def amended(chain: TradeChain, amendment: Amendment) -> tuple[int, int]:
    """Quantity and price, in hundredths, of the trade after the amendment."""
    if amendment.exec_type == "trade_cancel":
        return 0, chain.ticks
    quantity = chain.quantity if amendment.last_qty is None else amendment.last_qty
    return quantity, chain.ticks if amendment.last_px is None else price_ticks(amendment.last_px)
