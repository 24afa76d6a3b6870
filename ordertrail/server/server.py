"""uvicorn's server, with limits and a drain of ours.

What a drain promises: every request that was read is answered and every order that was begun has its rows, unless
that takes longer than its bound; then the process says what is left and ends as if it had been killed, which
reconciliation is made for.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any

import uvicorn
from typing_extensions import override
from uvicorn.lifespan.on import LifespanOn, LifespanSendMessage

from ordertrail.api.draining import drainable_of
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.telemetry.logs import flush, get_logger
from ordertrail.server.connection_limits import ConnectionLimits
from ordertrail.server.connections import Connections, LimitedHttpProtocol

_log = get_logger()

# Requests that are on their way when a signal stops us still get their answer; then idle connections are closed.
QUIET_SECONDS = 0.5
POLL_SECONDS = 0.02


class Server(uvicorn.Server):
    """uvicorn's server: it says when it is ready, ends what takes too long, and drains."""

    server_state: Connections

    def __init__(self, settings: Settings, *, on_ready: Callable[[], None], application: str) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                loop="uvloop",
                http=LimitedHttpProtocol,
                ws="none",
                lifespan="on",
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                backlog=settings.connections_backlog,
            )
        )
        self.server_state = Connections(ConnectionLimits.of(settings))
        self._settings = settings
        self._on_ready = on_ready
        self._signals: set[int] = set()
        self._is_hurried = False

    @override
    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.load()
        self.config.lifespan_class = _Lifespan
        await super().serve(sockets)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            failure = self.lifespan.failure if isinstance(self.lifespan, _Lifespan) else None
            if failure is None or isinstance(failure, CannotStart):
                raise CannotStart(str(failure or "The server cannot listen.")) from failure
            _log.error("the service cannot start", exc_info=failure)
            raise CannotStart(f"The service cannot start: {type(failure).__name__}: {failure}") from failure
        background = drainable_of(self.lifespan.state).background
        background.when_lost = self.stop
        background.start("the limits of connections", self._sweep())
        self._on_ready()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.server_state.limits.sweep_seconds)
            self.server_state.sweep(loop.time())

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Ctrl-C reaches every process of the terminal, and the parent of workers then sends its own signal: only
        # the same signal a second time means that the operator is in a hurry.
        self._is_hurried = self._is_hurried or sig in self._signals
        self._signals.add(sig)
        self.should_exit = True

    def stop(self) -> None:
        """Begin to drain."""
        self.should_exit = True

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notice, bound = self._settings.drain_notice_seconds, self._settings.drain_bound_seconds
        async with _kill_after(self._is_in_a_hurry, notice + bound, self._give_up):
            drainable_of(self.lifespan.state).start_draining()
            await self._wait(notice, until=self._is_in_a_hurry)
            for server in self.servers:
                server.close()
            for listening in sockets or []:
                listening.close()
            self.server_state.is_draining = True
            for connection in self.server_state.all():
                connection.shutdown()
            await self._wait(QUIET_SECONDS, until=self._is_quiet)
            for connection in self.server_state.all():
                connection.stop()
            await self._wait(bound, until=self._is_quiet)
            await self.lifespan.shutdown()
        if self.lifespan.should_exit or drainable_of(self.lifespan.state).background.problem is not None:
            raise SystemExit(1)

    def _is_in_a_hurry(self) -> bool:
        return self._is_hurried

    def _is_quiet(self) -> bool:
        return not self.server_state.connections and not self.server_state.tasks

    async def _wait(self, seconds: float, *, until: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not until() and loop.time() < deadline:  # noqa: ASYNC110 - neither signals nor uvicorn's sets notify
            await asyncio.sleep(POLL_SECONDS)

    def _give_up(self) -> None:
        """End at once, as a kill would: cancelling what is under way could only make us believe something wrong."""
        orders = drainable_of(self.lifespan.state).orders_in_flight()
        _log.error(
            "the drain was cut short",
            orders_in_flight=len(orders),
            order_ids=orders[:100],
            connections=len(self.server_state.connections),
            is_hurried=self._is_hurried,
        )
        flush()
        os._exit(1)


@contextlib.asynccontextmanager
async def _kill_after(
    is_hurried: Callable[[], bool], bound_seconds: float, give_up: Callable[[], None]
) -> AsyncIterator[None]:
    """Call `give_up` if the block takes longer than the bound, or the operator is in a hurry."""

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + bound_seconds
        while not is_hurried() and loop.time() < deadline:  # noqa: ASYNC110 - a signal sets no event of asyncio's
            await asyncio.sleep(POLL_SECONDS)
        give_up()

    watching = asyncio.create_task(watch())
    # A bound that nobody keeps any more is over.
    watching.add_done_callback(lambda task: None if task.cancelled() or task.exception() is None else give_up())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


class _Lifespan(LifespanOn):
    """uvicorn's, which would log a traceback for a sentence that is meant for a person."""

    failure: BaseException | None = None

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.logger = logging.getLogger("ordertrail.lifespan")
        self.logger.setLevel(logging.CRITICAL)

    @override
    async def main(self) -> None:
        scope: Any = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.config.loaded_app(scope, self.receive, self.send)
        except BaseException as error:  # noqa: BLE001 - `Server.startup` raises it again in its own words
            self.failure = error
            self.error_occurred = True
            if self.startup_event.is_set() and not self.startup_failed:
                _log.error("the service could not be closed", exc_info=error)
                self.should_exit = True
        finally:
            self.startup_event.set()
            self.shutdown_event.set()

    @override
    async def send(self, message: LifespanSendMessage) -> None:
        if message["type"] == "lifespan.startup.failed":
            self.startup_failed = True
            self.startup_event.set()
        else:
            await super().send(message)
