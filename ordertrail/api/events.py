"""`GET /events`: what is written of orders and executions, as a stream, as pages, and as pages that are waited for."""

import asyncio
from collections.abc import Sequence
from typing import assert_never

import msgspec
from fastapi import APIRouter, Request, Response

from ordertrail.api.database_problems import RETRY_AFTER_SECONDS, database_errors_as_problems
from ordertrail.api.event_json import event_json
from ordertrail.api.event_stream import DELIVERED, EventStream
from ordertrail.api.events_query import EventForm, EventsQuery, accepted_form, parse_events_query
from ordertrail.api.list_query import InvalidQuery
from ordertrail.api.openapi_events import READ_EVENTS
from ordertrail.api.prefer import preference_applied, wait_seconds_granted
from ordertrail.api.problems import ProblemError
from ordertrail.events.cursor import write_cursor
from ordertrail.events.reader import End, Reader, ReaderKind
from ordertrail.events.shown import ShownEvent
from ordertrail.events.watching import Refusal, Watching
from ordertrail.storage.event_rows import MarkGone

# How long a page may look for events that fit its filters before it says how far it has come.
SEARCH_SECONDS_MAX = 5.0

_RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}
_encode = msgspec.json.Encoder().encode


def events_router(watching: Watching) -> APIRouter:
    """The route of events."""
    router = APIRouter()

    @router.get("/events", **READ_EVENTS)
    async def read_events(request: Request) -> Response:
        form = accepted_form(request.headers.getlist("accept"))
        if form is None:
            raise ProblemError("not-acceptable")
        query = _query(request, form)
        match form:
            case EventForm.STREAM:
                return EventStream(watching, await _join(watching, ReaderKind.STREAM, query))
            case EventForm.PAGE:
                return await _page(watching, query, wait_seconds=wait_seconds_granted(request.headers.raw))
            case _:
                assert_never(form)

    return router


def _query(request: Request, form: EventForm) -> EventsQuery:
    try:
        return parse_events_query(
            request.query_params.multi_items(), form, last_event_id=request.headers.get("last-event-id")
        )
    except InvalidQuery as error:
        raise ProblemError(
            "invalid-request",
            detail=f"The query is not valid: {error}",
            errors=[{"pointer": problem.pointer, "detail": problem.detail} for problem in error.problems],
        ) from error


async def _join(watching: Watching, kind: ReaderKind, query: EventsQuery) -> Reader:
    with database_errors_as_problems():
        joined = await watching.join(kind, query.wanted, query.start)
    match joined:
        case Reader():
            return joined
        case MarkGone():
            raise _gone(joined)
        case Refusal.FULL:
            raise ProblemError("too-many-readers", headers=_RETRY_AFTER)
        case Refusal.DRAINING:
            raise ProblemError("shutting-down", headers=_RETRY_AFTER)
        case _:
            assert_never(joined)


def _gone(gone: MarkGone) -> ProblemError:
    return ProblemError(
        "events-gone",
        detail=f"What follows this cursor cannot be known: {gone.why}. `?after=0` begins at the oldest that is kept.",
    )


async def _page(watching: Watching, query: EventsQuery, *, wait_seconds: float | None) -> Response:
    reader = await _join(watching, ReaderKind.PAGE, query)
    start = reader.position
    try:
        events = await _first_events(watching, reader, wait_seconds=wait_seconds or 0)
        if reader.end is End.LOG_CHANGED:
            raise _gone(reader.why_gone or MarkGone("the log has changed"))
        if not events and not reader.is_live and reader.position == start and reader.end is None:
            # Not a page was read in all the time: the database is away.
            raise ProblemError("database-unavailable", headers=_RETRY_AFTER)
        is_cut = len(events) > query.limit
        page = events[: query.limit]
        next_after = page[-1].id if is_cut else write_cursor(watching.position_of(reader))
    finally:
        watching.leave(reader)
    DELIVERED.add(len(page))
    return Response(
        _encode({"events": [event_json(event) for event in page], "next_after": next_after}),
        headers={"Cache-Control": "no-store", **preference_applied(wait_seconds)},
        media_type="application/json",
    )


async def _first_events(watching: Watching, reader: Reader, *, wait_seconds: float) -> Sequence[ShownEvent]:
    """What comes first for the reader; nothing where there is nothing, or not in time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while reader.end is None:
        is_at_the_end = watching.is_at_the_end(reader)
        bound_seconds = wait_seconds if is_at_the_end else max(wait_seconds, SEARCH_SECONDS_MAX)
        left = begun + bound_seconds - loop.time()
        if left <= 0:
            break
        if deliveries := await watching.more(reader, seconds=left):
            return [event for delivery in deliveries for event in delivery.events]
    return ()
