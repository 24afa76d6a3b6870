"""The exchange's memory: an append-only file of JSON lines that is durable before anybody is answered.

Where it is to be compacted, another file that says what the exchange still knows takes its place, whole or not at all.
Many concurrent commands share one fsync, which runs in a thread. After a failed write nothing is known about
the file any more, so the log is broken for good and every caller that waits for it hears so.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from simulated_exchange.entries import (
    FORMAT,
    Command,
    CompactedLine,
    EpochLine,
    Kept,
    KeptFloodLine,
    KeptOrdersLine,
    KeptReportsLine,
    Line,
    Occurred,
    accepted_line,
    canceled_line,
    rejected_line,
)
from simulated_exchange.orders import NewOrder, Order, Refusal, Report

LOG_NAME = "exchange.log"
NEW_NAME = "exchange.log.new"
_KEPT = (CompactedLine, KeptOrdersLine, KeptReportsLine, KeptFloodLine)
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class LogError(Exception):
    """The log cannot be used; the message is a sentence that names the file."""


class Log(Protocol):
    """Where the exchange writes down what it did."""

    @property
    def pending(self) -> bool:
        """Whether something was written that is not durable yet."""
        ...

    def accepted(self, new: NewOrder, order: Order, reports: list[Report]) -> None: ...

    def rejected(self, new: NewOrder, order: Order, refusal: Refusal, reports: list[Report]) -> None: ...

    def canceled(self, order: Order, reports: list[Report]) -> None: ...

    def occurred(self, line: Occurred) -> None:
        """Whatever else happened."""
        ...

    async def durable(self) -> None:
        """Wait until all that was written before this call is durable; LogError if it cannot become so."""
        ...

    async def close(self) -> None: ...


class InMemoryLog:
    """Keeps nothing, and is always as durable as it will ever be: for benchmarks."""

    pending = False

    def accepted(self, new: NewOrder, order: Order, reports: list[Report]) -> None:
        pass

    def rejected(self, new: NewOrder, order: Order, refusal: Refusal, reports: list[Report]) -> None:
        pass

    def canceled(self, order: Order, reports: list[Report]) -> None:
        pass

    def occurred(self, line: Occurred) -> None:
        pass

    async def durable(self) -> None:
        pass

    async def close(self) -> None:
        pass


class DurableLog:
    """A file in a folder that one process at a time may hold."""

    def __init__(self, folder: Path, *, epoch_if_new: str) -> None:
        """Open and lock the log, and cut off a torn last line; LogError if any of it fails."""
        self.path = folder / LOG_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            raise LogError(f"{self.path} cannot be opened: {problem.strerror}.") from problem
        try:
            self._lock()
            folder.joinpath(NEW_NAME).unlink(missing_ok=True)  # of a compaction that did not come to its end
            self._cut_torn_line()
            self.epoch = self._read_or_begin(epoch_if_new)
            # What a killed process wrote may be in memory only; it must not be shown before it is on disk.
            os.fsync(self._fd)
            _sync_folder(folder)
        except OSError as problem:
            os.close(self._fd)
            raise LogError(f"{self.path} cannot be used: {problem.strerror}.") from problem
        except LogError:
            os.close(self._fd)
            raise
        self._size = os.fstat(self._fd).st_size
        self._compact_from = self._bytes_max = 0
        self._compacted: Callable[[], Iterable[Kept]] | None = None
        self._buffer: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._failure: LogError | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exchange-log")

    @property
    def pending(self) -> bool:
        return bool(self._buffer) or self._flushing is not None or self._failure is not None

    def accepted(self, new: NewOrder, order: Order, reports: list[Report]) -> None:
        self._append(accepted_line(new, order, reports))

    def rejected(self, new: NewOrder, order: Order, refusal: Refusal, reports: list[Report]) -> None:
        self._append(rejected_line(new, order, refusal, reports))

    def canceled(self, order: Order, reports: list[Report]) -> None:
        self._append(canceled_line(order, reports))

    def occurred(self, line: Occurred) -> None:
        self._append(line)

    async def durable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if not self.pending:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
        await waiter

    async def close(self) -> None:
        """Make durable what is left and let go of the file."""
        try:
            if self._failure is None:
                await self.durable()
        finally:
            self.release()

    def compact(self, bytes_max: int, compacted: Callable[[], Iterable[Kept]]) -> None:
        """From now on, where it is larger than that, and has doubled since the last time.

        `compacted` gives all that the exchange knows, also what is not written yet; nothing happens meanwhile.
        """
        self._bytes_max = self._compact_from = bytes_max
        self._compacted = compacted

    def release(self) -> None:
        """Let go of the file as it is."""
        self._thread.shutdown()
        os.close(self._fd)

    def kept(self) -> list[Kept]:
        """The lines with which a compacted log begins; none: it has never been compacted."""
        kept: list[Kept] = []
        for number, line in read_lines(self.path):
            if isinstance(line, _KEPT):
                kept.append(line)
            elif number > 1:
                break
        return kept

    def commands(self) -> Iterator[tuple[int, Command]]:
        """The lines after these, with their numbers; LogError at the first that cannot be read."""
        has_begun = False
        for number, line in read_lines(self.path):
            if isinstance(line, EpochLine) or (isinstance(line, _KEPT) and has_begun):
                if number > 1:
                    raise LogError(f"{self.path}, line {number}: such a line may only be at the beginning.")
            elif not isinstance(line, _KEPT):
                has_begun = True
                yield number, line

    def _append(self, line: Line) -> None:
        if self._failure is not None:
            raise self._failure
        self._buffer.append(msgspec.json.encode(line) + b"\n")

    async def _flush(self) -> None:
        """Write until no caller waits; those who come during an fsync share the next one."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiters:
                lines, self._buffer = self._buffer, []
                waiters, self._waiters = self._waiters, []
                kept = self._kept_if_due()
                try:
                    await loop.run_in_executor(self._thread, self._put, b"".join(lines), kept)
                except OSError as problem:
                    self._break(problem, waiters)
                    return
                for waiter in waiters:
                    if not waiter.done():  # its owner may have gone
                        waiter.set_result(None)
        finally:
            self._flushing = None

    def _break(self, problem: OSError, waiters: list[asyncio.Future[None]]) -> None:
        self._failure = LogError(f"{self.path} could not be written, so nothing is accepted: {problem.strerror}.")
        for waiter in waiters + self._waiters:
            if not waiter.done():
                waiter.set_exception(self._failure)
        self._waiters = []

    def _kept_if_due(self) -> bytes | None:
        if self._compacted is None or self._size <= self._compact_from:
            return None
        lines = list(self._compacted())
        assert isinstance(lines[0], CompactedLine)
        return b"".join(msgspec.json.encode(line) + b"\n" for line in (EpochLine(FORMAT, lines[0].epoch), *lines))

    def _put(self, data: bytes, kept: bytes | None) -> None:
        """`data` is written, or stands in `kept`, which takes the place of all that there is."""
        if kept is None or not self._replace(kept):
            self._write(data)

    def _replace(self, kept: bytes) -> bool:
        """Whether there was room for both: if not, the log goes on as it is. OSError where it is not known what is."""
        new = self.path.with_name(NEW_NAME)
        try:
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write_all(descriptor, kept)
                os.fsync(descriptor)
                new.rename(self.path)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            self._compact_from = 2 * self._size
            return False
        os.close(self._fd)
        self._fd, self._size = descriptor, len(kept)
        self._compact_from = max(self._bytes_max, 2 * self._size)
        _sync_folder(self.path.parent)
        return True

    def _write(self, data: bytes) -> None:
        if not data:
            return
        _write_all(self._fd, data)
        os.fdatasync(self._fd)
        self._size += len(data)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise LogError(f"{self.path} is in use by another process.") from problem
        if os.fstat(self._fd).st_ino != self.path.stat().st_ino:  # it was compacted in this moment
            raise LogError(f"{self.path} is in use by another process.")

    def _cut_torn_line(self) -> None:
        """A crash may leave half a line at the end, which no caller has heard of."""
        size = end = os.fstat(self._fd).st_size
        while end > 0:
            start = max(end - 65_536, 0)
            newline = os.pread(self._fd, end - start, start).rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else start
            if newline >= 0:
                break
        if end < size:
            os.ftruncate(self._fd, end)

    def _read_or_begin(self, epoch_if_new: str) -> str:
        for _, first in read_lines(self.path):
            if not isinstance(first, EpochLine) or first.format != FORMAT:
                raise LogError(f"{self.path}, line 1: not the beginning of a log of format {FORMAT}.")
            return first.epoch
        _write_all(self._fd, msgspec.json.encode(EpochLine(FORMAT, epoch_if_new)) + b"\n")
        return epoch_if_new


def read_lines(path: Path) -> Iterator[tuple[int, Line]]:
    """All whole lines with their numbers from 1; needs no lock. LogError at the first that cannot be read."""
    with path.open("rb") as lines:
        for number, text in enumerate(lines, start=1):
            if not text.endswith(b"\n"):
                return  # being written, or torn
            try:
                yield number, _decoder.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as problem:
                raise LogError(f"{path}, line {number}: {problem}.") from problem


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
