"""The adapters that the suite is run against."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulated_exchange.capabilities import Profile
from tests.conformance.subjects import Open, Subject, in_process, over_http

ADAPTERS: dict[str, Open] = {"simulated": in_process, "http": over_http}


@pytest.fixture(params=ADAPTERS)
def open_subject(request: pytest.FixtureRequest) -> Open:
    return ADAPTERS[request.param]


@pytest.fixture
async def subject(open_subject: Open, tmp_path: Path) -> AsyncIterator[Subject]:
    async with open_subject(tmp_path, Profile()) as opened:
        yield opened
