"""`ordertrail api`: the socket is bound before anything else starts, then one process serves it, or several do."""

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.telemetry import metrics, streams
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.runtime.telemetry.processes import share_metrics
from ordertrail.server.listening import listening_socket
from ordertrail.server.server import Server
from ordertrail.server.start_line import say_start, want_exchange_url
from ordertrail.server.workers import Parent, Workers

APPLICATION = "ordertrail.server.asgi:served_app"


def serve(settings: Settings, *, host: str, port: int, workers: int, application: str = APPLICATION) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is in flight. `port` 0: the kernel chooses."""
    want_exchange_url(settings, workers=workers)
    streams.protect()
    say_start("api", settings, workers=workers)
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    _raise_open_files_limit()
    listening = listening_socket(host, port)
    announce = partial(_announce, listening)
    if workers == 1:
        Server(settings, on_ready=announce, application=application).run(sockets=[listening])
        return 0
    # Here and not in the workers: they have imported the metrics library by the time they could do anything.
    share_metrics(settings.data_dir, parent=os.getpid())
    return Workers(
        partial(serve_as_worker, settings, application),
        [listening],
        count=workers,
        end_seconds=_end_seconds(settings),
        on_ready=announce,
        on_death=metrics.forget_process,
    ).run()


def serve_as_worker(settings: Settings, application: str, sockets: Sequence[socket.socket], parent: Parent) -> None:
    """One worker's life."""
    streams.protect()
    with _sentences_for_failures():
        server = Server(settings, on_ready=parent.say_ready, application=application)
        parent.when_gone(server.stop, end_seconds=_end_seconds(settings))
        server.run(sockets=list(sockets))


def _end_seconds(settings: Settings) -> float:
    """Within which a process ends by itself, once it is to stop."""
    return settings.drain_notice_seconds + settings.drain_bound_seconds


def _announce(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    shown_host = f"[{host}]" if ":" in host else host
    print(f"ordertrail api listening on http://{shown_host}:{port}", flush=True)


def _raise_open_files_limit() -> None:
    """Take what this account may have: the usual 1,024 files are fewer than the connections we allow."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def _sentences_for_failures() -> Iterator[None]:
    """For a process whose parent cannot catch what it raises: its sentence is printed and the exit code is 2."""
    try:
        yield
    except (CannotStart, OSError) as error:
        print(f"ordertrail: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
