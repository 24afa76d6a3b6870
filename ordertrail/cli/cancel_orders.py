"""`ordertrail order cancel ID | --all [--instrument X]`: takes away what is live, or may become so, over the HTTP API.

It works while placing is halted, and may be repeated. Exit codes: 0 canceled, or to be canceled, or over already (with
--all); 1 one was over otherwise, or is no order of ours; 2 usage or no connection, nothing was sent; 3 not known.
"""

# ruff: noqa: T201 - it talks to a person

import asyncio
import json as json_text
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from cyclopts import Parameter

from ordertrail.cli import api_documents
from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown, request
from ordertrail.cli.api_documents import Order, Page, problem_of
from ordertrail.cli.exchange_orders import open_at_exchange
from ordertrail.cli.output import Json, print_result
from ordertrail.cli.person_settings import load_settings_of_person, what_to_set
from ordertrail.domain.switch import as_line
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.runtime.notices import say
from ordertrail.runtime.settings import Settings
from ordertrail.venues.registry import venue_title

DONE, REFUSED, USAGE_OR_CONNECTION, NOT_KNOWN = 0, 1, 2, 3
CANCELS_AT_ONCE = 8
TRIES_MAX = 3
PAUSE_SECONDS = 0.5
PAGE_ORDERS = 500
# An order that only has its first row is settled, or in another state, long before.
INITIATED_SINCE = timedelta(days=1)

# What may yet become live. By status, for an index finds those; of orders that failed most were refused, and are over.
_MAY_BECOME_LIVE: tuple[dict[str, str], ...] = (
    {"status": OrderStatus.EXCHANGE_CREATION_FAILED, "outcome": Outcome.PENDING},
    {"status": OrderStatus.EXCHANGE_CREATION_FAILED, "outcome": Outcome.UNKNOWN},
    {"status": OrderStatus.DATABASE_PERSISTENCE_FAILED},
    {"status": OrderStatus.EXCHANGE_OUTCOME_UNKNOWN},
    {"status": OrderStatus.UNRESOLVED},
)
_NOT_KNOWN_TO_BE_OVER = (OrderStatus.COMPLETED, OrderStatus.PARTIALLY_FILLED)


class Result(StrEnum):
    """What came of one cancel."""

    REQUESTED = "requested"  # the wish is committed, and kept at until the order is over
    CANCELED = "canceled"
    OVER = "over"  # it ended otherwise, or is not placed and never will be
    NOT_OURS = "not_ours"
    NOT_SENT = "not_sent"
    NOT_KNOWN = "not_known"


_WORDS = {
    Result.REQUESTED: "is being canceled",
    Result.CANCELED: "is canceled",
    Result.OVER: "is over already",
    Result.NOT_OURS: "is no order of this installation",
    Result.NOT_SENT: "was not asked for",
    Result.NOT_KNOWN: "may or may not be canceled",
}
_CODES = {Result.REQUESTED: DONE, Result.CANCELED: DONE, Result.NOT_SENT: USAGE_OR_CONNECTION}
_CODES |= {Result.OVER: REFUSED, Result.NOT_OURS: REFUSED, Result.NOT_KNOWN: NOT_KNOWN}


@dataclass(frozen=True, slots=True)
class Canceled:
    """What came of one order's cancel; `detail` for people."""

    order_id: str
    result: Result
    order_status: str | None = None
    detail: str | None = None

    @property
    def sentence(self) -> str:
        """One line."""
        more = ": ".join(text for text in (self.order_status, self.detail) if text)
        return f"Order {self.order_id} {_WORDS[self.result]}{f' ({more})' if more else ''}."


@dataclass(frozen=True, slots=True)
class _Api:
    """Where the API is, how long one answer may take, and what to say of an address that nobody gave."""

    url: str
    timeout_seconds: float
    hint: str = ""

    def get(self, path: str) -> ApiReply:
        return request(self.url, "GET", path, timeout_seconds=self.timeout_seconds)


class _Unlisted(Exception):
    """The orders could not be listed: `sentence` says why."""


