"""Writes lines to a sink from a thread of its own; the rest of the process only puts them into a bounded queue.

A sink that is gone, full, stalled or read by nobody holds up this thread and nothing else: the thread tries again,
the queue fills, and what finds it full is dropped, counted, and reported once the sink is back. Nothing here raises.
"""

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

RECORDS_MAX = 10_000
BYTES_MAX = 16 * 1024 * 1024
# Lines that come within this time are written together: waking the thread for each would cost more than the line.
GATHER_SECONDS = 0.02
CHUNK_BYTES = 64 * 1024
TICK_SECONDS = 1.0
RETRY_SECONDS_MIN = 0.02
RETRY_SECONDS_MAX = 1.0
FLUSH_SECONDS = 1.0
_POLL_SECONDS = 0.005

_all: "weakref.WeakSet[LogWriter]" = weakref.WeakSet()


class LogWriter:
    """One sink's. `write` takes bytes, returns how many it wrote, and may block, or raise OSError."""

    def __init__(
        self,
        write: Callable[[bytes], int],
        *,
        dropped_line: Callable[[int], bytes] = lambda count: b"%d log records were dropped\n" % count,
        records_max: int = RECORDS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """`dropped_line` reports a loss; what is in `on_tick` is called about once a second, by the writer's thread."""
        self.dropped_line = dropped_line
        self.on_tick: list[Callable[[], object]] = []
        self._write = write
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._drop_lock = threading.RLock()  # reentrant: a signal's handler or a finalizer may have something to say
        self.dropped = 0
        self._unreported = 0
        self._is_closed = False
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        """As at the beginning; after a fork too, where the parent writes what was waiting."""
        self._lines: deque[bytes] = deque()
        self._last_records: deque[bytes] = deque()
        self._bytes = self._last_records_bytes = 0
        self._held = b""
        self._thread: threading.Thread | None = None
        self._is_asleep = True
        self._is_hurried = False
        self._pause_seconds = RETRY_SECONDS_MIN
        self._ticked_at = 0.0
        self._woken = threading.Lock()
        self._woken.acquire()

    @property
    def waiting(self) -> int:
        """Lines that the sink has not taken yet, but for those that are just being written."""
        return len(self._lines) + len(self._last_records)

    def put(self, line: bytes, records: int = 1) -> None:
        """Have a line written, or several at once; where too many wait, it is dropped."""
        # No lock here, so that a line costs next to nothing: the bytes may be off by some lines until the queue is
        # empty again, the number of lines never is.
        if len(self._lines) >= self._records_max or self._bytes >= self._bytes_max or self._is_closed:
            self._drop(records)
            return
        self._lines.append(line)
        self._bytes += len(line)
        if self._is_asleep:
            self._wake_up()

    def put_last_record(self, line: bytes) -> None:
        """Have a line written that stands nowhere else: it has a queue of its own and goes before all others."""
        is_full = len(self._last_records) >= self._records_max or self._last_records_bytes >= self._bytes_max
        if is_full or self._is_closed:
            self.put(line)
            return
        self._last_records.append(line)
        self._last_records_bytes += len(line)
        if self._is_asleep:
            self._wake_up()

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all is written that was put, no longer than the timeout; whether it is."""
        deadline = time.monotonic() + timeout_seconds
        self._is_hurried = True
        self._wake_up()
        while not self.is_idle:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        self._is_hurried = False
        return self.is_idle

    def close(self, timeout_seconds: float = FLUSH_SECONDS) -> bool:
        """Wait like `flush`, and end the thread: what is not written by then is dropped. Whether all is written."""
        is_written = self.flush(timeout_seconds)
        self._is_closed = True
        self._lines.clear()
        self._last_records.clear()
        if self._thread is not None:
            self._wake_up()
        return is_written

    @property
    def is_idle(self) -> bool:
        """Whether all is written that was put, or never will be."""
        return self._is_closed or (self._is_asleep and not self.waiting and not self._held)

    def _drop(self, records: int) -> None:
        with self._drop_lock:
            self.dropped += records
            self._unreported += records

    def _wake_up(self) -> None:
        self._is_asleep = False
        if self._thread is None:
            self._start()
        with contextlib.suppress(RuntimeError):  # it has been woken already
            self._woken.release()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, args=(self._woken,), name="log writer", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            # No thread is to be had just now: the lines wait, and the next one tries again.
            self._thread = None
            self._is_asleep = True

    def _run(self, woken: threading.Lock) -> None:
        while woken is self._woken and not self._is_closed:
            try:
                self._run_once(woken)
            except Exception:  # noqa: BLE001 - there is nobody to tell, and nothing may end this thread
                time.sleep(RETRY_SECONDS_MAX)

    def _run_once(self, woken: threading.Lock) -> None:
        if not self.waiting and not self._held:
            self._is_asleep = True
            # Who puts a line between these two sees that we sleep, and wakes us.
            if self.waiting or woken.acquire(timeout=TICK_SECONDS):
                self._is_asleep = False
                if not self._is_hurried:
                    time.sleep(GATHER_SECONDS)
        if time.monotonic() >= self._ticked_at + TICK_SECONDS or self._is_hurried:
            self._ticked_at = time.monotonic()
            for do in self.on_tick:
                do()
        while (self._held or self.waiting) and not self._is_closed:
            self._is_asleep = False
            if not self._write_some(woken):
                return

    def _write_some(self, woken: threading.Lock) -> bool:
        """Write what is at hand; False: the sink does not take it now, and a pause has been made."""
        if not self._held:
            self._held = self._next_chunk()
        try:
            while self._held:
                self._held = self._held[self._write(self._held) :]
        except (OSError, ValueError):
            # What is left of a line goes on where it broke off, and no line is torn.
            woken.acquire(timeout=self._pause_seconds)
            self._pause_seconds = min(2 * self._pause_seconds, RETRY_SECONDS_MAX)
            return False
        self._pause_seconds = RETRY_SECONDS_MIN
        if self._unreported and not self._lines:
            with self._drop_lock:
                count, self._unreported = self._unreported, 0
            self._held = self.dropped_line(count)
        return True

    def _next_chunk(self) -> bytes:
        lines: list[bytes] = []
        size = 0
        while self._last_records and size < CHUNK_BYTES:
            lines.append(self._last_records.popleft())
            size += len(lines[-1])
        self._last_records_bytes = self._last_records_bytes - size if self._last_records else 0
        before = size
        while self._lines and size < CHUNK_BYTES:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        self._bytes = self._bytes - (size - before) if self._lines else 0
        return b"".join(lines)


def flush_all(timeout_seconds: float = FLUSH_SECONDS) -> bool:
    """Wait until all lines of the process are written, no longer than the timeout; whether they are."""
    deadline = time.monotonic() + timeout_seconds
    # Each has its turn, though one before it be stuck.
    are_idle = [writer.is_idle or writer.flush(max(0.0, deadline - time.monotonic())) for writer in list(_all)]
    return all(are_idle)


def _after_fork() -> None:
    for writer in list(_all):
        writer._reset()  # noqa: SLF001 - a child has no thread, and must not write what its parent writes


os.register_at_fork(after_in_child=_after_fork)
