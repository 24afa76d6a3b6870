"""What every test may ask for."""

import signal
from collections.abc import Iterator

import pytest

from ordertrail.runtime.telemetry.log_writer import flush_all
from tests.support.counts import counted, pytest_terminal_summary
from tests.support.postgres import (
    database_url,
    empty_database_url,
    migrated_template,
    own_postgres,
    postgres_16,
    postgres_16_url,
    postgres_server,
)

__all__ = [
    "counted",
    "database_url",
    "empty_database_url",
    "migrated_template",
    "own_postgres",
    "postgres_16",
    "postgres_16_url",
    "postgres_server",
    "pytest_terminal_summary",
]

# What a shell script starts in the background ignores Ctrl-C, and so would all that is started here: tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def logged_where_it_belongs() -> Iterator[None]:
    """What a test has logged is written before pytest stops to capture its output."""
    yield
    # One that leaves a sink which takes nothing would cost every test after it the whole timeout.
    assert flush_all(30), "a log is left that nobody takes"
