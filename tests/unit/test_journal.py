"""What the journal does with what the spool has kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from ordertrail.clock import SystemClock
from ordertrail.domain.errors import DatabaseAnswered, DatabaseLost, OrdertrailError
from ordertrail.journal import Journal
from ordertrail.rows import Rows, SpooledTrail
from ordertrail.shared_commits import Limits
from ordertrail.spool import Spool
from tests.unit.test_spool import trail

# ruff: noqa: ASYNC240 - nothing else runs in these event loops


class Table:
    """Takes trails, but `refuses` those that it names, with an error of the test's."""

    def __init__(self, error: OrdertrailError, *refuses: str) -> None:
        self.error: OrdertrailError | None = error
        self.refuses = set(refuses)
        self.taken: list[str] = []

    async def replay(self, trails: Sequence[SpooledTrail]) -> None:
        ids = [each.order.id for each in trails]
        if self.error is not None and self.refuses & set(ids):
            raise self.error
        self.taken += ids

    def __getattr__(self, name: str) -> Any:
        return lambda *_: pytest.fail(f"{name} was called")


async def journal_of(folder: Path, table: Table) -> Journal:
    spool = Spool(folder, bytes_max=1_000_000)
    await spool.open()
    await spool.append([trail("a"), trail("poison"), trail("b")])
    limits = Limits(rows_max=10, queue_max=10, timeout_seconds=1)
    return Journal(cast("Rows", table), spool, SystemClock(), limits)


@pytest.mark.parametrize("code", ["22021", "23514"])
async def test_trail_that_will_never_be_taken_is_set_aside(tmp_path: Path, code: str) -> None:
    table = Table(DatabaseAnswered(code, "refused"), "poison")
    journal = await journal_of(tmp_path, table)

    assert await journal.replay() == 3

    assert table.taken == ["a", "b"]
    assert len(list(tmp_path.glob("*.refused"))) == 1


PASSING: list[Any] = [
    DatabaseAnswered("40P01", "deadlock detected"),
    DatabaseAnswered("25006", "cannot execute INSERT in a read-only transaction"),
    DatabaseAnswered("53200", "out of memory"),
    DatabaseAnswered("55P03", "lock not available"),
    DatabaseLost("gone", may_have_happened=True),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
async def test_trail_that_cannot_be_taken_now_is_kept(tmp_path: Path, error: OrdertrailError) -> None:
    table = Table(error, "poison")
    journal = await journal_of(tmp_path, table)

    with pytest.raises(type(error)):
        await journal.replay()
    assert not list(tmp_path.glob("*.refused"))

    table.error = None
    assert await journal.replay() == 3
    assert table.taken == ["a", "poison", "b"]
