"""The event log of a simulation's database: what each statement has written, in the order in which it was committed.

A transaction is over as soon as it begins here, so that a row can be read at once; that PostgreSQL shows no row too
early is for the tests on PostgreSQL to show.
"""

from dataclasses import dataclass, field
from typing import Any

from ordertrail.domain.trail import OrderStatus

Record = dict[str, Any]

_RANK = {status.value: rank for rank, status in enumerate(OrderStatus)}


@dataclass(slots=True)
class LogTables:
    """`rows`: the log. `trail_rows` and `executions`: what the statement that runs now has written so far.

    `is_initiated_first`: it names the new orders before those that it completes.
    """

    rows: list[Record] = field(default_factory=list)
    trail_rows: list[tuple[str, str]] = field(default_factory=list)
    executions: list[tuple[str, int, str]] = field(default_factory=list)
    is_initiated_first: bool = False

    def begin(self) -> None:
        """A statement begins, whatever became of the one before it."""
        self.is_initiated_first = False
        self.trail_rows.clear()
        self.executions.clear()

    def end(self) -> None:
        """The statement is over: what it has written is one row of the log."""
        trail = sorted(self.trail_rows, key=lambda row: (row[0], _RANK[row[1]]))
        if self.is_initiated_first:
            trail.sort(key=lambda row: _RANK[row[1]])
        executions = sorted(self.executions)
        if not trail and not executions:
            return
        number = len(self.rows) + 1
        self.rows.append(
            {
                "txid": number,
                "id": number,
                "nonce": 1000 + number,
                "count": len(trail) + len(executions),
                "order_ids": [order_id for order_id, _ in trail] or None,
                "statuses": [status for _, status in trail] or None,
                "session": executions[0][1] if executions else None,
                "execution_order_ids": [order_id for order_id, _, _ in executions] or None,
                "exec_ids": [exec_id for _, _, exec_id in executions] or None,
            }
        )
