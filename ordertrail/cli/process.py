"""Processing execution reports in a process of its own, until it is stopped, or what waits once by hand.

Exit codes: 0 done, 1 it was not all done, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

from ordertrail.cli.at_database import DONE, REFUSED, USAGE_OR_CONNECTION, print_json, run, say
from ordertrail.cli.output import Json
from ordertrail.cli.person_settings import load_settings_of_person
from ordertrail.queues.queue import QueueUnavailable
from ordertrail.runtime import failpoints
from ordertrail.runtime.settings import Settings, load_settings
from ordertrail.runtime.telemetry import streams
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.execution_process import ExecutionProcess
from ordertrail.server.start_line import say_start, want_venue_name


def process(*, once: bool = False, json: Json = False) -> int:
    """Turn execution reports into rows until SIGTERM; as many processes as the load asks for.

    Parameters
    ----------
    once
        Work off what waits in the queue, and end; prints what it did.
    json
        For programs: print one JSON document.
    """
    if not once:
        streams.protect()
    settings = load_settings_of_person() if once else load_settings()
    venue = want_venue_name(settings)
    failpoints.arm_from(settings.failpoints)
    configure_logs(level="error" if once else settings.log_level, log_format=settings.log_format)
    if not once:
        say_start("process", settings)
    return run(_process(settings, venue, is_once=once, as_json=json))


async def _process(settings: Settings, venue: str, *, is_once: bool, as_json: bool) -> int:
    process = ExecutionProcess(settings, venue=venue, follows=None, processes=True)
    if is_once:
        return await _process_once(process, as_json=as_json)
    return DONE if await process.run_until_stopped(announce="ordertrail process started") else REFUSED


async def _process_once(process: ExecutionProcess, *, as_json: bool) -> int:
    processing = process.executions.processing
    assert processing is not None
    await process.open()
    try:
        if process.watch.problem is not None:
            return say(process.watch.problem, USAGE_OR_CONNECTION)
        await processing.processor.run_until_empty()
        await processing.upkeep.run_once()
        left = await process.executions.queue.depth()
    except QueueUnavailable as error:
        return say(f"The queue could not be used: {error}", USAGE_OR_CONNECTION)
    finally:
        await process.close()
    totals = processing.report.totals
    if as_json:
        print_json({"reports": totals.reports, "rows": totals.rows, "parked": totals.parked, "frames_left": left})
    else:
        print(
            f"Applied {totals.reports} reports: {totals.rows} are new rows, {totals.parked} are parked; "
            f"{'an unknown number of' if left is None else left} frames are left in the queue."
        )
    return DONE
