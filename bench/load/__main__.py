"""`python -m bench.load`: one run in a process of its own; prints its result as JSON, then waits for a line."""

import argparse
import gc
import json
import sys
from dataclasses import asdict

from bench.load.balance import open_balanced
from bench.load.closed import run_closed
from bench.load.connections import Connections
from bench.load.open import OpenLoop
from bench.load.requests import make_requests


def main() -> None:
    """Run, print, and keep the connections open until signalled, so that the servers can be inspected."""
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server-pid", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--warm-seconds", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, help="open loop: requests a second; closed loop without it")
    parser.add_argument("--keys", action="store_true", help="an Idempotency-Key on every second request")
    parser.add_argument("--prefer", default="", help="the header Prefer of each request")
    arguments = parser.parse_args()

    opened = Connections(
        open_balanced(arguments.port, arguments.connections, server_pid=arguments.server_pid, workers=arguments.workers)
    )
    next_request = make_requests(arguments.port, keys=arguments.keys, prefer=arguments.prefer)
    times = {"warm_seconds": arguments.warm_seconds, "seconds": arguments.seconds}
    gc.freeze()
    gc.disable()
    if arguments.rate is None:
        result = asdict(run_closed(opened, next_request, **times))
    else:
        result = asdict(OpenLoop(opened, next_request, arguments.rate).run(**times))
    print(json.dumps(result), flush=True)
    sys.stdin.readline()
    opened.close()


if __name__ == "__main__":
    main()
