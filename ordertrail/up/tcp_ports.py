"""TCP ports of this machine: which is free, by the kernel's word."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now. Another program may be quicker, so that the caller must be ready to come again."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; connections that are only fading away do not matter."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Linux lets two sockets bind to the same address, but not listen there.
            probe.listen(1)
        except OSError:
            return False
        return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
