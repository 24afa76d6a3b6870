"""The journal's writes: each batch becomes one operation on the rows, and a bug of ours a lost answer."""

from collections.abc import Sequence
from typing import NoReturn

from ordertrail.domain.order import Order
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.order_rows import KeyTaken, NeverSent, NewTrailRow, Recorded, Rows, SentLater

_log = get_logger()


class TrailWriter:
    """Writes batches of rows, each in one commit; raises StatementFailed, StatementOutcomeUnknown and nothing else."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def write_placing(
        self, orders: Sequence[Order], completed: Sequence[NewTrailRow]
    ) -> tuple[Sequence[Recorded | KeyTaken], Sequence[bool]]:
        """INITIATED of new orders and COMPLETED of others; one of the two may be empty."""
        try:
            if not completed:
                return await self._rows.insert_initiated(orders), ()
            if not orders:
                return (), await self._rows.insert_trail_rows(completed)
            return await self._rows.insert_initiated_and_completed(orders, completed)
        except Exception as error:  # noqa: BLE001 - it raises
            raise_unexpected_error_as_lost(error)

    async def write_queued(self, orders: Sequence[Order]) -> Sequence[Recorded | KeyTaken]:
        """INITIATED of orders that are queued."""
        try:
            return await self._rows.insert_queued(orders)
        except Exception as error:  # noqa: BLE001 - it raises
            raise_unexpected_error_as_lost(error)

    async def write_steps(self, rows: Sequence[NewTrailRow]) -> Sequence[bool]:
        """Rows that say why."""
        try:
            return await self._rows.insert_trail_rows(rows)
        except Exception as error:  # noqa: BLE001 - it raises
            raise_unexpected_error_as_lost(error)

    async def write_never_sent(self, orders: Sequence[Order]) -> Sequence[NeverSent | SentLater | KeyTaken]:
        """INITIATED and the row that says the order was never sent."""
        try:
            return await self._rows.insert_never_sent(orders)
        except Exception as error:  # noqa: BLE001 - it raises
            raise_unexpected_error_as_lost(error)


def raise_unexpected_error_as_lost(error: Exception) -> NoReturn:
    """Anything but the database's two errors is taken for a lost answer: a bug of ours must not lose a trail."""
    if isinstance(error, StatementFailed | StatementOutcomeUnknown):
        raise error
    metrics.INVARIANTS_BROKEN.labels("write_raised").inc()
    _log.exception("writing rows raised")
    raise StatementOutcomeUnknown(f"{type(error).__name__}: {error}", may_have_happened=True) from error
