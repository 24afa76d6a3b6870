"""uvicorn, with a word when it is ready, and what to let go of when it stops."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from typing_extensions import override

from simulated_exchange.connection import ResettableProtocol, ResettableSocket
from simulated_exchange.http import HttpDoor
from simulated_exchange.service import ExchangeService

SHUTDOWN_SECONDS = 10
BACKLOG = 2_048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ExchangeServer(uvicorn.Server):
    """Serves one exchange on one listening socket."""

    def __init__(self, service: ExchangeService, *, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                HttpDoor(service),
                http=ResettableProtocol,
                ws=ResettableSocket,
                ws_per_message_deflate=False,
                ws_ping_interval=None,  # heartbeats do that; a reader that holds us back on purpose answers no ping
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._service = service
        self._on_ready = on_ready

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A client that waits for an answer that never comes would otherwise keep the process.
        self._service.stop()
        await super().shutdown(sockets)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal ends the serving and not the process, which exits with 0; uvicorn would raise it again."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.should_exit = True
