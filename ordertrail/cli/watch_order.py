"""`ordertrail order watch [ID]`: follows one order until it is over, or all orders; a line for each event.

Of one order, what its trail already has is printed first, and then its events as they come. The order is read again
whenever it may be over, and at each heartbeat: what may still become of it can change without a row. It goes on
through restarts of the API, and where what came in between is gone, from now. Exit codes: 0 it is over at the
exchange, 1 it is not placed, with proof; 2 usage, no connection at the start, or no such order; 3 it is only presumed
not to be placed, or the command was interrupted. All orders: those of `ordertrail events`, without 4.
"""

# ruff: noqa: T201 - it talks to a person

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from ordertrail.cli import api_documents
from ordertrail.cli.api_answers import (
    NOT_KNOWN,
    PLACED,
    USAGE_OR_CONNECTION,
    call,
    code_of,
    not_ours,
    problem_text,
    progress_text,
    sentence_of,
    terms_of,
)
from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown
from ordertrail.cli.api_documents import ExecutedOrder, problem_of
from ordertrail.cli.event_follower import HEARTBEAT, EventFollower, FollowingEnded, ReceivedEvent
from ordertrail.cli.event_lines import EXECUTION, ORDER, json_line, line_for_person
from ordertrail.cli.events import CLOCK, connect_by, print_until_ended
from ordertrail.cli.output import Json, end_as_by_broken_pipe, has_reader_gone
from ordertrail.cli.tables import printable
from ordertrail.domain.execution import TERMINAL_ORD_STATUSES
from ordertrail.domain.trail import Outcome
from ordertrail.runtime.notices import say
from ordertrail.storage.execution_reads import NEWEST_EXECUTIONS_MAX

PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
PAUSE_GROWTH = 1.5
# Reports of an order that is over may still be on their way.
INCOMPLETE_SECONDS_MAX = 10.0


def watch(
    order_id: str | None = None, /, *, url: str | None = None, timeout_seconds: float = 60, json: Json = False
) -> int:
    """Follow one order until it is over, or all; exit code 0 over, 1 not placed, 2 no such order, 3 not known.

    Parameters
    ----------
    order_id
        The order's id; without it, all orders, from now on, until Ctrl-C.
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for each answer about the order.
    json
        For programs: print {id, type, data}, one line an event; what the trail had before has no id.
    """
    order_id = None if order_id is None else order_id.lower()
    connect = connect_by(url, {"order_id": order_id}, starts_after=None)
    received = EventFollower(connect, CLOCK, starts_after=None, goes_on_from_now=True).events()
    if order_id is None:
        return print_until_ended(received, as_json=json)
    path = f"/orders/{quote(order_id, safe='')}"
    watched = WatchedOrder(
        order_id, lambda: call(url, "GET", path, timeout_seconds=timeout_seconds), pause=CLOCK.pause, as_json=json
    )
    try:
        return watched.follow(received)
    except FollowingEnded as ended:
        say(str(ended))
        return ended.code
    except KeyboardInterrupt:
        say("Interrupted: the order goes on.")
        return NOT_KNOWN


