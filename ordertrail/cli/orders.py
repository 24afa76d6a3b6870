"""`ordertrail order place | show | watch | list`: orders from the command line, over the HTTP API.

Exit codes of `place`: 0 placed and 1 not placed, both with proof alone; 2 nothing was recorded (usage, no connection,
refused as invalid); 3 all else, pending or unknown. `show` says the same of the order; it and `list` end with 2 where
no answer came that could be read.
"""

# ruff: noqa: T201 - it talks to a person

import json as json_text
import uuid
from typing import Any, Literal
from urllib.parse import quote, urlencode

from cyclopts import App

from ordertrail.cli import api_documents
from ordertrail.cli.api_answers import (
    NOT_KNOWN,
    NOT_PLACED,
    PLACED,
    USAGE_OR_CONNECTION,
    call,
    code_of,
    get,
    not_ours,
    problem_text,
    progress_text,
    sentence_of,
    terms_of,
)
from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown
from ordertrail.cli.api_documents import ExecutedOrder, Order, Page, problem_of
from ordertrail.cli.output import Json, print_result
from ordertrail.cli.tables import print_table
from ordertrail.domain.trail import PLACED_STATUSES, Outcome
from ordertrail.runtime.notices import say

_EXECUTION = ("transact_time", "exec_type", "ord_status", "last_qty", "last_px", "cum_qty", "leaves_qty", "exec_id")

# What an answer must repeat of the order that was sent, to be about that one.
_ECHOED = ("client_order_id", "type", "side", "instrument", "quantity")


app = App(name="order", help="Place orders and read them, over the HTTP API.")
app.command("ordertrail.cli.doubts:resolve", name="resolve")
app.command("ordertrail.cli.cancel_orders:cancel", name="cancel")
app.command("ordertrail.cli.watch_order:watch", name="watch")


@app.command
def place(
    *,
    type: Literal["limit", "market"],
    side: Literal["buy", "sell"],
    instrument: str,
    quantity: int,
    limit_price: str | None = None,
    key: str | None = None,
    place_by: str | None = None,
    url: str | None = None,
    timeout_seconds: float = 60,
    json: Json = False,
) -> int:
    """Place an order; exit code 0 placed, 1 not placed, 2 nothing was sent, 3 pending or unknown.

    Parameters
    ----------
    instrument
        12 characters, A-Z and 0-9.
    limit_price
        For limit orders.
    key
        The order's key: repeating an order with its key never places a second one. One is made if none is given.
    place_by
        Until when it may be sent again if it was not placed, e.g. 2026-11-22T09:31:00Z.
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for the answer.
    json
        For programs: print the answer's JSON document.
    """
    is_new = key is None
    key = key or str(uuid.uuid4())
    order: dict[str, Any] = {"type": type, "side": side, "instrument": instrument, "quantity": quantity}
    order |= {} if limit_price is None else {"limit_price": limit_price}
    order |= {} if place_by is None else {"place_by": place_by}
    if is_new:
        say(f"The order's key is {key}. Should the answer be lost, repeat the command with --key {key}.")
    try:
        answer = call(
            url,
            "POST",
            "/orders",
            timeout_seconds=timeout_seconds,
            body=order,
            headers={"Idempotency-Key": _header(key)},
        )
    except RequestNotSent as error:
        return _failed(f"{error} Nothing was sent.", USAGE_OR_CONNECTION)
    except RequestOutcomeUnknown as error:
        return _unknown(str(error), key, as_json=json)
    except KeyboardInterrupt:
        return _unknown("Interrupted.", key, as_json=json)
    return _report_placing(answer, order | {"client_order_id": key}, is_new=is_new, as_json=json)


@app.command
def show(order_id: str, /, *, url: str | None = None, timeout_seconds: float = 60, json: Json = False) -> int:
    """Show one order with its trail and its newest executions; the exit code says its outcome as `place` does.

    Parameters
    ----------
    order_id
        The order's id.
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for the answer.
    json
        For programs: print the answer's JSON document.
    """
    answer = get(url, f"/orders/{quote(order_id, safe='')}", timeout_seconds=timeout_seconds)
    if answer is None:
        return USAGE_OR_CONNECTION
    order = api_documents.read(answer.document, ExecutedOrder)
    if order is None or order.id.lower() != order_id.lower():
        return _failed(not_ours(answer), USAGE_OR_CONNECTION)
    if json:
        _print_json(answer.document)
    else:
        print(sentence_of(order))
        print(f"  {terms_of(order)}")
        print(f"  {progress_text(order)}.")
        # Written later than it happened, where it went through the spool: only such a trail is told with both times.
        times = ["created_at", "recorded_at"] if any(row.recorded_at for row in order.trail) else ["created_at"]
        columns = [*times, "status", "reason", "exchange_order_id"]
        print_table(columns, [[getattr(row, column) for column in columns] for row in order.trail])
        if order.executions:
            print()
            print_table(_EXECUTION, [[getattr(each, column) for column in _EXECUTION] for each in order.executions])
    return code_of(order.outcome, order.certainty)


