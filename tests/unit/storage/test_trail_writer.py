"""What becomes of an error under the journal's writes: the database's two pass, any other is a lost answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from ordertrail.domain.trail import OrderStatus
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.order_rows import NewTrailRow, Rows
from ordertrail.storage.trail_writer import TrailWriter
from tests.support.orders import an_order

ORDER = an_order()
ROW = NewTrailRow(ORDER.id, OrderStatus.COMPLETED, None, "x-1")
# Each write, by the operation that it becomes.
WRITES: dict[str, Callable[[TrailWriter], Awaitable[Any]]] = {
    "insert_initiated": lambda writer: writer.write_placing([ORDER], []),
    "insert_initiated_and_completed": lambda writer: writer.write_placing([ORDER], [ROW]),
    "insert_trail_rows": lambda writer: writer.write_placing([], [ROW]),
    "insert_trail_rows alone": lambda writer: writer.write_steps([ROW]),
    "insert_never_sent": lambda writer: writer.write_never_sent([ORDER]),
}


class Failing:
    """Every operation raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def fail(*of: object) -> Any:
            self.called.append(name)
            raise self.error

        return fail


def broken_invariants() -> float:
    return REGISTRY.get_sample_value("ordertrail_invariants_broken_total", {"name": "write_raised"}) or 0


@pytest.mark.parametrize("write", WRITES)
async def test_bug_is_a_lost_answer_and_counted(write: str) -> None:
    rows, before = Failing(KeyError("a bug")), broken_invariants()

    with pytest.raises(StatementOutcomeUnknown, match="KeyError: 'a bug'") as caught:
        await WRITES[write](TrailWriter(cast("Rows", rows)))

    assert caught.value.may_have_happened
    assert caught.value.__cause__ is rows.error
    assert rows.called == [write.partition(" ")[0]]
    assert broken_invariants() == before + 1


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "error",
    [
        StatementFailed("23514", "a bad row"),
        StatementOutcomeUnknown("connection lost", may_have_happened=False),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_database_says_and_a_cancel_pass_as_they_are(write: str, error: BaseException) -> None:
    before = broken_invariants()

    with pytest.raises(type(error)) as caught:
        await WRITES[write](TrailWriter(cast("Rows", Failing(error))))

    assert caught.value is error
    assert broken_invariants() == before
