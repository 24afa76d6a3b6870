"""Reports are taken for new ones, which costs least; where one was there before, for repeats, some statements long."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from typing_extensions import override

from ordertrail.storage.postgres import execution_statements as statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.executions import STATEMENTS_AFTER_REPEAT, PostgresExecutions
from tests.support.executions import VENUE, frame, report
from tests.support.postgres import execute, fetch

NEW, ANY = (statements.Variant(may_repeat=may_repeat) for may_repeat in (False, True))
WAYS = {"from_memory": statements.APPLY_REPORTS, "from_inbox": statements.APPLY_INBOX}


class RecordingDatabase(Database):
    """Keeps by which variant reports were applied."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=30, connections_max=1)
        self.variants: list[statements.Variant] = []

    @override
    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        self.variants += [each for way in WAYS.values() for each, text in way.items() if text == sql]
        return await super().fetch(sql, *arguments)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[RecordingDatabase]:
    opened = RecordingDatabase(database_url)
    await opened.open()
    yield opened
    await opened.close()


async def apply(executions: PostgresExecutions, way: str, *seqs: int) -> int:
    reports = frame(*(report(seq, client_order_id="order-1") for seq in seqs))
    if way == "from_memory":
        return (await executions.apply_reports([reports])).inserted
    await executions.put_in_inbox(reports, after=None)
    applied = await executions.apply_inbox(VENUE, reports_max=1000)
    assert applied is not None
    return applied.inserted


def place(url: str) -> None:
    for status in ("INITIATED", "COMPLETED"):
        execute(
            url,
            "INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status) "
            f"VALUES ('order-1', now(), 'limit', 'buy', 'AAPL12345678', 150, 1000000, '{status}')",
        )


@pytest.mark.parametrize("way", WAYS)
async def test_a_repeat_is_found_and_its_neighbours_are_rows(
    database: RecordingDatabase, database_url: str, way: str
) -> None:
    place(database_url)
    executions = PostgresExecutions(database)
    assert await apply(executions, way, 1, 2) == 2
    assert database.variants == [NEW]

    assert await apply(executions, way, 2, 3) == 1

    assert database.variants == [NEW, NEW, ANY]
    assert [row["seq"] for row in fetch(database_url, "SELECT seq FROM executions ORDER BY seq")] == [1, 2, 3]
    sums = fetch(database_url, "SELECT sum(q) AS traded FROM position_sums, unnest(quantities) AS q")
    assert sums[0]["traded"] == sum(report(seq)["last_qty"] for seq in (1, 2, 3))
    assert fetch(database_url, "SELECT 1 FROM execution_inbox") == []


async def test_after_a_repeat_more_are_expected_for_a_while(database: RecordingDatabase, database_url: str) -> None:
    place(database_url)
    executions = PostgresExecutions(database)
    await apply(executions, "from_memory", 1)
    await apply(executions, "from_memory", 1)
    database.variants.clear()

    for seq in range(2, STATEMENTS_AFTER_REPEAT + 3):
        await apply(executions, "from_memory", seq)

    assert database.variants == [*[ANY] * STATEMENTS_AFTER_REPEAT, NEW]


async def test_what_is_twice_in_one_frame_is_no_repeat(database: RecordingDatabase, database_url: str) -> None:
    place(database_url)

    assert await apply(PostgresExecutions(database), "from_memory", 1, 1, 2) == 2

    assert database.variants == [NEW]
