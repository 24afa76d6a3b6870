"""`ordertrail check`: tries everything that a deploy needs, and changes nothing.

Exit codes: 0 all is well, 1 a problem was found.
"""

# ruff: noqa: T201 - it talks to a person

import asyncio
import json as json_text
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from typing_extensions import override

from ordertrail.cli.api_client import RequestNotSent, RequestOutcomeUnknown, request
from ordertrail.cli.output import Json
from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.queues.queue import QueueUnavailable
from ordertrail.queues.registry import make_queue, queue_title
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings, later_settings, read_known_settings, unknown_sentence
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.listening import listening_socket
from ordertrail.server.start_line import NO_REAL_ORDER, shown_database, title_of, want_exchange_url, want_venue_name
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.inspection import (
    EventLogInspection,
    inspect_event_log,
    inspect_server,
    schema_problem,
)
from ordertrail.storage.postgres.migrate import SCHEMA_HEAD
from ordertrail.venues.registry import make_venue
from ordertrail.venues.venue import Venue

ALL_WELL, PROBLEM_FOUND = 0, 1
# Around each check, beyond the timeouts that the settings have for every single call.
CHECK_SECONDS_MAX = 30.0
# For the answer of what listens at our port.
CALL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Offset:
    """How far another clock is ahead of this process's, and how far that may be wrong."""

    seconds: float
    uncertain_seconds: float

    @override
    def __str__(self) -> str:
        direction = "ahead of" if self.seconds >= 0 else "behind"
        return f"{abs(self.seconds):.3f} s {direction} this machine's (±{self.uncertain_seconds:.3f} s)"


def check(*, json: Json = False) -> int:
    """Try everything before a deploy; exit code 0 all is well, 1 a problem was found.

    Parameters
    ----------
    json
        For programs: print one JSON document.
    """
    configure_logs(level="error", log_format="text")
    findings = asyncio.run(find_all())
    is_well = all(finding.ok for finding in findings)
    if json:
        print(json_text.dumps({"ok": is_well, "checks": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            print(f"{'ok' if finding.ok else 'PROBLEM':<8} {finding.name:<18} {finding.detail}")
    return ALL_WELL if is_well else PROBLEM_FOUND


async def find_all() -> list[Finding]:
    """Every check in turn; where the settings cannot be read there is nothing else to try."""
    try:
        settings = read_known_settings()
        unknown = unknown_sentence()
    except CannotStart as error:
        return [Finding("settings", ok=False, detail=str(error))]
    unused = [name for name, _, is_given in later_settings() if is_given]
    read = "all are known" + (f"; not used by this version: {', '.join(unused)}" if unused else "")
    findings = [Finding("settings", ok=unknown is None, detail=unknown or read)]
    offsets: dict[str, Offset] = {}
    for name, tries in (
        ("database", lambda: _of_the_database(settings, offsets)),
        ("exchange", lambda: _of_the_exchange(settings, offsets)),
        ("queue", lambda: _of_the_queue(settings)),
        ("clocks", lambda: _of_the_clocks(settings, offsets)),
        ("data folder", lambda: _of_the_data_folder(settings)),
        ("port", lambda: _of_the_port(settings)),
    ):
        findings += await _bounded(name, tries)
    return findings


async def _bounded(name: str, tries: Callable[[], AsyncIterator[Finding]]) -> list[Finding]:
    """What a check finds, however it ends."""
    findings = []
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            async for finding in tries():
                findings.append(finding)  # noqa: PERF401 - what was found before a failure stays
    except TimeoutError:
        findings.append(Finding(name, ok=False, detail=f"there was no end to it within {CHECK_SECONDS_MAX:g} s"))
    except (CannotStart, StatementFailed, StatementOutcomeUnknown, OSError) as error:
        findings.append(Finding(name, ok=False, detail=f"{error}"))
    return findings


async def _of_the_database(settings: Settings, offsets: dict[str, Offset]) -> AsyncIterator[Finding]:
    place = shown_database(settings)
    database = Database(
        settings.database_url.get_secret_value(),
        timeout_seconds=settings.database_timeout_seconds,
        connections_max=1,
    )
    await database.open()
    try:
        await database.ping()  # it can be written to, and is reached without a pooler in between
        began = _now()
        server = await inspect_server(database)
        offsets["database"] = _offset(server.now, began)
        needed = "" if server.is_new_enough else "; 15 or newer is needed"
        yield Finding("database", ok=server.is_new_enough, detail=f"{place}: PostgreSQL {server.version}{needed}")
        problem = await schema_problem(database)
        yield Finding("schema", ok=problem is None, detail=problem or f"at {SCHEMA_HEAD}, as this version needs it")
        if problem is None:
            yield _of_the_event_log(await inspect_event_log(database))
    finally:
        await database.close()


def _of_the_event_log(found: EventLogInspection) -> Finding:
    """Placing needs nothing of it; only that the log cannot be kept in order is a problem, for it grows."""
    sentences = []
    if not found.may_keep:
        sentences.append(
            "this role can neither make its days nor drop old ones, so it grows for ever: let the role own event_log, "
            "and create tables in its schema"
        )
    if not found.is_here:
        sentences.append("it was restored from another server: it begins anew at the start, and older cursors are gone")
    if not (found.may_see_running and found.may_see_since_when):
        unknown = "since when it is open" if found.may_see_running else "which it is"
        sentences.append(
            f"of a transaction that holds events back this role may not see {unknown}: GRANT pg_monitor, if it matters"
        )
    return Finding(
        "events", ok=found.may_keep, detail="; ".join(sentences) or "they can be read, kept and watched over"
    )


async def _of_the_exchange(settings: Settings, offsets: dict[str, Offset]) -> AsyncIterator[Finding]:
    want_exchange_url(settings, workers=settings.workers)
    title = title_of(settings)
    if title.startswith("SIMULATED"):
        yield Finding("exchange", ok=True, detail=f"{title}, {NO_REAL_ORDER}")
        return
    async with _opened(settings) as venue:
        found = await venue.capabilities(timeout_seconds=settings.exchange_timeout_seconds)
        if isinstance(found, NoAnswer):
            yield Finding("exchange", ok=False, detail=f"{title} does not say what it can: {found.cause}")
            return
        yield Finding("exchange", ok=True, detail=f"{title}: {_meaning(found)}")
        began = _now()
        orders = await venue.open_orders(timeout_seconds=settings.exchange_timeout_seconds)
        if isinstance(orders, NoAnswer):
            yield Finding("exchange's orders", ok=False, detail=f"no list of open orders: {orders.cause}")
            return
        yield Finding("exchange's orders", ok=True, detail=f"{len(orders.orders)} open")
        if orders.as_of is not None:
            offsets["exchange"] = _offset(orders.as_of, began)


async def _of_the_queue(settings: Settings) -> AsyncIterator[Finding]:
    title = queue_title(settings.queue_url)
    if settings.queue_url is None:
        yield Finding("queue", ok=True, detail=f"{title}, with the orders")
        return
    queue = make_queue(settings.queue_url, venue=want_venue_name(settings), bytes_max=settings.queue_bytes_max)
    await queue.open()
    try:
        waiting = await queue.frames_waiting()
    except QueueUnavailable as error:
        yield Finding("queue", ok=False, detail=f"{title}: {error}")
    else:
        what = "in reach, declared at the first use" if waiting is None else f"{waiting} frames wait"
        yield Finding("queue", ok=True, detail=f"{title}: {what}")
    finally:
        await queue.close()


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Venue]:
    venue = make_venue(settings.exchange_url, data_dir=settings.data_dir, clock=SystemClock(), connections_max=1)
    await venue.open()
    try:
        yield venue
    finally:
        await venue.close()


def _meaning(capabilities: Capabilities) -> str:
    """What its promises mean for an order whose answer was lost."""
    unique = capabilities.client_order_id_unique
    if capabilities.honours_accept_by or unique == "forever":
        why = "an id is refused again for ever" if unique == "forever" else "a late order is refused"
        return f"orders in doubt may be sent again ({why})"
    if isinstance(unique, str):
        return "orders in doubt are never sent again (it does not refuse a used id for good)"
    return f"orders in doubt may be sent again for a while (a used id is refused for {unique:g} s)"


async def _of_the_clocks(settings: Settings, offsets: dict[str, Offset]) -> AsyncIterator[Finding]:
    margin = settings.clock_margin_seconds
    for name, offset in offsets.items():
        is_near = abs(offset.seconds) - offset.uncertain_seconds <= margin
        far = f"; more than ORDERTRAIL_CLOCK_MARGIN_SECONDS ({margin:g}): let all follow one time server"
        yield Finding(f"clock of {name}", ok=is_near, detail=f"{offset}{'' if is_near else far}")


async def _of_the_data_folder(settings: Settings) -> AsyncIterator[Finding]:
    folder = settings.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    wanted = settings.spool_bytes_max + settings.log_bytes_max
    free = shutil.disk_usage(there).free
    try:
        if there == folder:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
        elif not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(f"it is not there, and cannot be made in {there}")
    except OSError as error:
        yield Finding("data folder", ok=False, detail=f"{folder} cannot be written: {error.strerror or error}")
        return
    room = f"{_megabytes(free)} are free"
    room += "" if free >= wanted else f", spool and logs may take {_megabytes(wanted)}"
    is_new = "" if there == folder else "it will be made, "
    yield Finding("data folder", ok=free >= wanted, detail=f"{folder}: {is_new}{room}")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


async def _of_the_port(settings: Settings) -> AsyncIterator[Finding]:
    place = f"{settings.host}:{settings.port}"
    try:
        listening_socket(settings.host, settings.port).close()
    except CannotStart as error:
        venue = await asyncio.to_thread(_venue_of_running, settings)
        running = f"{place}: an Ordertrail listens there (venue {venue}), to be stopped before another starts"
        yield Finding("port", ok=venue is not None, detail=running if venue is not None else str(error))
    else:
        yield Finding("port", ok=True, detail=f"{place} is free")


def _venue_of_running(settings: Settings) -> str | None:
    """The venue of the Ordertrail that listens at our address; None: another program does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - compared # nosec
    try:
        answer = request(f"http://{host}:{settings.port}", "GET", "/readyz", timeout_seconds=CALL_SECONDS)
    except (RequestNotSent, RequestOutcomeUnknown):
        return None
    venue = answer.document.get("venue")
    return venue if isinstance(venue, str) else None


def _now() -> datetime:
    return datetime.now(UTC)


def _offset(theirs: datetime, began: datetime) -> Offset:
    """By a time that they read somewhere between our question and now."""
    took = _now() - began
    return Offset((theirs - (began + took / 2)).total_seconds(), took.total_seconds() / 2)
