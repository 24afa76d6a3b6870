"""The web process: the application with real parts, from the environment's settings."""

import asyncio
import contextlib
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from types import FrameType
from typing import Any

from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings, load_settings
from ordertrail.runtime.telemetry import streams
from ordertrail.runtime.telemetry.processes import is_worker, share_metrics

if is_worker():
    streams.protect()
    # Before anything imports the metrics: the library decides on import how their values are kept.
    # What cannot be read is said when the service is made.
    with contextlib.suppress(CannotStart):
        share_metrics(load_settings(quietly=True).data_dir, parent=os.getppid())

from ordertrail.api.app import create_app
from ordertrail.api.parts import ApiParts
from ordertrail.runtime import failpoints
from ordertrail.runtime.telemetry.logs import configure_logs, flush
from ordertrail.server.service import Service
from ordertrail.server.start_line import say_start
from ordertrail.venues.registry import is_in_memory, is_in_process
from ordertrail.venues.venue import Venue

# An order's objects are freed by their reference counts; the collector would walk them in vain, every 700 objects.
GC_THRESHOLDS = (20_000, 50, 100)
EXIT_TASK_LOST = 1

_Handler = Callable[[int, FrameType | None], Any]


def make_service(venue: Venue | None = None, *, is_bare: bool = False) -> Service:
    """The service, with the settings as they are when the server starts; `venue`: instead of the one they name.

    `is_bare`: no process of ours has started this one, and said what it works with.
    """
    streams.protect()
    settings = load_settings(quietly=not is_bare)
    if is_bare:
        say_start("uvicorn", settings)
    failpoints.arm_from(settings.failpoints)
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return Service(
        settings,
        venue=venue,
        takes_in_executions=takes_in_executions(settings, is_bare=is_bare),
        places_queued=places_queued(settings, is_bare=is_bare),
    )


def places_queued(settings: Settings, *, is_bare: bool) -> bool:
    """Whether a process of the API places queued orders, where no setting says so: as it is with execution reports."""
    if settings.place_queued_in_api is not None:
        return settings.place_queued_in_api
    return is_bare or is_in_process(settings.exchange_url)


def takes_in_executions(settings: Settings, *, is_bare: bool) -> bool:
    """Whether a process of the API feeds and processes execution reports, where no setting says so.

    A server that is started bare leaves nothing undone: it migrates and reconciles by itself, and so it does this. Of
    several that do, the lease says which one feeds. Beside `ordertrail api` stand processes for it; but nobody else can
    hear an exchange that is in this process. One in memory is for benchmarks of placing alone.
    """
    if settings.executions_in_api is not None:
        return settings.executions_in_api
    if is_in_memory(settings.exchange_url):
        return False
    return is_bare or is_in_process(settings.exchange_url)


@asynccontextmanager
async def _open_bare() -> AsyncIterator[ApiParts]:
    """For any server of ASGI applications: where a background task is lost, the process ends as it would for ours."""
    service = make_service(is_bare=True)
    service.background.when_lost = partial(_have_the_server_stop, service.settings.drain_bound_seconds)
    async with service.open_for_api() as parts:
        with _draining_at_signals(service.start_draining):
            yield parts
    if service.background.problem is not None:
        # All is answered and recorded. The server would say that it ended because it was told to.
        flush()
        os._exit(EXIT_TASK_LOST)


@contextlib.contextmanager
def _draining_at_signals(start_draining: Callable[[], None]) -> Iterator[None]:
    """Call it at the signals that stop a server.

    One that is not ours tells the application only after every answer has ended, and streams end when they are told.
    """
    loop = asyncio.get_running_loop()
    replaced: list[tuple[int, _Handler, _Handler]] = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            # What is no function is either nobody's or not Python's, and then there is nothing to call after ours.
            if callable(handler):
                ours = partial(_start_draining_first, loop, start_draining, handler)
                signal.signal(number, ours)
                replaced.append((number, ours, handler))
    try:
        yield
    finally:
        for replaced_number, our, before in replaced:
            if signal.getsignal(replaced_number) is our:
                signal.signal(replaced_number, before)


def _start_draining_first(
    loop: asyncio.AbstractEventLoop,
    start_draining: Callable[[], None],
    handler: _Handler,
    number: int,
    frame: FrameType | None,
) -> None:
    loop.call_soon_threadsafe(start_draining)
    handler(number, frame)


def _have_the_server_stop(bound_seconds: float) -> None:
    """SIGTERM is what every server drains at; one that does not come to an end is ended."""
    timer = threading.Timer(bound_seconds, os._exit, (EXIT_TASK_LOST,))
    timer.daemon = True
    timer.start()
    os.kill(os.getpid(), signal.SIGTERM)


# For any server of ASGI applications, and for that of `ordertrail api`.
app = create_app(_open_bare)
served_app = create_app(lambda: make_service().open_for_api())
