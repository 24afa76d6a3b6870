"""`python -m simulated_exchange`: the simulated exchange as a program of its own."""

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path

import uvloop

from simulated_exchange.capabilities import PROFILES, parse_profile
from simulated_exchange.faults import parse_faults
from simulated_exchange.log import LogError
from simulated_exchange.server import ExchangeServer
from simulated_exchange.service import KEPT_REPORTS, ExchangeService, open_exchange

CANNOT_START = 2
KEPT_REPORTS_MIN = 4
LOG_BYTES_MIN = 4_096


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 when stopped, 2 and a sentence on stderr if it cannot start."""
    arguments = _parser().parse_args(argv)
    try:
        profile = parse_profile(arguments.profile)
        faults = parse_faults(arguments.faults)
        listener = _listen(arguments.host, arguments.port)
        with listener:
            service = open_exchange(
                arguments.data_dir,
                profile=profile,
                faults=faults,
                reports_kept=arguments.reports_kept,
                log_bytes_max=arguments.log_bytes_max,
            )
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(service, listener))
    except (LogError, ValueError, OSError) as problem:
        sys.stderr.write(f"{problem}\n")
        return CANNOT_START
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulated_exchange", description="A simulated exchange.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any that is free (0)")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the exchange's log")
    parser.add_argument(
        "--profile", default="durable", help=f"what it promises: {', '.join(PROFILES)}, or JSON (durable)"
    )
    parser.add_argument("--faults", default="{}", help="faults from the start, as for PUT /v1/faults ({})")
    parser.add_argument(
        "--reports-kept",
        type=_reports_kept,
        default=KEPT_REPORTS,
        help=f"how many execution reports can be read again at most ({KEPT_REPORTS})",
    )
    parser.add_argument(
        "--log-bytes-max",
        type=_log_bytes_max,
        help="from which size on the log is compacted, whenever it has doubled since (never)",
    )
    return parser


def _log_bytes_max(text: str) -> int:
    number = int(text)
    if number < LOG_BYTES_MIN:
        raise argparse.ArgumentTypeError(f"at least {LOG_BYTES_MIN}")
    return number


def _reports_kept(text: str) -> int:
    number = int(text)
    if number < KEPT_REPORTS_MIN:
        raise argparse.ArgumentTypeError(f"at least {KEPT_REPORTS_MIN}")
    return number


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as problem:
        # Python adds the address to the text of a number it knows; a name that is not found has no such number.
        number = problem.errno if isinstance(problem, OSError) else None
        reason = os.strerror(number) if number is not None and number > 0 else problem
        raise OSError(f"Cannot listen on {host}, port {port}: {reason}.") from problem


async def _serve(service: ExchangeService, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown_host = f"[{host}]" if ":" in host else host

    def announce() -> None:
        sys.stdout.write(f"simulated exchange listening on http://{shown_host}:{port}\n")
        sys.stdout.flush()

    try:
        await ExchangeServer(service, on_ready=announce).serve(sockets=[listener])
    finally:
        await service.close()


if __name__ == "__main__":
    sys.exit(main())
