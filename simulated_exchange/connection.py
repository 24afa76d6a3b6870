"""A connection that the application can break off with a reset, as a network does."""

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import Any, cast

from typing_extensions import override
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

RESET = "simulated_exchange.reset"  # the key among the ASGI scope's extensions
_LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)


class ResettableProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a way to the transport in every scope."""

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {RESET: {"reset": self.reset}}

    def reset(self) -> None:
        """Drop the connection with RST, not FIN: closing without lingering makes the kernel do that."""
        _reset(self.transport)


class ResettableSocket(WebSocketsSansIOProtocol):
    """The same for a WebSocket."""

    @override
    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            extensions: dict[str, Any] = cast("dict[str, Any]", self.scope["extensions"])
            extensions[RESET] = {"reset": self.reset}

    @override
    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.close_sent:
            # After an answer without upgrade, too, which uvicorn would report as a mistake.
            self.handshake_complete = True

    def reset(self) -> None:
        """As above."""
        _reset(self.transport)


def _reset(transport: asyncio.Transport) -> None:
    transport_socket = transport.get_extra_info("socket")
    if transport_socket is not None and not transport.is_closing():
        transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
    transport.abort()
