"""What is logged here is heard, whatever another test of this process has made of the log."""

import sys
from collections.abc import Iterator

import pytest
import structlog

from ordertrail.runtime.telemetry.logs import get_logger


@pytest.fixture(autouse=True)
def logs_are_heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A logger that was used once keeps for ever to what the log was then: each module has a new one."""
    before = structlog.get_config()
    structlog.reset_defaults()
    for name, module in list(sys.modules.items()):
        if name.startswith("ordertrail.executions.") and hasattr(module, "_log"):
            monkeypatch.setattr(module, "_log", get_logger())
    yield
    structlog.configure(**before)
