"""Several processes that serve the same sockets: a parent that starts them, replaces one that dies, and drains all.

What a worker does is handed in; it ends by SIGTERM, or where its parent is gone. A worker that dies before it was
ready would only die again, so then all of them end.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType

from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.telemetry.logs import flush, get_logger

_log = get_logger()

POLL_SECONDS = 0.1
REPLACE_SECONDS = 1.0
# Beyond the time in which a worker ends by itself.
STUCK_SECONDS = 5.0

_spawn = multiprocessing.get_context("spawn")
multiprocessing.allow_connection_pickling()  # for the sockets


class Parent:
    """A worker's line to its parent."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def say_ready(self) -> None:
        """The worker serves. Where the parent is gone just now, the worker stops as it would a moment later."""
        with contextlib.suppress(OSError):
            self._pipe.send(True)

    def when_gone(self, stop: Callable[[], None], *, end_seconds: float) -> None:
        """Call `stop` once the parent is gone, from a thread: no other process would stop the worker.

        `end_seconds`: within which the worker then ends by itself; nobody else would end one that is stuck.
        """
        threading.Thread(target=self._wait_until_gone, args=(stop, end_seconds), daemon=True).start()

    def _wait_until_gone(self, stop: Callable[[], None], end_seconds: float) -> None:
        # The parent never sends anything: what ends the wait is that it is gone.
        multiprocessing.connection.wait([self._pipe])
        stop()
        time.sleep(end_seconds + STUCK_SECONDS)
        _log.critical("a worker whose parent is gone is stuck, and ends")
        flush()
        os._exit(1)


# What a worker does, from its start to its end; it is pickled for the new process.
Target = Callable[[Sequence[socket.socket], Parent], None]


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    is_ready: bool = False


class Workers:
    """The parent; `run` serves until a signal, and gives the exit code."""

    def __init__(
        self,
        target: Target,
        sockets: Sequence[socket.socket],
        *,
        count: int,
        end_seconds: float,
        on_ready: Callable[[], None],
        on_death: Callable[[int], None],
    ) -> None:
        """`end_seconds`: within which a worker ends by itself once it is signalled. `on_death` gets its process id."""
        self._target = target
        self._sockets = sockets
        self._count = count
        self._end_seconds = end_seconds
        self._on_ready = on_ready
        self._on_death = on_death
        self._workers: list[_Worker] = []
        self._signals: list[int] = []
        self._exit_code = 0
        self._replaced_at = 0.0

    def run(self) -> int:
        """Start the workers, keep them up, and once signalled wait for all to drain."""
        handlers = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._workers = [self._start() for _ in range(self._count)]
            self._keep_up()
            self._drain()
        finally:
            for worker in self._workers:
                worker.process.kill()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self._exit_code

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _start(self) -> _Worker:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(target=self._target, args=(self._sockets, Parent(theirs)))
        # Ctrl-C in a terminal reaches every process of it; only the parent shall signal the workers.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()
        return _Worker(process, ours)

    def _keep_up(self) -> None:
        was_ready = False
        while not self._signals:
            self._wait()
            for worker in [worker for worker in self._workers if not worker.process.is_alive()]:
                self._workers.remove(worker)
                if not worker.is_ready:
                    self._drain()
                    raise CannotStart("A worker could not start, so all of them were stopped.")
                _log.error("a worker died and is replaced", pid=worker.process.pid, exit_code=worker.process.exitcode)
                self._on_death(worker.process.pid or 0)
            if len(self._workers) < self._count and time.monotonic() > self._replaced_at + REPLACE_SECONDS:
                self._replaced_at = time.monotonic()
                self._workers.append(self._start())
            if not was_ready and all(worker.is_ready for worker in self._workers):
                was_ready = True
                self._on_ready()

    def _wait(self) -> None:
        """Until a worker is ready or dead, or a moment has passed in which a signal may have come."""
        pipes = {worker.pipe: worker for worker in self._workers if not worker.is_ready}
        sentinels = [worker.process.sentinel for worker in self._workers]
        for event in multiprocessing.connection.wait([*pipes, *sentinels], timeout=POLL_SECONDS):
            if isinstance(event, Connection):
                try:
                    pipes[event].is_ready = bool(event.recv())
                except EOFError:
                    pipes[event].process.join()

    def _drain(self) -> None:
        for listening in self._sockets:
            listening.close()
        signalled = 0
        deadline = time.monotonic() + self._end_seconds + STUCK_SECONDS
        while alive := [worker for worker in self._workers if worker.process.is_alive()]:
            # The first signal stops them; another one hurries them.
            times = max(1, *(self._signals.count(number) for number in (signal.SIGTERM, signal.SIGINT)))
            if times > signalled:
                signalled += 1
                for worker in alive:
                    os.kill(worker.process.pid or 0, signal.SIGTERM)
            multiprocessing.connection.wait([worker.process.sentinel for worker in alive], timeout=POLL_SECONDS)
            if time.monotonic() > deadline:
                _log.error("workers are stuck and were killed", pids=[worker.process.pid for worker in alive])
                break
        if any(worker.is_ready and worker.process.exitcode != 0 for worker in self._workers):
            self._exit_code = 1
