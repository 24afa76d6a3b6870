"""A request for events → which of them, from where on, and in which form; or everything that is wrong with it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ordertrail.api.list_query import InvalidQuery, Pairs, once_each, pointer_to
from ordertrail.domain.errors import FieldProblem
from ordertrail.events.cursor import Cursor, read_cursor
from ordertrail.events.shown import EventType, Wanted
from ordertrail.events.watching import Begin

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000

STREAM_PARAMETERS = ("after", "order_id", "type")
PAGE_PARAMETERS = ("limit", *STREAM_PARAMETERS)

_OLDEST = "0"
_LIMIT = re.compile(r"[0-9]{1,4}", re.ASCII)
_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
NO_CURSOR = "is not an id that came with an event or a heartbeat, nor a next_after, nor 0"


class EventForm(Enum):
    """What is answered."""

    STREAM = "text/event-stream"
    PAGE = "application/json"


@dataclass(frozen=True, slots=True)
class EventsQuery:
    """`limit` is of a page."""

    wanted: Wanted
    start: Cursor | Begin
    limit: int


def accepted_form(accept: Iterable[str]) -> EventForm | None:
    """The form that the values of `Accept` like best (RFC 9110, section 12.5.1), where they do not care: a stream."""
    ranges = _media_ranges(",".join(accept)) or {"*/*": 1.0}
    stream, page = (_weight_of(form.value, ranges) for form in (EventForm.STREAM, EventForm.PAGE))
    if stream == page == 0:
        return None
    return EventForm.STREAM if stream >= page else EventForm.PAGE


def parse_events_query(pairs: Pairs, form: EventForm, *, last_event_id: str | None) -> EventsQuery:
    """Read the parameters, and the header that a stream is resumed with, which wins. Raises InvalidQuery."""
    values, problems = once_each(pairs, STREAM_PARAMETERS if form is EventForm.STREAM else PAGE_PARAMETERS)
    start: Cursor | Begin | None = Begin.NOW
    if last_event_id is not None:
        start = _start(last_event_id)
    elif "after" in values:
        start = _start(values["after"])
    if start is None:
        pointer = pointer_to("after") if last_event_id is None else "/header/Last-Event-ID"
        problems.append(FieldProblem(pointer, NO_CURSOR))
    wanted_type = values.get("type")
    if wanted_type is not None and wanted_type not in list(EventType):
        problems.append(FieldProblem(pointer_to("type"), "must be one of " + ", ".join(EventType)))
    limit = values.get("limit", str(LIMIT_DEFAULT))
    if "limit" in values and not (_LIMIT.fullmatch(limit) and 1 <= int(limit) <= LIMIT_MAX) and form is EventForm.PAGE:
        problems.append(FieldProblem(pointer_to("limit"), f"must be a whole number from 1 to {LIMIT_MAX}"))
    if problems or start is None:
        raise InvalidQuery(problems)
    wanted = Wanted(values.get("order_id"), None if wanted_type is None else EventType(wanted_type))
    return EventsQuery(wanted, start, int(limit))


def _start(place: str) -> Cursor | Begin | None:
    return Begin.OLDEST if place == _OLDEST else read_cursor(place)


def _media_ranges(accept: str) -> dict[str, float]:
    """Media range → weight; what cannot be read is left out."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.lower().split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        if media and all(_WEIGHT.fullmatch(weight) for weight in weights):
            ranges[media] = float(weights[0]) if weights else 1.0
    return ranges


def _weight_of(media: str, ranges: dict[str, float]) -> float:
    """The most specific range that fits says it."""
    for name in (media, media.partition("/")[0] + "/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0
