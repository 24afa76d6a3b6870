"""The tables of a simulation's database, and how rows of them are made and read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

from ordertrail.domain.trail import OrderStatus
from tests.simulation.execution_tables import ExecutionTables
from tests.simulation.log_tables import LogTables

Record = dict[str, Any]

RANK = {status.value: rank for rank, status in enumerate(OrderStatus)}
PLACED = RANK[OrderStatus.COMPLETED]
NOT_PLACED = RANK[OrderStatus.NOT_PLACED]
UNRESOLVED = RANK[OrderStatus.UNRESOLVED]
OPTIONAL_COLUMNS = (
    "reason", "exchange_order_id", "client_order_id", "place_by", "send_by", "accept_by", "recorded_at", "start_by",
)  # fmt: skip
ORDER_COLUMNS = ("id", "type", "side", "instrument", "limit_price", "quantity")


@dataclass(slots=True)
class DoubtRecord:
    since: datetime
    next_at: datetime
    leased_until: datetime | None = None
    fence: int = 0
    tries: int = 0
    last_seen: str | None = None
    settled_at: datetime | None = None


@dataclass(slots=True)
class Attempt:
    fence: int
    claimed_by: str
    claimed_at: datetime
    send_by: datetime
    accept_by: datetime
    moment: int


@dataclass(slots=True)
class Tables:
    """Everything that is committed. `orders`: by id, then by status."""

    orders: dict[str, dict[str, Record]] = field(default_factory=dict)
    reports: ExecutionTables = field(default_factory=ExecutionTables)
    log: LogTables = field(default_factory=LogTables)
    keys: dict[str, str] = field(default_factory=dict)
    # By order id: instrument, since when, until when its first send may start.
    queue: dict[str, tuple[str, datetime, datetime]] = field(default_factory=dict)
    queue_sums: list[int] = field(default_factory=list)
    batches: dict[int, tuple[datetime, list[str]]] = field(default_factory=dict)
    attempts: dict[str, dict[int, Attempt]] = field(default_factory=dict)
    answers: dict[tuple[str, int], tuple[str, str | None, str | None]] = field(default_factory=dict)
    doubts: dict[str, DoubtRecord] = field(default_factory=dict)
    cancels: dict[str, datetime] = field(default_factory=dict)
    sightings: dict[str, str] = field(default_factory=dict)
    orphans: dict[tuple[str, str, str, str], Record] = field(default_factory=dict)
    parked: dict[bytes, Record] = field(default_factory=dict)
    parked_ids: Iterator[int] = field(default_factory=lambda: count(1))
    sweeps: dict[str, tuple[str, int, datetime | None]] = field(default_factory=dict)
    epochs: dict[tuple[str, str], datetime] = field(default_factory=dict)
    turns: list[Record] = field(default_factory=list)
    # What operators did beside turning the switch.
    actions: list[Record] = field(default_factory=list)
    batch_ids: Iterator[int] = field(default_factory=lambda: count(1))
    # In which order these were committed, for the clocks that they read say nothing of that.
    moments: Iterator[int] = field(default_factory=lambda: count(1))
    canceled_at_moment: dict[str, int] = field(default_factory=dict)
    initiated_at_moment: dict[str, int] = field(default_factory=dict)
    # How many statements have run, and which of them has written a row: two of one moment are told apart by it alone.
    statements: int = 0
    written_by: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def is_halted(self) -> bool:
        """How the operator's switch was turned last."""
        return bool(self.turns) and bool(self.turns[-1]["action"] == "halt")


def plain(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def insert_row(tables: Tables, row: Record) -> bool:
    """ON CONFLICT DO NOTHING."""
    rows = tables.orders.setdefault(row["id"], {})
    status = str(row["status"])
    if status in rows:
        return False
    nothing = dict.fromkeys(OPTIONAL_COLUMNS)
    rows[status] = {**nothing, **row, "status": status}
    tables.written_by[row["id"], status] = tables.statements
    tables.log.trail_rows.append((row["id"], status))
    return True


def reopen_doubt(tables: Tables, now: datetime, order_id: str, *, fence: int = 0) -> None:
    doubt = tables.doubts.get(order_id)
    if doubt is None:
        tables.doubts[order_id] = DoubtRecord(now, now, fence=fence)
        return
    doubt.fence += 1
    doubt.settled_at = doubt.leased_until = None
    doubt.next_at = now
    doubt.tries = 0


def was_accepted(tables: Tables, order_id: str) -> bool:
    rows = tables.orders.get(order_id, {})
    answers = [tables.answers.get((order_id, number), ("",))[0] for number in tables.attempts.get(order_id, ())]
    return (
        order_id in tables.sightings
        or "accepted" in answers
        or any(
            RANK[status] >= PLACED or (RANK[status] < UNRESOLVED and row["reason"] == "accepted")
            for status, row in rows.items()
        )
    )


def reports_of(tables: Tables, order_id: str) -> list[Record]:
    """Its execution reports, the latest last, as `Execution.position` has them."""
    ranks = {key: rank for rank, key in enumerate(tables.reports.epochs)}
    # Which venue it is only its session says; here there is one.
    rank_of = {epoch: rank for (_, epoch), rank in ranks.items()}
    return sorted(
        tables.reports.executions.get(order_id, {}).values(),
        key=lambda row: (
            rank_of[row["epoch"]],
            -1 if row["seq"] is None else row["seq"],
            row["transact_time"],
            row["session"],
            row["exec_id"],
        ),
    )
