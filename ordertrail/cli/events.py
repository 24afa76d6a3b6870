"""`ordertrail events`: every row of a trail and every execution report as it is written, a line each.

It goes on by itself through restarts of the API and lost connections, and neither repeats nor leaves out an event. It
does not end by itself. Exit codes: 2 usage, no connection at the start, or an address that is not the API's; 4 what
followed the position cannot be known any more; 130 interrupted.
"""

# ruff: noqa: T201 - it talks to a person

import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal
from urllib.parse import urlencode

from ordertrail.cli.api_answers import call_stream
from ordertrail.cli.api_client import ApiReply
from ordertrail.cli.event_follower import (
    HEARTBEAT,
    SILENCE_SECONDS_MAX,
    Connect,
    EventFollower,
    FollowerClock,
    FollowingEnded,
    ReceivedEvent,
)
from ordertrail.cli.event_lines import EXECUTION, ORDER, json_line, line_for_person
from ordertrail.cli.output import INTERRUPTED, Json, end_as_by_broken_pipe, has_reader_gone
from ordertrail.runtime.notices import say

# So many unknown types are told of, each once.
UNKNOWN_TYPES_MAX = 8
# Its jitter keeps commands apart that lost the API at one moment.
CLOCK = FollowerClock(time.monotonic, time.sleep, random.random)


def events(
    *,
    after: str | None = None,
    order_id: str | None = None,
    type: Literal["order", "execution"] | None = None,
    url: str | None = None,
    json: Json = False,
) -> int:
    """Print a line for each event from now on, until Ctrl-C; exit code 2 no API, 4 the position is gone.

    Parameters
    ----------
    after
        Go on after the event with this id; 0: from the oldest that is kept.
    order_id
        The events of this order alone.
    type
        Rows of trails alone, or execution reports alone.
    url
        The API's address; default ORDERTRAIL_API_URL.
    json
        For programs: print {id, type, data}, one line an event.
    """
    filters = {"order_id": order_id, "type": type}
    follower = EventFollower(
        connect_by(url, filters, starts_after=after), CLOCK, starts_after=after, goes_on_from_now=False
    )
    return print_until_ended(follower.events(), as_json=json)


def connect_by(url: str | None, filters: dict[str, str | None], *, starts_after: str | None) -> Connect:
    """How the stream with these filters is opened after an id."""

    def connect(after: str | None) -> AbstractContextManager[Iterator[bytes] | ApiReply]:
        is_received = after is not None and after != starts_after
        query = {**filters, "after": None if is_received else after}
        text = urlencode({name: value for name, value in query.items() if value is not None})
        headers = {"Last-Event-ID": after} if is_received and after is not None else {}
        return call_stream(
            url, f"/events?{text}" if text else "/events", headers=headers, silence_seconds_max=SILENCE_SECONDS_MAX
        )

    return connect


def print_until_ended(received: Iterator[ReceivedEvent], *, as_json: bool) -> int:
    """Print what comes until following ends, or is ended; the exit code."""
    unknown_types: set[str] = set()
    try:
        for event in received:
            if event.type == HEARTBEAT:
                if has_reader_gone():
                    end_as_by_broken_pipe()
            elif event.type in {ORDER, EXECUTION}:
                print_event(event, as_json=as_json)
            elif event.type not in unknown_types and len(unknown_types) < UNKNOWN_TYPES_MAX:
                unknown_types.add(event.type)
                say(f"Events of the type {event.type!a} are not known to this version, and passed over.")
    except FollowingEnded as ended:
        say(str(ended))
        return ended.code
    except KeyboardInterrupt:
        return INTERRUPTED
    raise AssertionError("following ends by an exception alone")


def print_event(event: ReceivedEvent, *, as_json: bool) -> None:
    """Its line, at once: what is printed is never to be printed again."""
    line = json_line(event.id, event.type, event.data) if as_json else line_for_person(event.type, event.data)
    print(line, flush=True)
