"""Executions of an order, and what follows from the set of them, whatever order they came in.

Terms are FIX's: an execution report has an exec type, a last quantity and price, and the order's status by the venue's
word. A trade and all that refers to it through `exec_ref_id`, directly or not, is one chain; of a chain the report of
the highest position counts: a bust (`trade_cancel`) as nothing, a correction (`trade_correct`) as what it says.
What is read of many orders is computed in SQL; a test holds it equal to this.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

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

EXEC_TYPES = frozenset({"new", TRADE, "canceled", "expired", REJECTED, TRADE_CANCEL, TRADE_CORRECT})
"""The words that are understood; a report of another type is kept where it moves no quantity."""

# Beyond these a report is taken for unreadable, so that every sum and average of what is kept is exact.
EXECUTION_SEQ_MAX = 10**18
EXECUTION_QUANTITY_MAX = 2**50 - 1
EXECUTION_PRICE_MAX = 10**15
EXECUTION_PRICE_DECIMALS_MAX = 18
EXECUTION_TEXT_LENGTH_MAX = 255

TERMINAL_ORD_STATUSES = frozenset({"filled", "canceled", "expired", "rejected"})

Position = tuple[int, int, datetime, int, str]
"""Where a report stands among those of its order; see `Execution.position`."""

_Key = tuple[int, str]
_COUNTED = frozenset({TRADE, TRADE_CANCEL, TRADE_CORRECT})


def proves_acceptance(exec_type: str, ord_status: str) -> bool:
    """Whether a report shows that the exchange has accepted its order: it reports every refusal as `rejected`."""
    return REJECTED not in {exec_type, ord_status}


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
    def position(self) -> Position:
        """Later reports compare higher: by epoch and seq, and where a venue has no seq, by its own time.

        No two of an order are equal, so that what counts never depends on which was read first.
        """
        seq = -1 if self.seq is None else self.seq
        return (self.epoch_rank, seq, self.transact_time, self.session, self.exec_id)


@dataclass(frozen=True, slots=True)
class LatestReport:
    """What the venue said of the order in its latest report."""

    ord_status: str
    cum_qty: int

    @property
    def is_live(self) -> bool:
        """Whether that leaves the order open; a word that we do not know ends nothing."""
        return self.ord_status not in TERMINAL_ORD_STATUSES


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
    rows = {_key(row): row for row in executions}
    counted = [(trade, max(chain, key=_position)) for trade, chain in _chains(rows)]
    filled = [(row.last_qty, row.last_px or Decimal(0)) for _, row in counted if row.exec_type != TRADE_CANCEL]
    newest = max(rows.values(), key=_position, default=None)
    return progress_of(
        quantity=quantity,
        cum_qty=sum(last_qty for last_qty, _ in filled),
        avg_px=average(filled),
        busted=any(row.exec_type == TRADE_CANCEL or row.last_qty < trade.last_qty for trade, row in counted),
        word=None if newest is None else LatestReport(newest.ord_status, newest.cum_qty),
    )


def progress_of(
    *, quantity: int, cum_qty: int, avg_px: Decimal | None, busted: bool, word: LatestReport | None
) -> Progress:
    """What follows from the sums of an order's executions and the venue's latest word; None: it has said nothing."""
    is_over = word is not None and not word.is_live
    return Progress(
        cum_qty=cum_qty,
        leaves_qty=0 if is_over else max(0, quantity - cum_qty),
        avg_px=avg_px,
        is_live=None if word is None else word.is_live,
        busted=busted,
        overfilled=cum_qty > quantity,
        executions_complete=word is None or word.cum_qty == cum_qty,
    )


def average(filled: Iterable[tuple[int, Decimal]]) -> Decimal | None:
    """The average price of quantities at prices, rounded half up to 8 decimals; None: nothing was filled.

    In fractions, because a decimal that was rounded to any number of digits first may then be rounded the wrong way.
    """
    pairs = list(filled)
    quantity = sum(each for each, _ in pairs)
    if quantity <= 0:
        return None
    notional = sum((each * Fraction(price) for each, price in pairs), Fraction(0))
    units = abs(notional) / quantity * 10**AVG_PX_DECIMALS
    digits = tuple(int(digit) for digit in str(int(units + Fraction(1, 2))))
    return Decimal((1 if notional < 0 else 0, digits, -AVG_PX_DECIMALS))


def _chains(rows: Mapping[_Key, Execution]) -> Iterator[tuple[Execution, list[Execution]]]:
    """Each trade with those of its chain that may count: itself, busts and corrections.

    Found from the trade on, so that what refers to a trade that is not there, or in a circle, belongs to none.
    """
    referring: dict[tuple[int, str | None], list[Execution]] = defaultdict(list)
    for row in rows.values():
        if row.exec_type != TRADE:
            referring[row.session, row.exec_ref_id].append(row)
    for trade in rows.values():
        if trade.exec_type == TRADE:
            chain = [trade]
            for row in chain:
                chain += referring[_key(row)]
            yield trade, [row for row in chain if row.exec_type in _COUNTED]


def _key(row: Execution) -> _Key:
    return (row.session, row.exec_id)


def _position(row: Execution) -> Position:
    return row.position
