"""Several processes that serve one socket: a parent that starts them, replaces one that dies, and drains all.

A worker that dies before it was ready would only die again, so then all of them end. One whose parent is gone drains
by itself: nobody else would tell it to.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType

from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.server.server import APPLICATION, Server, sentences_for_failures

_log = get_logger()

POLL_SECONDS = 0.1
REPLACE_SECONDS = 1.0
# Beyond a worker's own bound, in which it ends by itself.
STUCK_SECONDS = 5.0

_spawn = multiprocessing.get_context("spawn")
multiprocessing.allow_connection_pickling()  # for the socket


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    is_ready: bool = False


class Workers:
    """The parent; `run` serves until a signal, and gives the exit code."""

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        *,
        count: int,
        on_ready: Callable[[], None],
        application: str = APPLICATION,
    ) -> None:
        self._settings = settings
        self._application = application
        self._listening = listening
        self._count = count
        self._on_ready = on_ready
        self._workers: list[_Worker] = []
        self._signals: list[int] = []
        self._exit_code = 0
        self._replaced_at = 0.0

    def run(self) -> int:
        """Start the workers, keep them up, and once told to stop wait for all to drain."""
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
        process = _spawn.Process(target=_work, args=(self._settings, self._application, self._listening, theirs))
        # Ctrl-C in a terminal reaches every process of it; only the parent shall tell the workers what to do.
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
        self._listening.close()
        told = 0
        deadline = time.monotonic() + self._settings.drain_notice_seconds
        deadline += self._settings.drain_bound_seconds + STUCK_SECONDS
        while alive := [worker for worker in self._workers if worker.process.is_alive()]:
            # The first time they are told to stop; again, to hurry.
            times = max(1, *(self._signals.count(number) for number in (signal.SIGTERM, signal.SIGINT)))
            if times > told:
                told += 1
                for worker in alive:
                    os.kill(worker.process.pid or 0, signal.SIGTERM)
            multiprocessing.connection.wait([worker.process.sentinel for worker in alive], timeout=POLL_SECONDS)
            if time.monotonic() > deadline:
                _log.error("workers are stuck and were killed", pids=[worker.process.pid for worker in alive])
                break
        if any(worker.is_ready and worker.process.exitcode != 0 for worker in self._workers):
            self._exit_code = 1


def _work(settings: Settings, application: str, listening: socket.socket, pipe: Connection) -> None:
    """One worker's life."""
    with sentences_for_failures():
        server = Server(settings, on_ready=lambda: pipe.send(True), application=application)
        threading.Thread(target=_stop_with_parent, args=(server, pipe), daemon=True).start()
        server.run(sockets=[listening])


def _stop_with_parent(server: Server, pipe: Connection) -> None:
    """The parent never sends anything: what ends the wait is that it is gone."""
    multiprocessing.connection.wait([pipe])
    server.stop()