class WatchedOrder:
    """One order: each row and each execution is printed once, whether the stream or the order itself brings it."""

    def __init__(
        self, order_id: str, get: Callable[[], ApiReply], *, pause: Callable[[float], None], as_json: bool
    ) -> None:
        self._order_id = order_id
        self._get = get
        self._pause = pause
        self._as_json = as_json
        self._order: ExecutedOrder | None = None
        self._printed: set[tuple[Any, ...]] = set()

    def follow(self, received: Iterator[ReceivedEvent]) -> int:
        """Print what comes until the order is over; the exit code."""
        for event in received:
            # Not before the stream has begun, so that nothing falls between: what is written later, it brings.
            is_first = self._order is None
            if is_first:
                self._read_again()
            self._print_event(event)
            if not is_first and _may_end(event):
                self._read_again()
            code = self._code_if_over()
            if code is not None:
                return self._end(code)
        raise AssertionError("the events never end")

    def _print_event(self, event: ReceivedEvent) -> None:
        if event.type in {ORDER, EXECUTION} and event.data.get("order_id") == self._order_id:
            self._print(event.id, event.type, event.data)
        elif event.type == HEARTBEAT and has_reader_gone():
            end_as_by_broken_pipe()

    def _end(self, code: int) -> int:
        """What the exchange says was executed, and is not here yet, is waited for a little."""
        waited = 0.0
        while self._order is not None and not self._order.executions_complete and waited < INCOMPLETE_SECONDS_MAX:
            self._pause(PAUSE_SECONDS_MAX)
            before = self._order
            self._read_again()
            waited = waited + PAUSE_SECONDS_MAX if self._order == before else 0.0
        if self._order is not None and not self._as_json:
            print(printable(f"{self._order.status}: {progress_text(self._order)}."), flush=True)
        return code

    def _read_again(self) -> None:
        reply, order = self._read()
        if self._order is None and not self._as_json:
            print(printable(f"{sentence_of(order)} {terms_of(order)}."), flush=True)
        for event_type, data in _events_of(reply, self._order_id):
            self._print(None, event_type, data)
        if self._order is None and len(order.executions) == NEWEST_EXECUTIONS_MAX:
            say(f"These are its newest {NEWEST_EXECUTIONS_MAX} executions; GET /orders/{order.id}/executions has all.")
        self._order = order

    def _read(self) -> tuple[ApiReply, ExecutedOrder]:
        """The order as it is now, however long it takes; FollowingEnded where there is none."""
        seconds, is_silent = PAUSE_SECONDS_MIN, False
        while True:
            try:
                reply = self._get()
            except (RequestNotSent, RequestOutcomeUnknown) as error:
                why = str(error)
            else:
                order = api_documents.read(reply.document, ExecutedOrder) if reply.status == 200 else None
                if order is not None and order.id.lower() == self._order_id:
                    if is_silent:
                        say("The API answers again.")
                    return reply, order
                self._end_if_refused(reply)
                why = problem_text(reply)
            if not is_silent:
                say(f"{why} Trying again.")
                is_silent = True
            self._pause(seconds)
            seconds = min(seconds * PAUSE_GROWTH, PAUSE_SECONDS_MAX)

    def _end_if_refused(self, reply: ApiReply) -> None:
        """A proxy may answer anything while the API restarts; at the start that is not the API's address."""
        is_refused = 400 <= reply.status < 500 and problem_of(reply) is not None
        if is_refused or (self._order is None and reply.status < 500):
            raise FollowingEnded(problem_text(reply) if reply.status >= 400 else not_ours(reply), USAGE_OR_CONNECTION)

    def _print(self, event_id: str | None, event_type: str, data: dict[str, Any]) -> None:
        names = ("session", "exec_id") if event_type == EXECUTION else ("status",)
        key = (event_type, *(str(data.get(name)) for name in names))
        if key not in self._printed:
            line = json_line(event_id, event_type, data) if self._as_json else line_for_person(event_type, data)
            print(line, flush=True)
            self._printed.add(key)

    def _code_if_over(self) -> int | None:
        """None: it goes on."""
        if self._order is None:
            return None
        match self._order.outcome:
            case Outcome.PLACED:
                return PLACED if self._order.is_live is False else None
            case Outcome.NOT_PLACED:
                return code_of(self._order.outcome, self._order.certainty)
            case Outcome.PENDING | Outcome.UNKNOWN:
                return None


def _may_end(event: ReceivedEvent) -> bool:
    return event.type != EXECUTION or event.data.get("ord_status") in TERMINAL_ORD_STATUSES


def _events_of(reply: ApiReply, order_id: str) -> list[tuple[str, dict[str, Any]]]:
    """What the order says of itself, as the stream would have said it, in order of time."""
    rows = [(ORDER, {"order_id": order_id, **row}) for row in reply.document["trail"]]
    executions = [(EXECUTION, {"order_id": order_id, **execution}) for execution in reply.document["executions"]]
    return sorted(rows + executions, key=lambda event: _moment(event[1]))


def _moment(data: dict[str, Any]) -> str:
    return str(data.get("recorded_at") or data.get("created_at") or data.get("transact_time") or "")
