"""Which processes of the API feed and process execution reports by themselves."""

import pytest

from ordertrail.runtime.settings import Settings
from ordertrail.server.asgi import takes_in_executions


@pytest.mark.parametrize(
    ("exchange_url", "is_bare", "expected"),
    [
        (None, True, True),
        ("simulated:", True, True),
        ("simulated:", False, True),
        ("http://exchange:9000", True, True),
        ("http://exchange:9000", False, False),
        ("in_memory:?latency_ms=5", True, False),
        ("in_memory:", False, False),
    ],
)
def test_a_bare_server_does_and_where_the_exchange_is_in_the_process(
    exchange_url: str | None, *, is_bare: bool, expected: bool
) -> None:
    settings = Settings(_env_file=None, exchange_url=exchange_url)

    assert takes_in_executions(settings, is_bare=is_bare) is expected


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("is_bare", [True, False])
def test_a_setting_has_the_last_word(*, wanted: bool, is_bare: bool) -> None:
    for url in (None, "http://exchange:9000", "in_memory:"):
        settings = Settings(_env_file=None, exchange_url=url, executions_in_api=wanted)

        assert takes_in_executions(settings, is_bare=is_bare) is wanted
