"""Standard output and standard error of a running server: what is printed there neither blocks nor raises.

Libraries, warnings and tracebacks write to `sys.stdout` and `sys.stderr` whenever they like, and so they go the way
of our own log lines: into a queue, and from there by a thread to the descriptor.
"""

import atexit
import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from typing_extensions import override

from ordertrail.runtime.telemetry.log_writer import LogWriter, flush_all
from ordertrail.runtime.telemetry.repeats import WINDOW_SECONDS, Repeats

STDIN, STDOUT, STDERR = 0, 1, 2
LINE_BYTES_MAX = 64 * 1024

_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_writers: dict[int, LogWriter] = {}


def hold_open() -> None:
    """Have the three standard streams lead somewhere, if only to nowhere.

    Else the next file or socket gets the number of one that is closed, and what is printed would go there: into a
    connection to the database.
    """
    for descriptor, name, mode in ((STDIN, "stdin", "r"), (STDOUT, "stdout", "w"), (STDERR, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                _hold_open(descriptor)
                setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - for the life of the process


def _hold_open(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        os.set_inheritable(descriptor, True)


def protect() -> None:
    """From now on, what this process prints goes through a queue of its own for each stream."""
    hold_open()
    for descriptor, name in _NAMES.items():
        before = getattr(sys, name)
        if isinstance(before, QueuedStream):
            continue
        with contextlib.suppress(OSError, ValueError):
            before.flush()
        after = QueuedStream(descriptor, writer_of(descriptor))
        setattr(sys, name, after)
        for handler in _handlers():
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                handler.stream = after


def writer_of(descriptor: int) -> LogWriter:
    """The one writer of this process to standard output or standard error."""
    writer = _writers.get(descriptor)
    if writer is None:
        # Its number may be another file's by now, where it was closed when the process began.
        is_there = getattr(sys, f"__{_NAMES[descriptor]}__") is not None
        sink = descriptor if is_there else os.open(os.devnull, os.O_WRONLY)
        writer = _writers[descriptor] = LogWriter(partial(os.write, sink))
        if len(_writers) == 1:
            atexit.register(flush_all)
    return writer


def dropped_records() -> int:
    """Lines that no sink of this process has taken, since its start."""
    return sum(writer.dropped for writer in _writers.values())


def waiting_records() -> int:
    """Lines that the sinks of this process have not taken yet."""
    return sum(writer.waiting for writer in _writers.values())


class QueuedStream(io.TextIOBase):
    """A text stream to a writer; it takes whole lines, and what is flushed."""

    def __init__(self, descriptor: int, writer: LogWriter) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._writer = writer
        self._begun = ""
        self._repeats = Repeats(self._report_repeats)
        writer.on_tick.append(self._close_window)
        self.buffer = _QueuedBytes(writer)

    @property
    @override
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a plain attribute
        return "utf-8"

    @property
    @override
    def errors(self) -> str:  # type: ignore[override]  # likewise
        return "backslashreplace"

    @override
    def write(self, text: str) -> int:
        text = self._begun + text
        if text.endswith("\n") or len(text) > LINE_BYTES_MAX:
            self._begun = ""
            self._put(text)
        else:
            self._begun = text
        return len(text)

    @override
    def flush(self) -> None:
        begun, self._begun = self._begun, ""
        if begun:
            self._put(begun)

    def _put(self, text: str) -> None:
        if not self._repeats.is_too_many("", text, time.monotonic()):
            self._writer.put(text.encode("utf-8", "backslashreplace"))

    def _close_window(self) -> None:
        self._repeats.close_window_if_over(time.monotonic())

    def _report_repeats(self, _level: str, text: str, count: int) -> None:
        line = f"{text.rstrip()} ({count} times more in {WINDOW_SECONDS:g} seconds)\n"
        self._writer.put(line.encode("utf-8", "backslashreplace"))

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return self._descriptor

    @override
    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


class _QueuedBytes(io.RawIOBase):
    """For what writes bytes to a text stream's `buffer`."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, content: Any) -> int:
        self._writer.put(bytes(content))
        return len(content)


def _handlers() -> Iterator[logging.Handler]:
    """Those that have been installed so far."""
    yield from logging.root.handlers
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers
