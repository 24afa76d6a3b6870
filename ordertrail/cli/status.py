"""`ordertrail status`: the screen for the night. It asks the API, and where none answers the database.

Exit codes: 0 nothing is to be done, 1 something is, 2 neither the API nor the database could be reached.
"""

# ruff: noqa: T201 - it talks to a person

import asyncio
import json as json_text
from typing import Any

from ordertrail.cli.api_client import RequestNotSent, RequestOutcomeUnknown, request
from ordertrail.cli.output import Json
from ordertrail.cli.person_settings import load_settings_of_person, what_to_set
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.notices import say
from ordertrail.runtime.settings import Settings
from ordertrail.server.queue_depth import QueueDepth, broker_depth
from ordertrail.server.status_document import SECTIONS, Document, EventsHorizon, figures_sections, text_of, to_do
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.event_log import PostgresEventLog
from ordertrail.storage.postgres.status import StatusFigures, read_figures
from ordertrail.venues.registry import venue_name

NOTHING_TO_DO, SOMETHING_TO_DO, OUT_OF_REACH = 0, 1, 2


def status(*, url: str | None = None, timeout_seconds: float = 5, json: Json = False) -> int:
    """What is, and what to do; exit code 0 nothing, 1 something, 2 neither API nor database could be reached.

    Parameters
    ----------
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for the API's answer.
    json
        For programs: print one JSON document.
    """
    settings = load_settings_of_person()
    document = _of_the_api(url or settings.api_url, timeout_seconds=timeout_seconds)
    if document is None:
        document = _of_the_database(settings, url or settings.api_url)
    if document is None:
        return OUT_OF_REACH
    print(json_text.dumps(document) if json else "\n".join(lines_of(document)))
    return SOMETHING_TO_DO if document["to_do"] else NOTHING_TO_DO


def _of_the_api(url: str, *, timeout_seconds: float) -> Document | None:
    """None once it has been said why there is none."""
    try:
        answer = request(url, "GET", "/status", timeout_seconds=timeout_seconds)
    except (RequestNotSent, RequestOutcomeUnknown) as error:
        say(str(error))
        return None
    if answer.status != 200 or not _is_a_status(answer.document):
        say(f"{url} answered with HTTP {answer.status} and no status of Ordertrail's.")
        return None
    return answer.document


def _is_a_status(document: Document) -> bool:
    """Whether it has all that is shown; another release's may have more."""
    try:
        lines_of(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    has_all = all(isinstance(document.get(name), dict) for name in SECTIONS)
    return has_all and isinstance(document["to_do"], list) and document["to_do"] == to_do(document)


def _of_the_database(settings: Settings, url: str) -> Document | None:
    """What it knows by itself, where no API answers; None: neither does it."""
    try:
        figures, queue, horizon = asyncio.run(_read(settings))
    except (StatementFailed, StatementOutcomeUnknown) as error:
        say(f"Nor could the database be read: {error}.{what_to_set(settings, 'database_url')}")
        return None
    sections: Document = {
        "api": {"url": url, "to_do": f"No API answers at {url}: start it, or look why it does not answer."},
        "database": {"is_up": True, "since": None, "schema": figures.schema_version, "problem": None, "to_do": None},
        **figures_sections(figures, queue, horizon),
    }
    as_of = text_of(figures.read_at)
    head = {"as_of": as_of, "worker": None, "figures_as_of": as_of}
    return {**head, "to_do": [sections["api"]["to_do"], *to_do(sections)], **sections}


async def _read(settings: Settings) -> tuple[StatusFigures, QueueDepth | None, EventsHorizon | None]:
    database = Database(
        settings.database_url.get_secret_value(),
        timeout_seconds=settings.database_timeout_seconds,
        connections_max=1,
    )
    await database.open()
    try:
        figures = await read_figures(database)
        horizon = await _read_horizon(database)
    finally:
        await database.close()
    # Without an exchange's name there is none whose reports could wait.
    venue = figures.feed_venue or (settings.exchange_url and venue_name(settings.exchange_url))
    broker = None if venue is None else broker_depth(settings, venue=venue)
    if broker is None:
        return figures, None, horizon
    try:
        return figures, await broker.read(), horizon
    finally:
        await broker.close()


async def _read_horizon(database: Database) -> EventsHorizon | None:
    try:
        return EventsHorizon(await PostgresEventLog(database, SystemClock()).horizon_holder())
    except (StatementFailed, StatementOutcomeUnknown):
        return None


def lines_of(document: Document) -> list[str]:
    """The document for a person: a line a section, then what to do."""
    worker = f", of worker {document['worker']}" if document.get("worker") else ""
    lines = [
        f"As of {document['as_of']}{worker}; the database's figures of {document['figures_as_of'] or 'never'}.",
        "",
    ]
    for name, render in _RENDER.items():
        section = document.get(name)
        if isinstance(section, dict):
            texts = render(section)
            mark = "!" if section.get("to_do") else " "
            lines += [
                f"{mark} {name.replace('_', ' ') if not row else '':<14} {text}" for row, text in enumerate(texts)
            ]
    lines.append("")
    lines += ["Nothing is to be done."] if not document["to_do"] else ["To do:", *(f"- {x}" for x in document["to_do"])]
    return lines


def _api(section: Document) -> list[str]:
    return [f"no answer at {section['url']}"]


def _ready(section: Document) -> list[str]:
    return ["yes"] if section["is_ready"] else ["no", *section["problems"]]


def _database(section: Document) -> list[str]:
    since = f" since {section['since']}" if section["since"] else ""
    return [f"{'up' if section['is_up'] else 'away'}{since}, schema {_known(section['schema'])}"]


def _exchange(section: Document) -> list[str]:
    silent = f"silent since {section['silent_since']}" if section["silent_since"] else "no silence"
    trouble = f"{section['last_trouble']} at {section['last_trouble_at']}" if section["last_trouble"] else "none"
    return [f"{section['venue']}: {silent}; last trouble: {trouble}"]


def _gate(section: Document) -> list[str]:
    return [
        f"{name}: {budget['breaker']}"
        + (f" until {budget['until']}, for {budget['why']}" if budget["until"] else "")
        + f"; {budget['in_flight']} in flight, {budget['waiting']} wait"
        + _open_instruments(budget)
        for name, budget in section["budgets"].items()
    ]


def _open_instruments(budget: Document) -> str:
    names = [each["instrument"] for each in budget["open_instruments"]]
    more = budget["instruments_open"] - len(names)
    return f"; stopped: {', '.join(names)}" + (f" and {more} more" if more else "") if names else ""


def _halted(section: Document) -> list[str]:
    if not section["is_halted"]:
        return ["no" if section["is_halted"] is not None else _known(None)]
    return [f"yes, by {_known(section['by'])} at {_known(section['at'])}: {section['why'] or 'no reason given'}"]


def _doubts(section: Document) -> list[str]:
    if section["count"] is None:
        return [_known(None)]
    oldest = f", the oldest for {section['oldest_seconds']:.0f} s" if section["count"] else ""
    return [f"{section['count']} in doubt{oldest}; {section['unresolved']} unresolved"]


def _open(section: Document) -> list[str]:
    return [f"{_known(section['open'])} open"]


def _late_arrivals(section: Document) -> list[str]:
    return [f"{_known(section['count'])}, by {section['from']}; still live: {', '.join(section['live']) or 'none'}"]


def _executions(section: Document) -> list[str]:
    if section["is_fed"] is None:
        return ["not fed here", *([_frames(section)] if section["queue_problem"] else [])]
    owner = f"fed by {section['feed']}" if section["is_fed"] else "fed by nobody"
    return [
        f"{owner}, up to {_known(section['tail'])}, of which {_known(section['behind'])} are not applied",
        _frames(section),
        f"{section['parked_reports']} reports are parked",
        f"last trade applied: {section['last_trade_applied_at'] or 'none'}",
    ]


def _frames(section: Document) -> str:
    if section["queue_frames"] is None:
        return f"frames in {section['queue']}: not read, {section['queue_problem']}"
    about = "" if section["queue_frames_are"] == "exact" else "about "
    oldest = f", the oldest for {section['oldest_seconds']:.0f} s" if section["oldest_seconds"] is not None else ""
    return f"{about}{section['queue_frames']} frames wait in {section['queue']}{oldest}"


def _order_queue(section: Document) -> list[str]:
    oldest = section["oldest_seconds"]
    since = "" if oldest is None else f", the oldest for {oldest:.1f} s"
    return [f"{_known(section['orders'])} orders wait for a worker{since}"]


def _events(section: Document) -> list[str]:
    seconds, holder = section["horizon_seconds"], section["held_by"]
    held = (
        "held back: not known" if seconds is None else f"held back for {seconds:.1f} s" if holder else "none held back"
    )
    misplaced = f", {section['misplaced']} rows in no day" if section["misplaced"] else ""
    return [f"kept since {_known(section['oldest_day'])}, {held}{misplaced}"]


def _spool(section: Document) -> list[str]:
    kept = section["files_for_a_person"]
    more = f", {kept} files for a person" if kept else ""
    return [f"{section['trails']} trails, {section['bytes']} of {section['bytes_max']} bytes{more}"]


def _log(section: Document) -> list[str]:
    return [f"{_known(section['records_dropped'])} records dropped"]


def _invariants(section: Document) -> list[str]:
    broken = section["broken"] or {}
    return [", ".join(f"{name} {count}" for name, count in broken.items()) or "none broken"]


def _known(value: Any) -> str:
    return "not known" if value is None else str(value)


_RENDER = {
    "api": _api,
    "ready": _ready,
    "database": _database,
    "exchange": _exchange,
    "gate": _gate,
    "halted": _halted,
    "doubts": _doubts,
    "parked": _open,
    "orphans": _open,
    "late_arrivals": _late_arrivals,
    "executions": _executions,
    "order_queue": _order_queue,
    "events": _events,
    "spool": _spool,
    "log": _log,
    "invariants": _invariants,
}