def cancel(
    order_id: str | None = None,
    /,
    *,
    all: Json = False,
    instrument: str | None = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    url: str | None = None,
    timeout_seconds: float = 30,
    json: Json = False,
) -> int:
    """Cancel one order, or --all that are live or may become so; placing may be halted meanwhile, and should be.

    Exit code 0 canceled or on the way, 1 over otherwise or not ours, 2 nothing was sent, 3 not known.

    Parameters
    ----------
    order_id
        The order's id.
    all
        Every order that the exchange has open or may yet get.
    instrument
        With --all: only these.
    yes
        With --all: do not ask.
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for each answer.
    json
        For programs: print one JSON document.
    """
    if (order_id is None) != all or (instrument is not None and not all):
        say("Say which order to cancel, or --all, and --instrument only with --all.")
        return USAGE_OR_CONNECTION
    settings = load_settings_of_person()
    hint = "" if url else what_to_set(settings, "api_url")
    api = _Api(url or settings.api_url, timeout_seconds, hint)
    try:
        if order_id is not None:
            [canceled] = _cancel_each(api, [order_id], on_result=lambda _: None)
            _report([canceled], as_json=json)
            return _CODES[canceled.result]
        return _cancel_all(api, settings, instrument, is_sure=yes, as_json=json)
    except _Unlisted as error:
        say(f"{error} Nothing was canceled.")
        return USAGE_OR_CONNECTION
    except KeyboardInterrupt:
        say("Interrupted: what was asked for stays so. Repeat the command for the others.")
        return NOT_KNOWN


def _cancel_all(api: _Api, settings: Settings, instrument: str | None, *, is_sure: bool, as_json: bool) -> int:
    venue, is_halted = _readiness(api)
    if is_halted is False:
        say("Placing is not halted: orders that come now are not among these. `ordertrail halt` comes first.")
    wanted, gaps = _wanted(api, settings, venue, instrument)
    for gap in gaps:
        say(gap)
    if not wanted:
        _report([], as_json=as_json)
        return REFUSED if gaps else DONE
    if not is_sure and not _is_confirmed(wanted, venue):
        say("Nothing was canceled.")
        return USAGE_OR_CONNECTION
    show: Callable[[Canceled], None] = (lambda _: None) if as_json else (lambda each: print_result(each.sentence))
    canceled = _cancel_each(api, list(wanted), on_result=show)
    _report(canceled, as_json=as_json, is_shown=True)
    results = {each.result for each in canceled}
    if results & {Result.NOT_KNOWN, Result.NOT_SENT}:
        return NOT_KNOWN
    return REFUSED if Result.NOT_OURS in results or gaps else DONE


def _wanted(
    api: _Api, settings: Settings, venue: str | None, instrument: str | None
) -> tuple[dict[str, str], list[str]]:
    """The ids of what is live or may become so, with their instruments; and in sentences what may be missing.

    Our rows first and the exchange's list after them: an order that becomes live in between is in one of the two.
    """
    wanted: dict[str, str] = {}
    gaps: list[str] = []
    since = (datetime.now(UTC) - INITIATED_SINCE).isoformat()
    for filters in (*_MAY_BECOME_LIVE, {"status": OrderStatus.INITIATED, "created_after": since}):
        wanted |= {
            order.id: order.instrument
            for order in _listed(api, filters, instrument)
            if order.outcome is not Outcome.NOT_PLACED
        }
    titles = [venue_title(settings.exchange_url, is_simulated=is_simulated) for is_simulated in (False, True)]
    is_the_apis = venue in titles
    open_orders = asyncio.run(open_at_exchange(settings)) if is_the_apis else "the API has another exchange."
    if isinstance(open_orders, str):
        # Without an execution feed our rows do not say which are over: all that were ever placed are asked for.
        say(f"What is open at the exchange is not known here, so every placed order is tried: {open_orders}")
        for status in _NOT_KNOWN_TO_BE_OVER:
            listed = _listed(api, {"status": status.value}, instrument)
            wanted |= {order.id: order.instrument for order in listed}
        return wanted, gaps
    if not open_orders.is_complete:
        unreadable = len(open_orders.unreadable) + open_orders.dropped
        gaps.append(f"{unreadable} of the exchange's open orders cannot be understood, and are not among these.")
    wanted |= {
        order.client_order_id: order.instrument
        for order in open_orders.orders
        if instrument is None or order.instrument == instrument
    }
    return wanted, gaps


def _listed(api: _Api, filters: dict[str, str], instrument: str | None) -> Iterator[Order]:
    cursor = None
    while True:
        more = {"limit": str(PAGE_ORDERS), "instrument": instrument, "cursor": cursor}
        query = urlencode({name: value for name, value in {**filters, **more}.items() if value is not None})
        try:
            answer = _repeated(lambda query=query: api.get(f"/orders?{query}"))  # type: ignore[misc]
        except (RequestNotSent, RequestOutcomeUnknown) as error:
            hint = api.hint if isinstance(error, RequestNotSent) else ""
            raise _Unlisted(f"The orders could not be listed: {error}{hint}") from error
        page = api_documents.read(answer.document, Page) if answer.status == 200 else None
        if page is None:
            problem = problem_of(answer)
            why = f"HTTP {answer.status}" if problem is None else problem.detail or problem.type
            raise _Unlisted(f"The orders could not be listed: {why}")
        yield from page.orders
        cursor = page.next_cursor
        if cursor is None:
            return


