"""Placing queued orders in a process of its own, until it is stopped.

Exit codes: 0 done, 1 it ended by itself, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

import asyncio
import gc
import signal

from ordertrail.cli.at_database import DONE, REFUSED, run
from ordertrail.runtime import failpoints
from ordertrail.runtime.settings import load_settings
from ordertrail.runtime.telemetry import streams
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.metrics_port import serving_metrics
from ordertrail.server.service import Service
from ordertrail.server.start_line import say_start, want_exchange_url


def place() -> int:
    """Place queued orders until SIGTERM; as many processes as the load asks for."""
    streams.protect()
    settings = load_settings()
    want_exchange_url(settings)
    failpoints.arm_from(settings.failpoints)
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    say_start("place", settings)
    only_places = {"reconcile_in_api": False, "executions_in_api": False}
    return run(_place_until_stopped(Service(settings.model_copy(update=only_places), places_queued=True)))


async def _place_until_stopped(service: Service) -> int:
    gc.collect()
    gc.freeze()
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    service.background.when_lost = stop_requested.set
    await service.open()
    try:
        async with serving_metrics(service.settings.host, service.settings.metrics_port) as port:
            at = "" if port is None else f", /metrics on port {port}"
            print(f"ordertrail place started{at}", flush=True)
            await stop_requested.wait()
    finally:
        await service.close()
    return DONE if service.background.problem is None else REFUSED
