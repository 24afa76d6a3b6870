"""Waiting for what must become true, with a deadline, instead of sleeping for as long as it usually takes."""

import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.02


def until(becomes_true: Callable[[], object], *, timeout_seconds: float = 30) -> None:
    """Ask again and again; an AssertionError if it is still false at the deadline."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_seconds
    while not becomes_true():
        assert time.monotonic() < deadline, "it did not become true in time"
        pause.wait(POLL_SECONDS)