def _readiness(api: _Api) -> tuple[str | None, bool | None]:
    """The venue of the API's orders, and whether placing is halted; None where it does not say."""
    with suppress(RequestNotSent, RequestOutcomeUnknown):
        document = api.get("/readyz").document
        venue = document.get("venue")
        return (venue if isinstance(venue, str) else None), document[
            "halted"
        ] is not None if "halted" in document else None
    return None, None


def _cancel_each(api: _Api, order_ids: list[str], *, on_result: Callable[[Canceled], None]) -> list[Canceled]:
    """Some at once; one that fails holds up none of the others."""
    canceled = []
    executor = ThreadPoolExecutor(CANCELS_AT_ONCE)
    try:
        for each in executor.map(lambda order_id: _cancel_one(api, order_id), order_ids):
            on_result(each)
            canceled.append(each)
    finally:
        executor.shutdown(cancel_futures=True)
    return canceled


def _cancel_one(api: _Api, order_id: str) -> Canceled:
    path = f"/orders/{quote(order_id, safe='')}"
    try:
        answer = _repeated(lambda: request(api.url, "DELETE", path, timeout_seconds=api.timeout_seconds))
    except RequestNotSent as error:
        return Canceled(order_id, Result.NOT_SENT, detail=f"{error}{api.hint}")
    except RequestOutcomeUnknown as error:
        return Canceled(order_id, Result.NOT_KNOWN, detail=str(error))
    return _read(order_id, answer)


def _read(order_id: str, answer: ApiReply) -> Canceled:
    """What an answer proves; one that is not the API's own proves nothing."""
    if answer.status == 202:
        order = api_documents.read(answer.document, Order)
        if order is not None and order.id.lower() == order_id.lower():
            is_over = order.status is OrderStatus.CANCELED
            return Canceled(order_id, Result.CANCELED if is_over else Result.REQUESTED, order.status)
    problem = problem_of(answer)
    if problem is None:
        return Canceled(order_id, Result.NOT_KNOWN, detail=f"HTTP {answer.status} that is none of the API's answers")
    match answer.status, problem.type:
        case 409, "/problems/not-cancelable":
            status = answer.document.get("order_status")
            return Canceled(order_id, Result.OVER, as_line(status) if isinstance(status, str) else None)
        case 404, "/problems/order-not-found":
            return Canceled(order_id, Result.NOT_OURS)
        case _:
            return Canceled(order_id, Result.NOT_KNOWN, detail=as_line(problem.detail or problem.type))


def _repeated(call: Callable[[], ApiReply]) -> ApiReply:
    """Harmless, for both calls here are: after a lost answer or a 5xx, some times. Raises what is raised last."""
    for _ in range(TRIES_MAX - 1):
        with suppress(RequestNotSent, RequestOutcomeUnknown):
            answer = call()
            if answer.status < 500:
                return answer
        time.sleep(PAUSE_SECONDS)
    return call()


def _is_confirmed(wanted: dict[str, str], venue: str | None) -> bool:
    counts = Counter(wanted.values()).most_common(10)
    names = ", ".join(f"{as_line(instrument)} {count}" for instrument, count in counts)
    what = f"{len(wanted)} {'order' if len(wanted) == 1 else 'orders'} at {venue or 'an exchange that is not named'}"
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()):
        say(f"This would cancel {what} ({names}): say --yes if it is meant.")
        return False
    print(f"Cancel {what} ({names})? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _report(canceled: list[Canceled], *, as_json: bool, is_shown: bool = False) -> None:
    if as_json:
        documents: list[dict[str, Any]] = [
            {"id": each.order_id, "result": each.result, "order_status": each.order_status, "detail": each.detail}
            for each in canceled
        ]
        print_result(json_text.dumps({"orders": documents}))
        return
    if not is_shown:
        for each in canceled:
            print_result(each.sentence)
    if not canceled:
        print_result("There is nothing to cancel.")
    elif is_shown:
        counts = Counter(each.result for each in canceled)
        what = "; ".join(f"{counts[result]} {_MANY[result]}" for result in Result if counts[result])
        print_result(f"Of {len(canceled)}: {what}. Repeat the command until none is left.")


_MANY = {
    Result.REQUESTED: "being canceled",
    Result.CANCELED: "canceled",
    Result.OVER: "over already",
    Result.NOT_OURS: "no order of this installation (`ordertrail orphans`)",
    Result.NOT_SENT: "not asked for",
    Result.NOT_KNOWN: "not known",
}
