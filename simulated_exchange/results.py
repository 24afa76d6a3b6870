"""What may come of a call, as values; both doors, HTTP and the one in the same process, map them all."""

from typing import Literal, TypeAlias

import msgspec

from simulated_exchange.orders import OrdStatus
from simulated_exchange.wire import OrderView, ReportView

NotExecutedScope: TypeAlias = Literal["instrument", "all"]


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The order is at the exchange; `ord_status` is what became of it at once."""

    exchange_order_id: str
    client_order_id: str
    ord_status: OrdStatus
    transacted_at_us: int


class Duplicate(msgspec.Struct, frozen=True):
    """The id is taken, by `order`; nothing was done."""

    order: OrderView


class Rejected(msgspec.Struct, frozen=True):
    """Refused: proof that this send did not and will not place the order."""

    reject_reason: str
    text: str


class Throttled(msgspec.Struct, frozen=True):
    """Proof that nothing was executed: too many requests. `scope`: of what it speaks, where it says so."""

    retry_after_seconds: int
    scope: NotExecutedScope | None = None


class Closed(msgspec.Struct, frozen=True):
    """Proof that nothing was executed: the exchange takes no orders now. `scope`: as above."""

    scope: NotExecutedScope | None = None


class ServerError(msgspec.Struct, frozen=True):
    """An answer that proves nothing; the order may have been accepted."""


class Unreadable(msgspec.Struct, frozen=True):
    """An answer of success that cannot be read; it proves nothing."""


class Silence(msgspec.Struct, frozen=True):
    """No answer will ever come; a caller waits until its own deadline."""


class ConnectionReset(msgspec.Struct, frozen=True):
    """The connection broke before an answer."""


class Canceled(msgspec.Struct, frozen=True):
    """The order was open and is canceled."""

    order: OrderView


class CancelPending(msgspec.Struct, frozen=True):
    """The order is open and will be canceled, if nothing else ends it first."""

    order: OrderView


class TooLate(msgspec.Struct, frozen=True):
    """There was nothing left to cancel; or the cancel was refused on purpose, and the order is open as it says."""

    order: OrderView


class Occurred(msgspec.Struct, frozen=True):
    """What was asked for has happened, and these reports came of it."""

    epoch: str
    head: int
    executions: tuple[ReportView, ...]


class UnknownExecution(msgspec.Struct, frozen=True):
    """No report with this id is kept."""


class CannotOccur(msgspec.Struct, frozen=True):
    """It cannot happen as things are; a word for machines and a sentence for people."""

    error: str
    text: str


class UnknownOrder(msgspec.Struct, frozen=True):
    """The exchange shows no such order."""


class Executions(msgspec.Struct, frozen=True):
    """Execution reports after a position, in order; `head` is the newest there is."""

    epoch: str
    executions: tuple[ReportView, ...]
    head: int


class ExecutionsRaw(msgspec.Struct, frozen=True):
    """The same as bytes: `reports` is a JSON array of `count` reports, those with `seq` from `after` + 1 on."""

    epoch: str
    head: int
    after: int
    count: int
    reports: bytes

    def document(self) -> bytes:
        """As HTTP shows it."""
        return b'{"epoch":"%s","executions":%s,"head":%d}' % (self.epoch.encode(), self.reports, self.head)


class OtherEpoch(msgspec.Struct, frozen=True):
    """The epoch that was named is not the exchange's, which is this one; `head` is the newest `seq` there."""

    epoch: str
    head: int


class Compacted(msgspec.Struct, frozen=True):
    """Not all of the reports that were wanted are kept; the oldest that is has the `seq` `oldest`."""

    oldest: int


class OpenOrders(msgspec.Struct, frozen=True):
    """All open orders as of a time (RFC 3339, the exchange's clock)."""

    orders: tuple[OrderView, ...]
    as_of: str


Decision: TypeAlias = Accepted | Duplicate | Rejected
PlaceResult: TypeAlias = Decision | Throttled | Closed | ServerError | Unreadable | Silence | ConnectionReset
QueryResult: TypeAlias = OrderView | UnknownOrder | ServerError
CancelDecision: TypeAlias = Canceled | TooLate | UnknownOrder
CancelResult: TypeAlias = CancelDecision | CancelPending | ServerError | Silence
OccurrenceResult: TypeAlias = Occurred | UnknownExecution | UnknownOrder | CannotOccur
