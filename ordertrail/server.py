"""Serving the API: uvicorn, on a socket that is bound before anything else starts."""

import socket

import uvicorn
from uvicorn.supervisors import Multiprocess

from ordertrail.domain.errors import CannotStart
from ordertrail.settings import Settings

BACKLOG = 2048


def serve(settings: Settings, *, host: str, port: int, workers: int) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is in flight. `port` 0: the kernel chooses."""
    if workers > 1 and settings.exchange_url is None:
        raise CannotStart(
            "Several workers need one exchange that all of them can reach: start it with `ordertrail exchange` and "
            "set ORDERTRAIL_EXCHANGE_URL, or use one worker."
        )
    listening = _bind(host, port)
    config = uvicorn.Config(
        "ordertrail.asgi:app",
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
    )
    bound_host, bound_port = listening.getsockname()[:2]
    print(f"ordertrail api listening on http://{bound_host}:{bound_port}", flush=True)
    if workers == 1:
        server = uvicorn.Server(config)
        server.run(sockets=[listening])
        return 0 if server.started else 1
    Multiprocess(config, sockets=[listening]).run()
    return 0


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise CannotStart(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port or ORDERTRAIL_PORT."
        ) from error
    listening.set_inheritable(True)
    return listening
