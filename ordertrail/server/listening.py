"""The socket that a server listens on."""

import socket

from ordertrail.runtime.errors import CannotStart


def listening_socket(host: str, port: int) -> socket.socket:
    """Bound, and not listening yet; CannotStart with a sentence."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise CannotStart(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port or ORDERTRAIL_PORT."
        ) from error
    return listening
