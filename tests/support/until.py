"""Waiting for what must become true, with a deadline, instead of sleeping for as long as it usually takes."""

import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.02


def until(becomes_true: Callable[[], object], *, timeout_seconds: float = 30, what: str = "it became true") -> None:
    """Look again and again; an AssertionError that says `what` if it is still false at the deadline."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_seconds
    while not becomes_true():
        assert time.monotonic() < deadline, f"not in time: {what}"
        pause.wait(POLL_SECONDS)
