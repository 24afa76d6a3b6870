"""Whether a new order is taken: one that could not be carried to its end is shed before anything is recorded."""

from enum import Enum, auto

from ordertrail.storage.journal import Journal
from ordertrail.storage.spool import Spool
from ordertrail.venues.gate.gate import Gate


class Shed(Enum):
    """Why a new order is not taken."""

    OVERLOADED = auto()  # as many orders are being placed, or rows wait for a commit, as may be
    SPOOL_FULL = auto()  # should the database go away, a failure could not be recorded
    HALTED = auto()  # the operator wants nothing to be placed
    QUEUE_FULL = auto()  # as many orders wait in the queue as may


class Admission:
    """Checks what a new order would need, in memory alone."""

    def __init__(self, journal: Journal, spool: Spool, gate: Gate, *, orders_in_flight_max: int) -> None:
        self._journal = journal
        self._spool = spool
        self._gate = gate
        self._orders_in_flight_max = orders_in_flight_max

    def shed(self, orders_in_flight: int) -> Shed | None:
        """Why a new order is not taken beside so many that are being placed; None: it is."""
        if self._journal.is_full or orders_in_flight >= self._orders_in_flight_max:
            return Shed.OVERLOADED
        if not self._spool.has_room(orders_in_flight=orders_in_flight):
            return Shed.SPOOL_FULL
        return Shed.HALTED if self._gate.is_halted else None
