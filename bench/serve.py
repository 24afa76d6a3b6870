"""Serves a rival the way `ordertrail api` serves itself: same server, same settings, a port that the kernel gives."""

import argparse
import socket

import uvicorn
from uvicorn.supervisors import Multiprocess

BACKLOG = 2048


def main() -> None:
    """Serve `module:app` until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.serve")
    parser.add_argument("app")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.set_inheritable(True)
    config = uvicorn.Config(
        arguments.app,
        workers=arguments.workers,
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
    print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    if arguments.workers == 1:
        uvicorn.Server(config).run(sockets=[listening])
    else:
        Multiprocess(config, sockets=[listening]).run()


if __name__ == "__main__":
    main()
