"""What becomes of the driver's errors, also of those that are none of its documented ones."""

from typing import Any

import asyncpg
import pytest

from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.postgres.database import Database


class GoneWhileConnecting:
    """A pool whose new connections are cut while they are being prepared."""

    async def acquire(self) -> Any:
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")


async def test_server_that_goes_away_while_we_connect_has_done_nothing() -> None:
    database = Database("postgresql://nowhere", timeout_seconds=1, connections_max=1)
    database._pool = GoneWhileConnecting()  # type: ignore[assignment]

    with pytest.raises(StatementOutcomeUnknown) as caught:
        await database.fetch("SELECT 1")

    assert not caught.value.may_have_happened
