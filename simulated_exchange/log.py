"""The exchange's memory: an append-only file of JSON lines that is durable before anybody is answered.

Many concurrent commands share one fsync, which runs in a thread. After a failed write nothing is known about
the file any more, so the log is broken for good and every caller that waits for it hears so.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec

from simulated_exchange.entries import (
    FORMAT,
    Command,
    EpochLine,
    Line,
    Occurred,
    accepted_line,
    canceled_line,
    rejected_line,
)
from simulated_exchange.orders import NewOrder, Order, Refusal, Report

LOG_NAME = "exchange.log"
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

    def release(self) -> None:
        """Let go of the file as it is."""
        self._thread.shutdown()
        os.close(self._fd)

    def commands(self) -> Iterator[tuple[int, Command]]:
        """The lines after the first, with their numbers; LogError at the first that cannot be read."""
        for number, line in read_lines(self.path):
            if not isinstance(line, EpochLine):
                yield number, line
            elif number > 1:
                raise LogError(f"{self.path}, line {number}: an epoch line may only be the first.")

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
                try:
                    await loop.run_in_executor(self._thread, self._write, b"".join(lines))
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

    def _write(self, data: bytes) -> None:
        if not data:
            return
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]
        os.fdatasync(self._fd)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise LogError(f"{self.path} is in use by another process.") from problem

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
        self._write(msgspec.json.encode(EpochLine(FORMAT, epoch_if_new)) + b"\n")
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
