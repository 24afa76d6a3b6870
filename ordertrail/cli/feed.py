"""Feeding execution reports in a process of its own, until it is stopped."""

from ordertrail.cli.at_database import DONE, REFUSED, run
from ordertrail.runtime import failpoints
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.settings import Settings, load_settings
from ordertrail.runtime.telemetry import streams
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.execution_process import ExecutionProcess
from ordertrail.server.start_line import say_start, want_exchange_url
from ordertrail.venues.registry import make_venue


def feed() -> int:
    """Receive the exchange's execution reports and publish them to the queue, until SIGTERM; a second one stands by."""
    streams.protect()
    settings = load_settings()
    want_exchange_url(settings)
    failpoints.arm_from(settings.failpoints)
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    say_start("feed", settings)
    return run(_feed(settings))


async def _feed(settings: Settings) -> int:
    venue = make_venue(
        settings.exchange_url,
        data_dir=settings.data_dir,
        clock=SystemClock(),
        connections_max=settings.exchange_connections_max,
    )
    process = ExecutionProcess(settings, venue=venue.name, follows=venue, processes=False)
    return DONE if await process.run_until_stopped(announce="ordertrail feed started") else REFUSED
