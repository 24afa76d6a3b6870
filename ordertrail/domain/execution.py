"""Executions of an order, and what follows from the set of them, whatever order they came in.

Terms are FIX's: an execution report has an exec type, a last quantity and price, and the order's status by the venue's
word. A trade and all that refers to it through `exec_ref_id`, directly or not, is one chain; of a chain the report of
the highest position counts: a bust (`trade_cancel`) as nothing, a correction (`trade_correct`) as what it says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext

from ordertrail.domain.trail import OrderStatus

AVG_PX_DECIMALS = 8

TRADE = "trade"
TRADE_CANCEL = "trade_cancel"
TRADE_CORRECT = "trade_correct"
REJECTED = "rejected"

STATUS_OF_ORD_STATUS = {
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
}
"""The row that a report adds to the trail; `rejected` adds REJECTED only where other evidence shows acceptance."""

TERMINAL_ORD_STATUSES = frozenset({"filled", "canceled", "expired", "rejected"})


@dataclass(frozen=True, slots=True)
class Execution:
    """One row of `executions`. Quantities are whole units, prices exact.

    `epoch_rank`: which epoch of the venue it was, in the order in which they were first known here. `seq`: None where
    the venue has none. The last three quantities and prices are the venue's own words about the order.
    """

    order_id: str
    session: int
    exec_id: str
    epoch: str
    epoch_rank: int
    seq: int | None
    exec_type: str
    ord_status: str
    exchange_order_id: str | None
    last_qty: int
    last_px: Decimal | None
    cum_qty: int
    leaves_qty: int
    avg_px: Decimal | None
    exec_ref_id: str | None
    reject_reason: str | None
    transact_time: datetime
    recorded_at: datetime | None = None

    @property
    def position(self) -> tuple[int, int, datetime]:
        """Later reports compare higher: by epoch and seq, and where a venue has no seq, by its own time."""
        return (self.epoch_rank, -1 if self.seq is None else self.seq, self.transact_time)


@dataclass(frozen=True, slots=True)
class Progress:
    """What an order's executions come to.

    `is_live`: whether the venue's latest word leaves it open; None: it has said nothing. `busted`: a trade was taken
    back or made smaller. `overfilled`: more is filled than was ordered. `executions_complete`: our sum is the venue's
    own, by its latest word.
    """

    cum_qty: int
    leaves_qty: int
    avg_px: Decimal | None
    is_live: bool | None
    busted: bool
    overfilled: bool
    executions_complete: bool


def fold_executions(executions: Iterable[Execution], *, quantity: int) -> Progress:
    """What the set of an order's executions comes to; `quantity` is what was ordered."""
    rows = sorted(executions, key=lambda row: row.position)
    trades = _chains(rows)
    counted = {root: max(chain, key=lambda row: row.position) for root, chain in trades.items()}
    filled = [(row.last_qty, row.last_px or Decimal(0)) for row in counted.values() if row.exec_type != TRADE_CANCEL]
    cum_qty = sum(each for each, _ in filled)
    original = {root: next(row for row in chain if row.exec_type == TRADE) for root, chain in trades.items()}
    busted = any(
        row.exec_type == TRADE_CANCEL or row.last_qty < original[root].last_qty for root, row in counted.items()
    )
    word = rows[-1] if rows else None
    is_live = None if word is None else word.ord_status not in TERMINAL_ORD_STATUSES
    return Progress(
        cum_qty=cum_qty,
        leaves_qty=max(0, quantity - cum_qty) if is_live is not False else 0,
        avg_px=average(filled),
        is_live=is_live,
        busted=busted,
        overfilled=cum_qty > quantity,
        executions_complete=word is None or word.cum_qty == cum_qty,
    )


def average(filled: Iterable[tuple[int, Decimal]]) -> Decimal | None:
    """The average price of quantities at prices, exact, rounded half up to 8 decimals; None: nothing was filled."""
    with localcontext() as context:
        context.prec = 100
        pairs = list(filled)
        quantity = sum(each for each, _ in pairs)
        if not quantity:
            return None
        notional = sum((each * price for each, price in pairs), Decimal(0))
        return (notional / quantity).quantize(Decimal(1).scaleb(-AVG_PX_DECIMALS), rounding=ROUND_HALF_UP)


def _chains(rows: Iterable[Execution]) -> Mapping[tuple[int, str], list[Execution]]:
    """The chains that have their trade, by its key; what refers to a trade that is not there belongs to none."""
    rows = list(rows)
    by_id = {(row.session, row.exec_id): row for row in rows}
    chains: dict[tuple[int, str], list[Execution]] = {}
    for row in rows:
        root: Execution | None = row
        passed: set[str] = set()
        while root is not None and root.exec_type != TRADE:
            is_circle = root.exec_id in passed
            passed.add(root.exec_id)
            root = None if is_circle or root.exec_ref_id is None else by_id.get((root.session, root.exec_ref_id))
        if root is not None:
            chains.setdefault((root.session, root.exec_id), []).append(row)
    return chains
