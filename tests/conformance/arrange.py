"""What a test of an operation begins from (orders recorded, in doubt, held) and how it reads what came of it."""

from datetime import datetime
from typing import Any

from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.operator_word import FillByHand
from ordertrail.domain.order import Order
from ordertrail.domain.order_in_doubt import OrderInDoubt
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.doubt_rows import ClaimedSend, Lease, OperatorRuling, Verdict, WantedSend
from ordertrail.storage.order_rows import NewTrailRow, Rows, SpooledTrail
from tests.conformance.databases import DEADLINES, DatabaseSubject, Doubts, Record
from tests.support.orders import an_order

INITIATED = OrderStatus.INITIATED
FAILED = OrderStatus.EXCHANGE_CREATION_FAILED
NOT_PERSISTED = OrderStatus.DATABASE_PERSISTENCE_FAILED
UNKNOWN = OrderStatus.EXCHANGE_OUTCOME_UNKNOWN
UNRESOLVED = OrderStatus.UNRESOLVED
NOT_PLACED = OrderStatus.NOT_PLACED
COMPLETED = OrderStatus.COMPLETED
FILLED = OrderStatus.FILLED
NOT_RECORDED = "not_sent:not_recorded"
FROM_COMPLETED = list(OrderStatus)[list(OrderStatus).index(COMPLETED) :]
# What each row of a trail says of its order.
SAME_IN_ALL_ROWS = ("id", "type", "side", "instrument", "limit_price", "quantity")

DUE = DEADLINES.review_seconds + 1
SEND_SECONDS, ANSWER_SECONDS = 50, 70


async def recorded(rows: Rows, *, count: int = 1, **changes: Any) -> list[Order]:
    """So many orders, each in a batch of its own, in the order of their ids."""
    orders = by_id(*(an_order(**changes) for _ in range(count)))
    for order in orders:
        await rows.insert_initiated([order])
    return orders


async def lease_due(doubts: Doubts, *, doubts_max: int = 1000, lease_seconds: float = 100) -> list[Lease]:
    return await doubts.lease(doubts_max=doubts_max, lease_seconds=lease_seconds)


async def hold(doubts: Doubts, order_id: str) -> Lease:
    """Make a doubt of it, and take it."""
    await doubts.reopen([order_id])
    return next(each for each in await lease_due(doubts) if each.order_id == order_id)


async def held(rows: Rows, doubts: Doubts, **changes: Any) -> Lease:
    """A new order in doubt, taken."""
    return await in_doubt(rows, doubts, an_order(**changes))


async def in_doubt(rows: Rows, doubts: Doubts, order: Order) -> Lease:
    """The order recorded, in doubt, and taken."""
    await rows.insert_initiated([order])
    return await hold(doubts, order.id)


async def unresolved(rows: Rows, doubts: Doubts, *more: TrailRow) -> Lease:
    """A new order that a person must look at."""
    lease = await held(rows, doubts)
    await doubts.apply(
        [later(lease, TrailRow(UNRESOLVED, "differs", "E-1"), *more, seconds=1000, observation="differs")]
    )
    return lease


async def step(rows: Rows, order_id: str, status: OrderStatus, reason: str | None = None) -> None:
    assert await rows.insert_trail_rows([NewTrailRow(order_id, status, reason)]) == [True]


async def claim(doubts: Doubts, *wanted: Lease, send_by_max: datetime | None = None) -> list[ClaimedSend | None]:
    return await doubts.claim_sends(
        [WantedSend(lease, send_by_max) for lease in wanted],
        claimed_by="replica",
        send_seconds=SEND_SECONDS,
        answer_seconds=ANSWER_SECONDS,
    )


async def was_claimed(doubts: Doubts, lease: Lease) -> bool:
    """Whether its holder may send it now."""
    return await claim(doubts, lease) != [None]


def settled(lease: Lease, *rows: TrailRow, observation: str = "settled") -> Verdict:
    return Verdict(lease, rows, is_settled=True, next_seconds=0, observation=observation)


def later(lease: Lease, *rows: TrailRow, seconds: float = 30, observation: str = "later") -> Verdict:
    return Verdict(lease, rows, is_settled=False, next_seconds=seconds, observation=observation)


def ruling(*statuses: OrderStatus, reason: str = "operator:asked", fill: FillByHand | None = None) -> OperatorRuling:
    return OperatorRuling(statuses, reason, Operator("ada", Origin.CLI), "asked the desk", fill)


async def load(doubts: Doubts, order_id: str) -> OrderInDoubt:
    doubt = (await doubts.load([order_id]))[order_id]
    assert isinstance(doubt, OrderInDoubt)
    return doubt


async def doubt_row(database: DatabaseSubject, order_id: str) -> Record:
    return next(row for row in (await database.contents())["doubts"] if row["order_id"] == order_id)


async def read(rows: Rows, order_id: str) -> StoredOrder:
    stored = await rows.read(order_id)
    assert stored is not None
    return stored


async def trail(rows: Rows, order_id: str) -> list[tuple[OrderStatus, str | None, str | None]]:
    stored = await rows.read(order_id)
    return [] if stored is None else [(row.status, row.reason, row.exchange_order_id) for row in stored.rows]


def a_trail(order: Order, *more: TrailRow) -> SpooledTrail:
    """As it is spooled: INITIATED, and what came of it."""
    return SpooledTrail(order, (TrailRow(INITIATED), *more))


def by_id(*orders: Order) -> list[Order]:
    return sorted(orders, key=lambda order: order.id)
