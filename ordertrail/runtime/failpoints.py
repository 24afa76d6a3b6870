"""Named places between two steps where a test may end, stop or break the process; inert in production.

`ORDERTRAIL_FAILPOINTS=after_initiated=kill:3,before_completed=stop` kills the process the third time it passes
`after_initiated`. Actions: kill (SIGKILL), stop (SIGSTOP), error (raise). Nothing is armed unless it is set.
"""

import os
import signal
from collections.abc import Callable

from ordertrail.runtime.telemetry.log_writer import flush_all

# What is said goes out by a thread of its own; so long it may take before a death or a stop.
SAID_SECONDS_MAX = 10.0

_armed: dict[str, Callable[[], None]] = {}


class FailpointError(Exception):
    """Raised by a failpoint that a test has armed with `error`."""


def reach(name: str) -> None:
    """Pass the failpoint `name`."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Do `action` whenever `name` is passed."""
    _armed[name] = action


def disarm() -> None:
    """Make all failpoints inert again."""
    _armed.clear()


def arm_from(text: str) -> None:
    """Arm what the environment variable says; raises ValueError where it says nothing sensible."""
    for part in filter(None, text.split(",")):
        name, _, rest = part.partition("=")
        action, _, count = rest.partition(":")
        arm(name, _at_pass(int(count or 1), _ACTIONS[action]))


def _at_pass(number: int, action: Callable[[], None]) -> Callable[[], None]:
    passes = 0

    def count() -> None:
        nonlocal passes
        passes += 1
        if passes == number:
            action()

    return count


def _signal(number: signal.Signals) -> Callable[[], None]:
    def die_or_stop() -> None:
        # Whoever started this process may wait for its first line, and would never hear it.
        flush_all(SAID_SECONDS_MAX)
        os.kill(os.getpid(), number)

    return die_or_stop


def _raise() -> None:
    raise FailpointError


_ACTIONS = {"kill": _signal(signal.SIGKILL), "stop": _signal(signal.SIGSTOP), "error": _raise}
