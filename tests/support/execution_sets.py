"""Sets of executions as no exchange would send them, and their rows."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ordertrail.domain.execution import TERMINAL_ORD_STATUSES, TRADE, TRADE_CANCEL, TRADE_CORRECT, Execution

START = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
EPOCHS = {(1, "first"): 1, (1, "second"): 2, (2, "third"): 3}
"""(session, epoch) → rank."""

INSERT_EPOCHS = """
INSERT INTO execution_epochs (venue, epoch, rank, session) OVERRIDING SYSTEM VALUE
SELECT 'venue', epoch, rank, session FROM unnest($1::varchar[], $2::integer[], $3::integer[]) AS t(epoch, rank, session)
"""

INSERT_EXECUTION = """
INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                        last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
"""

# What the statement that inserts executions does in its own transaction, each of one.
INSERT_REVISION = """
INSERT INTO position_revisions (order_id, session, exec_id, exec_ref_id)
SELECT order_id, session, exec_id, exec_ref_id FROM executions
 WHERE order_id = $1 AND session = $2 AND exec_id = $3 AND exec_ref_id IS NOT NULL AND exec_type <> 'trade'
"""

INSERT_POSITION_SUM = """
INSERT INTO position_sums (instruments, sides, quantities, notionals)
SELECT ARRAY[o.instrument], ARRAY[o.side], ARRAY[e.last_qty], ARRAY[e.last_qty * e.last_px]
  FROM executions e JOIN orders o ON o.id = e.order_id AND o.status = 'INITIATED'
 WHERE e.order_id = $1 AND e.session = $2 AND e.exec_id = $3 AND e.exec_type = 'trade'
"""


def execution(exec_id: str, exec_type: str = TRADE, *, seq: int | None = 1, **fields: Any) -> Execution:
    """One row; what is not named is as in a plain trade of 10 at 150.25."""
    values: dict[str, Any] = {
        "order_id": "order",
        "session": 1,
        "epoch": "first",
        "epoch_rank": 1,
        "ord_status": "partially_filled",
        "exchange_order_id": "X-1",
        "last_qty": 10,
        "last_px": Decimal("150.25"),
        "cum_qty": 10,
        "leaves_qty": 90,
        "avg_px": Decimal("150.25"),
        "exec_ref_id": None,
        "reject_reason": None,
        "transact_time": START,
    }
    return Execution(exec_id=exec_id, exec_type=exec_type, seq=seq, **(values | fields))


def random_executions(chance: random.Random, order_id: str, *, count: int) -> list[Execution]:
    """Trades, busts of busts, corrections, references to anything and to nothing, circles, ties of every kind."""
    ids = [f"E{number}" for number in range(count)]
    rows = {}
    for exec_id in chance.sample(ids, k=count):
        session, epoch = chance.choice(list(EPOCHS))
        kind = chance.choices((TRADE, TRADE_CANCEL, TRADE_CORRECT, "new", "canceled"), (6, 2, 3, 1, 1))[0]
        refers = kind in {TRADE_CANCEL, TRADE_CORRECT} or chance.random() < 0.1
        ref = chance.choice((*ids, "absent")) if refers and chance.random() < 0.95 else None
        moves = kind in {TRADE, TRADE_CORRECT} or chance.random() < 0.2
        price = Decimal(chance.choice((0, 1, 3, 15025, 999_999_999_999_999, 12345678901234567))).scaleb(
            chance.choice((-2, -8, -12, 0))
        )
        rows[session, exec_id] = execution(
            exec_id,
            kind,
            order_id=order_id,
            session=session,
            epoch=epoch,
            epoch_rank=EPOCHS[session, epoch],
            seq=chance.choice((None, chance.randrange(1, 2 * count + 2), chance.randrange(1, 3))),
            ord_status=chance.choice(("new", "partially_filled", "suspended", *sorted(TERMINAL_ORD_STATUSES))),
            last_qty=chance.choice((1, 2, 3, 7, 100, 10**15)) if moves else 0,
            last_px=price if moves else None,
            cum_qty=chance.choice((0, 1, 7, 10)),
            exec_ref_id=ref,
            transact_time=START + timedelta(seconds=chance.randrange(3)),
        )
    return list(rows.values())


def row_of(execution: Execution) -> Sequence[object]:
    """The arguments of INSERT_EXECUTION."""
    return (
        execution.order_id,
        execution.session,
        execution.exec_id,
        execution.epoch,
        execution.seq,
        execution.exec_type,
        execution.ord_status,
        execution.exchange_order_id,
        execution.last_qty,
        execution.last_px,
        execution.cum_qty,
        execution.leaves_qty,
        execution.avg_px,
        execution.exec_ref_id,
        execution.reject_reason,
        execution.transact_time,
    )
