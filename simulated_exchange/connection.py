"""A connection that the application can break off with a reset, as a network does."""

import socket
import struct

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
        transport_socket = self.transport.get_extra_info("socket")
        if transport_socket is not None and not self.transport.is_closing():
            transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
        self.transport.abort()
