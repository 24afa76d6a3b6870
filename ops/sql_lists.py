"""The shapes of the statement that lists orders, each with all that filters may add to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ordertrail.domain.order import Side
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.storage.order_reads import OrderFilter
from ordertrail.storage.postgres.reads import list_statement


@dataclass(frozen=True, slots=True)
class ListShape:
    """One of the forms that the statement of a list has: `base` is what makes it so, `extra` what may come to it."""

    title: str
    base: OrderFilter
    extra: Mapping[str, object]

    def lines(self) -> Iterator[tuple[str, bool]]:
        """The statement with all that may come to it: each line, and whether it is always there."""
        base, _ = list_statement(self.base, limit=1, before_id=None)
        whole, _ = list_statement(replace(self.base, **self.extra), limit=1, before_id="id")  # type: ignore[arg-type] # by name
        always = base.strip("\n").splitlines()
        for line in whole.strip("\n").splitlines():
            is_always = bool(always) and line == always[0]
            if is_always:
                always.pop(0)
            yield line, is_always
        assert not always, f"{self.title}: a filter changes more than its own line"


_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_ANY: Mapping[str, object] = {
    "instrument": "AAPL12345678",
    "side": Side.BUY,
    "created_after": _SOME_TIME,
    "created_before": _SOME_TIME,
}
_COMPLETED, _FAILURE, _EXPIRED = OrderStatus.COMPLETED, OrderStatus.EXCHANGE_CREATION_FAILED, OrderStatus.EXPIRED
_WITH_KEY = OrderFilter(client_order_id="key")

LIST_SHAPES = (
    ListShape("All orders.", OrderFilter(), _ANY),
    ListShape("The order of a key, $2.", _WITH_KEY, _ANY),
    ListShape(
        "The order of a key, $2, if its present status is the wanted one; `outcome` may come to it.",
        replace(_WITH_KEY, statuses=(_COMPLETED,)),
        {**_ANY, "outcome": Outcome.PLACED},
    ),
    ListShape(
        "The order of a key, $2, if its outcome is the wanted one.", replace(_WITH_KEY, outcome=Outcome.PLACED), _ANY
    ),
    ListShape(
        "By a status that most orders have had: trails are read until there are enough, or so many rows were read.",
        OrderFilter(statuses=(_COMPLETED,)),
        _ANY,
    ),
    ListShape(
        "By such a status, and by outcome.",
        OrderFilter(statuses=(_COMPLETED,), outcome=Outcome.PLACED),
        _ANY,
    ),
    ListShape("By another end than FILLED, off the index orders_ended.", OrderFilter(statuses=(_EXPIRED,)), _ANY),
    ListShape(
        "By such an end, and by outcome, off the same index.",
        OrderFilter(statuses=(_EXPIRED,), outcome=Outcome.PLACED),
        _ANY,
    ),
    ListShape("By the status of a failure, off the index orders_failed.", OrderFilter(statuses=(_FAILURE,)), _ANY),
    ListShape(
        "By such a status, and by outcome, off the same index.",
        OrderFilter(statuses=(_FAILURE,), outcome=Outcome.NOT_PLACED),
        _ANY,
    ),
    ListShape("By the outcome not_placed, off the index orders_failed.", OrderFilter(outcome=Outcome.NOT_PLACED), _ANY),
    ListShape(
        "By the outcome pending, off the same index and the queue of orders.",
        OrderFilter(outcome=Outcome.PENDING),
        _ANY,
    ),
    ListShape("By the outcome placed.", OrderFilter(outcome=Outcome.PLACED), _ANY),
    ListShape("By the outcome unknown.", OrderFilter(outcome=Outcome.UNKNOWN), _ANY),
)
