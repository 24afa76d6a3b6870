"""Logs of child processes: bounded files that are rotated while the child runs, and never hold it up.

A child writes to a pipe. One thread of ours reads it as fast as the child writes, another writes the file; where the
disk is full or slow, lines are dropped and counted in the file itself, and the child goes on.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from ordertrail.runtime.telemetry.log_writer import LogWriter

# Of a log: the file itself and so many that were full, `.1` the newest. Together they are within its bytes.
KEPT = 3
READ_BYTES = 64 * 1024
# For what a child that has ended said last; more comes only where it left a child of its own behind.
FINISH_SECONDS = 2.0


class LogFile:
    """A file of lines and its predecessors, `bytes_max` at the most together."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self.path = path
        self._file_bytes_max = bytes_max // (KEPT + 1)
        self._file: int | None = None
        self._size = 0
        self._ends_with_line = True

    def open(self) -> None:
        """Append to what is there; raises OSError. Files beyond the bound, from an earlier one, are taken away."""
        self._file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._file).st_size
        for number in range(1, KEPT + 1):
            kept = self._kept(number)
            with contextlib.suppress(FileNotFoundError):
                if kept.stat().st_size > self._file_bytes_max:
                    kept.unlink()
        if self._size > self._file_bytes_max:
            os.ftruncate(self._file, 0)
            self._size = 0

    def write(self, content: bytes) -> int:
        """Append what fits in whole lines, to another file where this one is full; raises OSError."""
        if self._file is None:
            self.open()
        assert self._file is not None
        if self._ends_with_line and len(content) > self._room:
            if self._size and not self._fitting(content):
                self._rotate()
            # A line that is longer than a file has one of its own.
            content = content[: self._fitting(content) or None]
        written = os.write(self._file, content)
        self._size += written
        self._ends_with_line = content[:written].endswith(b"\n")
        return written

    def close(self) -> None:
        """Until the next write."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def _room(self) -> int:
        return self._file_bytes_max - self._size

    def _fitting(self, content: bytes) -> int:
        """How many bytes of it are whole lines for which there is room."""
        return content.rfind(b"\n", 0, max(self._room, 0)) + 1

    def _rotate(self) -> None:
        for number in range(KEPT, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                self._kept(number - 1).replace(self._kept(number))
        self.path.replace(self._kept(1))
        self.close()
        self.open()

    def _kept(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class ChildLog:
    """The log of one child: what is written to `output` comes into the file."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._reader, self.output = os.pipe()
        self._writer = LogWriter(file.write)
        self._thread = threading.Thread(target=self._read, name=f"log of {file.path.name}", daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """The child has its end of the pipe now, and we give up ours."""
        os.close(self.output)

    def finish(self) -> None:
        """Wait, not for long, until all is in the file that the child said before it ended."""
        self._thread.join(FINISH_SECONDS)
        self._writer.flush()

    def _read(self) -> None:
        rest = b""
        try:
            while content := os.read(self._reader, READ_BYTES):
                lines, newline, begun = (rest + content).rpartition(b"\n")
                if len(begun) > READ_BYTES:
                    lines, newline, begun = rest + content, b"", b""
                if lines or newline:
                    self._writer.put(lines + newline, records=lines.count(b"\n") + 1)
                rest = begun
        finally:
            if rest:
                self._writer.put(rest + b"\n")
            os.close(self._reader)
            # What a full disk has not taken by now would come between the lines of the child that is started next.
            if self._writer.close():
                self._file.close()


@contextlib.contextmanager
def child_log(path: Path, *, bytes_max: int) -> Iterator[ChildLog]:
    """A log for the child that is started in the block; raises OSError where there can be none."""
    file = LogFile(path, bytes_max=bytes_max)
    file.open()
    log = ChildLog(file)
    try:
        yield log
    finally:
        log.let_go()
