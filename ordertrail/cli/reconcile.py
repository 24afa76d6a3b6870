"""Reconciling in a process of its own, until it is stopped, or once by hand.

Exit codes: 0 done, 1 refused, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

from ordertrail.cli.at_database import DONE, REFUSED, print_json, run
from ordertrail.cli.output import Json
from ordertrail.cli.person_settings import load_settings_of_person
from ordertrail.reconciliation.pass_report import PassReport
from ordertrail.reconciliation.sweep import Swept
from ordertrail.runtime import failpoints
from ordertrail.runtime.settings import load_settings
from ordertrail.runtime.telemetry import streams
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.service import Service
from ordertrail.server.start_line import say_start, want_exchange_url


def reconcile(*, once: bool = False, json: Json = False) -> int:
    """Review orders in doubt until SIGTERM.

    Parameters
    ----------
    once
        One pass and one sweep; prints what they did.
    json
        For programs: print one JSON document.
    """
    if not once:
        streams.protect()
    settings = load_settings_of_person() if once else load_settings()
    want_exchange_url(settings)
    failpoints.arm_from(settings.failpoints)
    configure_logs(level="error" if once else settings.log_level, log_format=settings.log_format)
    service = Service(settings.model_copy(update={"reconcile_in_api": False}))
    if once:
        return run(_reconcile_once(service, as_json=json))
    say_start("reconcile", settings)
    return run(_reconcile_until_stopped(service))


async def _reconcile_once(service: Service, *, as_json: bool) -> int:
    async with _opened(service):
        report = await service.schedule.run_once()
        left = await service.doubts.counts()
    swept = service.schedule.swept
    if as_json:
        names = [name for name in report.__slots__ if name != "observations"]
        print_json(
            {
                **{name: getattr(report, name) for name in names},
                "observations": [
                    {"order_id": id_, "observation": observation} for id_, observation in report.observations
                ],
                "sweep": {name: getattr(swept, name) for name in swept.__slots__},
                "left": {"count": left.count, "unresolved": left.unresolved, "oldest_seconds": left.oldest_seconds},
            }
        )
    else:
        _print_report(report, swept)
        print(f"{left.count} in doubt are left, {left.unresolved} of them unresolved.")
    return DONE if not report.errors else REFUSED


def _print_report(report: PassReport, swept: Swept) -> None:
    for order_id, observation in report.observations:
        print(f"{order_id}  {observation}")
    print(
        f"Reviewed {report.reviewed}: {report.settled} settled ({report.completed} placed, {report.not_placed} not "
        f"placed), {report.waiting} wait, {report.unresolved} became unresolved; {report.resent} were sent again, "
        f"{report.canceled} canceled, {report.unanswered} queries had no answer, {report.errors} reviews failed."
    )
    print(
        f"Swept {swept.shown_orders} orders at the exchange: {swept.observed} were in doubt here, {swept.late} came "
        f"after they were settled as not placed, {swept.orphans} are new and unknown here."
    )


async def _reconcile_until_stopped(service: Service) -> int:
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    service.background.when_lost = stop_requested.set
    async with _opened(service):
        service.start_reconciling()
        print("ordertrail reconcile started", flush=True)
        await stop_requested.wait()
    return DONE if service.background.problem is None else REFUSED


@contextlib.asynccontextmanager
async def _opened(service: Service) -> AsyncIterator[None]:
    await service.open()
    try:
        yield
    finally:
        await service.close()
