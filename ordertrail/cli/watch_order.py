"""`ordertrail order watch ID`: follows one order until it is over; a line for each change.

It reads the order again and again, at first often and then less so, and goes on through restarts of the API. Exit
codes: 0 it is over at the exchange, 1 it is not placed, with proof; 2 usage, no connection or no such order; 3 it is
only presumed not to be placed, or the command was interrupted.
"""

# ruff: noqa: T201 - it talks to a person

import json as json_text
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from ordertrail.cli.api_documents import ExecutedOrder
from ordertrail.cli.output import Json
from ordertrail.cli.tables import printable
from ordertrail.domain.trail import Outcome
from ordertrail.runtime.notices import say

PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
PAUSE_GROWTH = 1.5
# Reports of an order that is over may still be on their way.
INCOMPLETE_SECONDS_MAX = 10.0


class _Ended(Exception):
    """Nothing can be followed: `code` is the exit code, and the text says why."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def watch(order_id: str, /, *, url: str | None = None, timeout_seconds: float = 60, json: Json = False) -> int:
    """Follow one order until it is over; exit code 0 over, 1 not placed, 2 no such order, 3 not known.

    Parameters
    ----------
    order_id
        The order's id.
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for each answer.
    json
        For programs: print the API's JSON document of the order, one line a change.
    """
    path = f"/orders/{quote(order_id, safe='')}"
    try:
        return follow(
            order_id, lambda: call(url, "GET", path, timeout_seconds=timeout_seconds), pause=time.sleep, as_json=json
        )
    except _Ended as ended:
        say(str(ended))
        return ended.code
    except KeyboardInterrupt:
        say("Interrupted: the order goes on.")
        return NOT_KNOWN


def follow(order_id: str, get: Callable[[], ApiReply], *, pause: Callable[[float], None], as_json: bool) -> int:
    """Print a line for each change until the order is over; the exit code."""
    shown: ExecutedOrder | None = None
    waited = 0.0
    for answer in _answers(order_id, get, pause=pause):
        if as_json and answer.order != shown:
            print(json_text.dumps(answer.reply.document), flush=True)
        elif not as_json:
            for line in changes(shown, answer.order):
                print(line, flush=True)
        waited = waited + answer.paused_seconds if answer.order == shown else 0.0
        shown = answer.order
        code = _code_if_over(answer.order)
        if code is not None and (answer.order.executions_complete or waited >= INCOMPLETE_SECONDS_MAX):
            return code
    raise AssertionError("the answers never end")


def changes(before: ExecutedOrder | None, now: ExecutedOrder) -> Iterator[str]:
    """What has happened since, a line each; None: everything is news."""
    if before is None:
        yield f"{sentence_of(now)} {terms_of(now)}."
    known = set() if before is None else {(each.session, each.exec_id) for each in before.executions}
    for each in now.executions:
        if (each.session, each.exec_id) not in known:
            price = "" if each.last_px is None else f" {each.last_qty} at {each.last_px}"
            of = f" of {each.exec_ref_id}" if each.exec_ref_id else ""
            yield printable(f"{each.transact_time}  {each.exec_type}{price} ({each.exec_id}{of}): {each.ord_status}")
    if before is None or (before.status, progress_text(before)) != (now.status, progress_text(now)):
        yield f"{now.status}: {progress_text(now)}."


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer, and how long was waited for it since the one before."""

    reply: ApiReply
    order: ExecutedOrder
    paused_seconds: float


def _answers(order_id: str, get: Callable[[], ApiReply], *, pause: Callable[[float], None]) -> Iterator[_Answer]:
    """The order as it is read, again and again; what ends this raises _Ended."""
    newest: ExecutedOrder | None = None
    seconds, paused, is_silent = PAUSE_SECONDS_MIN, 0.0, False
    while True:
        reply: ApiReply | None = None
        try:
            reply = get()
        except (RequestNotSent, RequestOutcomeUnknown) as error:
            if newest is None and isinstance(error, RequestNotSent):
                raise _Ended(str(error), USAGE_OR_CONNECTION) from error
            why = str(error)
        else:
            order = _order(reply, order_id)
            if order is not None:
                if is_silent:
                    say("The API answers again.")
                is_silent = False
                seconds = seconds if order == newest else PAUSE_SECONDS_MIN
                newest = order
                yield _Answer(reply, order, paused)
                paused = 0.0
            elif reply.status in {404, 422} or (newest is None and reply.status < 500):
                raise _Ended(problem_text(reply) if reply.status >= 400 else not_ours(reply), USAGE_OR_CONNECTION)
            why = "" if order is not None else problem_text(reply)
        if why and not is_silent:
            say(f"{why} Trying again.")
            is_silent = True
        pause(seconds)
        paused += seconds
        seconds = min(seconds * PAUSE_GROWTH, PAUSE_SECONDS_MAX)


def _order(reply: ApiReply, order_id: str) -> ExecutedOrder | None:
    order = api_documents.read(reply.document, ExecutedOrder) if reply.status == 200 else None
    return order if order is not None and order.id.lower() == order_id.lower() else None


def _code_if_over(order: ExecutedOrder) -> int | None:
    """None: it goes on."""
    match order.outcome:
        case Outcome.PLACED:
            return PLACED if order.is_live is False else None
        case Outcome.NOT_PLACED:
            return code_of(order.outcome, order.certainty)
        case Outcome.PENDING | Outcome.UNKNOWN:
            return None
