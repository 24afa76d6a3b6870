"""What a command prints: where its reader has gone it ends as `cat` does; what was done stays done."""

# ruff: noqa: T201 - it talks to a person

import os
import select
import signal
import sys
from typing import Annotated, Never

from cyclopts import Parameter

from ordertrail.runtime.notices import lead_nowhere

# The option of every command that has one: print one JSON document, for programs.
Json = Annotated[bool, Parameter(negative="")]

# What a shell says of a program that SIGPIPE has ended.
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE
# And of one that Ctrl-C has ended.
INTERRUPTED = 128 + signal.SIGINT


def print_result(text: str) -> None:
    """Print what was done; that nobody reads it does not undo it, and the exit code says it all the same."""
    try:
        print(text, flush=True)
    except OSError:
        lead_nowhere(sys.stdout)


def has_reader_gone() -> bool:
    """Whether what is printed is a pipe that nobody reads any more: what prints rarely would learn it late."""
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
        return any(happened & (select.POLLERR | select.POLLNVAL) for _, happened in poll.poll(0))
    except (OSError, ValueError):
        return False  # it is no file


def end_as_by_broken_pipe() -> Never:
    """End as the kernel ends other tools whose reader has gone: silently, by SIGPIPE."""
    lead_nowhere(sys.stdout)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(EXIT_BROKEN_PIPE)
