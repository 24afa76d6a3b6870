"""The reads of executions as the API needs them; PostgreSQL implements them. They never write."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from ordertrail.domain.execution import Execution, Position
from ordertrail.domain.stored_order import ExecutedOrder

NEWEST_EXECUTIONS_MAX = 100
"""So many come with their order."""


@dataclass(frozen=True, slots=True)
class InstrumentPosition:
    """What was bought and sold of an instrument; an average is None where nothing was."""

    instrument: str
    buy_qty: int
    buy_avg_px: Decimal | None
    sell_qty: int
    sell_avg_px: Decimal | None

    @property
    def net_qty(self) -> int:
        """Above 0: more was bought than sold."""
        return self.buy_qty - self.sell_qty


@dataclass(frozen=True, slots=True)
class Positions:
    """By instrument; `as_of`: when the newest execution that was counted was recorded, None: there is none."""

    positions: tuple[InstrumentPosition, ...]
    as_of: datetime | None


class ExecutionReads(Protocol):
    """Each call sees one moment of the database. Errors are `StatementFailed` and `StatementOutcomeUnknown`."""

    async def order(self, order_id: str) -> ExecutedOrder | None:
        """One order with its trail and what was executed of it; None where there is none, whatever the text is."""
        ...

    async def executions(self, order_id: str, *, limit: int, after: Position | None) -> list[Execution] | None:
        """Up to `limit` executions of an order after a position, oldest first; None: there is no such order."""
        ...

    async def positions(self, *, limit: int, after: str) -> Positions:
        """Up to `limit` positions of instruments after this one, which is "" before the first."""
        ...
