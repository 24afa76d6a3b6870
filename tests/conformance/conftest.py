"""The adapters and the databases that the suites are run against."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ordertrail.storage.order_rows import Rows
from simulated_exchange.capabilities import Profile
from tests.conformance.databases import DatabaseSubject, Doubts, postgres, simulated
from tests.conformance.subjects import Open, Subject, in_process, over_http, over_http_compacted, over_simulated_wire

ADAPTERS: dict[str, Open] = {
    "simulated": in_process,
    "http": over_http,
    "http-compacted": over_http_compacted,
    "simulation": over_simulated_wire,
}


@pytest.fixture(params=ADAPTERS)
def open_subject(request: pytest.FixtureRequest) -> Open:
    return ADAPTERS[request.param]


@pytest.fixture
async def subject(open_subject: Open, tmp_path: Path) -> AsyncIterator[Subject]:
    async with open_subject(tmp_path, Profile()) as opened:
        yield opened


@pytest.fixture(params=["postgres", "simulated"])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[DatabaseSubject]:
    # Asked for by name, so that the simulated one does not wait for a server.
    is_real = request.param == "postgres"
    async with postgres(request.getfixturevalue("database_url")) if is_real else simulated() as opened:
        yield opened


@pytest.fixture
def rows(database: DatabaseSubject) -> Rows:
    return database.rows()


@pytest.fixture
def doubts(database: DatabaseSubject) -> Doubts:
    return database.doubts
