"""What becomes of the driver's errors, also of those that are none of its documented ones."""

import math
from typing import Any

import asyncpg
import pytest

from ordertrail.storage.errors import StatementOutcomeUnknown
from ordertrail.storage.postgres.database import Database


def in_the_middle() -> Exception:
    return asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")


class GoneWhileConnecting:
    """A pool whose new connections are cut while they are being prepared."""

    async def acquire(self) -> Any:
        raise in_the_middle()


class GoneAfterAnAnswer:
    """A pool with one connection, whose server answers and goes away; it is let go, and ended, with an error."""

    def __init__(self) -> None:
        self.is_terminated = False

    async def acquire(self) -> "GoneAfterAnAnswer":
        return self

    async def fetch(self, _sql: str) -> Any:
        return [1]

    left_at = math.inf

    def leave(self, _at: float) -> None: ...

    def is_closed(self) -> bool:
        return False

    async def release(self, _connection: object) -> None:
        raise in_the_middle()

    async def close(self) -> None:
        raise in_the_middle()

    def terminate(self) -> None:
        self.is_terminated = True


async def test_server_that_goes_away_while_we_connect_has_done_nothing() -> None:
    database = Database("postgresql://nowhere", timeout_seconds=1, connections_max=1)
    database._pool = GoneWhileConnecting()  # type: ignore[assignment]  # in the place of the driver's

    with pytest.raises(StatementOutcomeUnknown) as caught:
        await database.fetch("SELECT 1")

    assert not caught.value.may_have_happened


async def test_what_was_answered_stays_an_answer_however_its_connection_ends() -> None:
    database = Database("postgresql://nowhere", timeout_seconds=1, connections_max=1)
    database._pool = GoneAfterAnAnswer()  # type: ignore[assignment]  # in the place of the driver's
    database._wanted = 1  # somebody else waits for a connection, so that it is let go at once

    assert len(await database.fetch("SELECT 1")) == 1


async def test_pool_whose_server_goes_away_is_ended_all_the_same() -> None:
    database = Database("postgresql://nowhere", timeout_seconds=1, connections_max=1)
    database._pool = pool = GoneAfterAnAnswer()  # type: ignore[assignment]  # in the place of the driver's
    await database.fetch("SELECT 1")

    await database.close()

    assert pool.is_terminated