@app.command(name="list")
def list_orders(
    *,
    status: list[str] | None = None,
    outcome: Literal["placed", "not_placed", "pending", "unknown"] | None = None,
    instrument: str | None = None,
    side: Literal["buy", "sell"] | None = None,
    client_order_id: str | None = None,
    created_after: str | None = None,
    created_before: str | None = None,
    limit: int = 20,
    cursor: str | None = None,
    url: str | None = None,
    timeout_seconds: float = 60,
    json: Json = False,
) -> int:
    """List orders, newest first.

    Parameters
    ----------
    status
        The present one; repeated: any of them.
    created_after
        RFC 3339, e.g. 2026-11-22T09:30:00Z.
    limit
        How many at the most.
    cursor
        Where the list before ended: it names the one to go on with.
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for the answer.
    json
        For programs: print the answer's JSON document.
    """
    filters = {
        "status": status,
        "outcome": outcome,
        "instrument": instrument,
        "side": side,
        "client_order_id": client_order_id,
        "created_after": created_after,
        "created_before": created_before,
        "limit": limit,
        "cursor": cursor,
    }
    query = urlencode({name: value for name, value in filters.items() if value is not None}, doseq=True)
    answer = get(url, f"/orders?{query}", timeout_seconds=timeout_seconds)
    if answer is None:
        return USAGE_OR_CONNECTION
    page = api_documents.read(answer.document, Page)
    if page is None:
        return _failed(not_ours(answer), USAGE_OR_CONNECTION)
    if json:
        _print_json(answer.document)
        return PLACED
    rows = [[order.created_at, order.id, terms_of(order), order.status, order.outcome] for order in page.orders]
    print_table(["created_at", "id", "order", "status", "outcome"], rows)
    if page.next_cursor:
        say(f"There are more: --cursor {page.next_cursor}")
    return PLACED


def _report_placing(answer: ApiReply, sent: dict[str, Any], *, is_new: bool, as_json: bool) -> int:
    key = sent["client_order_id"]
    placed = _placed(answer, sent)
    problem = problem_of(answer)
    if placed is None and problem is None:
        return _unknown(not_ours(answer), key, as_json=as_json)
    code = PLACED if placed is not None else _exit_code(answer, is_new=is_new)
    if as_json:
        print_result(json_text.dumps(answer.document))
    elif placed is not None:
        print_result(sentence_of(placed))
    else:
        say(problem_text(answer))
        if code == NOT_KNOWN and not is_new:
            say("To learn what became of it, repeat the same command: that never places a second order.")
        elif code == NOT_KNOWN:
            say(f"To learn what became of it, repeat the same command with --key {key}.")
    return code


def _placed(answer: ApiReply, sent: dict[str, Any]) -> Order | None:
    """The order, where a 201 proves that it is the one that was sent, and placed."""
    order = api_documents.read(answer.document, Order) if answer.status == 201 else None
    if order is None or order.outcome is not Outcome.PLACED or order.status not in PLACED_STATUSES:
        return None
    if any(getattr(order, name) != sent[name] for name in _ECHOED):
        return None
    return None if answer.location is not None and not answer.location.endswith(f"/{order.id}") else order


def _exit_code(answer: ApiReply, *, is_new: bool) -> int:
    """What a problem of the API's own, in answer to POST /orders, proves about the order that has the key."""
    problem = problem_of(answer)
    if problem is None:
        return NOT_KNOWN
    if problem.outcome is not None:
        return code_of(problem.outcome, problem.certainty) if answer.status >= 400 else NOT_KNOWN
    if answer.status == 503:
        # Turned away before its first step; but the key may belong to an order of an earlier attempt.
        return NOT_PLACED if is_new else NOT_KNOWN
    return USAGE_OR_CONNECTION if 400 <= answer.status < 500 and answer.status != 409 else NOT_KNOWN


def _unknown(sentence: str, key: str, *, as_json: bool) -> int:
    if as_json:
        print_result(json_text.dumps({"outcome": "unknown", "client_order_id": key, "detail": sentence}))
    return _failed(
        f"{sentence} The order may have been placed. Repeat the same command with --key {key}: that never places a "
        "second order.",
        NOT_KNOWN,
    )


def _header(key: str) -> str:
    if not (1 <= len(key) <= 255 and all("!" <= character <= "~" for character in key)):
        raise RequestNotSent("A key is 1 to 255 visible ASCII characters.")
    return key


def _print_json(document: dict[str, Any]) -> None:
    print(json_text.dumps(document))


def _failed(sentence: str, code: int) -> int:
    say(sentence)
    return code
