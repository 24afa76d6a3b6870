"""A service with an exchange whose every answer the test decides."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ordertrail.runtime import failpoints
from tests.support.service import Running, ScriptedVenue, running


@pytest.fixture
def venue() -> ScriptedVenue:
    return ScriptedVenue()


@pytest.fixture
async def service(database_url: str, tmp_path: Path, venue: ScriptedVenue) -> AsyncIterator[Running]:
    async with running(database_url, tmp_path, venue) as service:
        yield service


@pytest.fixture(autouse=True)
def _inert_failpoints() -> Iterator[None]:
    yield
    failpoints.disarm()
