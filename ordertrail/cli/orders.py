"""`ordertrail order place | show | list`: orders from the command line, over the HTTP API.

Exit codes: 0 placed, 1 not placed, 2 usage or connection error (nothing was sent), 3 pending or unknown.
"""

# ruff: noqa: T201 - it talks to a person

import json as json_text
import sys
import uuid
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from cyclopts import App, Parameter

from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown, request
from ordertrail.runtime.settings import load_settings

PLACED, NOT_PLACED, USAGE_OR_CONNECTION, NOT_KNOWN = 0, 1, 2, 3
_EXIT_CODES = {"placed": PLACED, "not_placed": NOT_PLACED}

Json = Annotated[bool, Parameter(negative="")]

app = App(name="order", help="Place orders and read them, over the HTTP API.")
app.command("ordertrail.cli.operator:resolve", name="resolve")


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
        _say(f"The order's key is {key}. Should the answer be lost, repeat the command with --key {key}.")
    try:
        answer = request(
            _address(url),
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
    return _report_placing(answer, key, is_new=is_new, as_json=json)


@app.command
def show(order_id: str, /, *, url: str | None = None, timeout_seconds: float = 60, json: Json = False) -> int:
    """Show one order with its trail; the exit code says its outcome as `place` does.

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
    order = _get(url, f"/orders/{quote(order_id, safe='')}", timeout_seconds=timeout_seconds)
    if order is None:
        return USAGE_OR_CONNECTION
    if json:
        _print_json(order)
    else:
        print(_sentence(order))
        print(f"  {_terms(order)}")
        rows = [
            [row["created_at"], row["status"], row.get("reason"), row.get("exchange_order_id")]
            for row in order["trail"]
        ]
        _print_table(["created_at", "status", "reason", "exchange_order_id"], rows)
    return _EXIT_CODES.get(order["outcome"], NOT_KNOWN)


@app.command(name="list")
def list_orders(
    *,
    status: str | None = None,
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
    query = urlencode({name: value for name, value in filters.items() if value is not None})
    page = _get(url, f"/orders?{query}", timeout_seconds=timeout_seconds)
    if page is None:
        return USAGE_OR_CONNECTION
    if json:
        _print_json(page)
        return PLACED
    rows = [
        [order["created_at"], order["id"], _terms(order), order["status"], order["outcome"]] for order in page["orders"]
    ]
    _print_table(["created_at", "id", "order", "status", "outcome"], rows)
    if page.get("next_cursor"):
        _say(f"There are more: --cursor {page['next_cursor']}")
    return PLACED


def _report_placing(answer: ApiReply, key: str, *, is_new: bool, as_json: bool) -> int:
    document = answer.document
    code = _exit_code(answer, is_new=is_new)
    if as_json and document:
        _print_json(document)
    elif code == PLACED:
        print(_sentence(document))
    else:
        _say(_problem(answer))
        if code == NOT_KNOWN and not is_new:
            _say("To learn what became of it, repeat the same command: that never places a second order.")
        elif code == NOT_KNOWN:
            _say(f"To learn what became of it, repeat the same command with --key {key}.")
    return code


def _exit_code(answer: ApiReply, *, is_new: bool) -> int:
    """What an answer to POST /orders proves about the order that has the key."""
    if answer.status == 201:
        return PLACED
    if "outcome" in answer.document:
        return _EXIT_CODES.get(answer.document["outcome"], NOT_KNOWN)
    if answer.status == 409:
        return NOT_KNOWN
    if 400 <= answer.status < 500:
        return USAGE_OR_CONNECTION
    # Turned away before its first step; but the key may belong to an order of an earlier attempt.
    is_turned_away = answer.status == 503 and str(answer.document.get("type", "")).startswith("/problems/")
    return NOT_PLACED if is_turned_away and is_new else NOT_KNOWN


def _unknown(sentence: str, key: str, *, as_json: bool) -> int:
    if as_json:
        _print_json({"outcome": "unknown", "client_order_id": key, "detail": sentence})
    return _failed(
        f"{sentence} The order may have been placed. Repeat the same command with --key {key}: that never places a "
        "second order.",
        NOT_KNOWN,
    )


def _get(url: str | None, path: str, *, timeout_seconds: float) -> dict[str, Any] | None:
    """A document, or None once the failure has been reported."""
    try:
        answer = request(_address(url), "GET", path, timeout_seconds=timeout_seconds)
    except (RequestNotSent, RequestOutcomeUnknown) as error:
        _say(str(error))
        return None
    except KeyboardInterrupt:
        _say("Interrupted.")
        return None
    if answer.status != 200:
        _say(_problem(answer))
        return None
    return answer.document


def _address(url: str | None) -> str:
    return url or load_settings().api_url


def _header(key: str) -> str:
    if not (1 <= len(key) <= 255 and all("!" <= character <= "~" for character in key)):
        raise RequestNotSent("A key is 1 to 255 visible ASCII characters.")
    return key


def _sentence(order: dict[str, Any]) -> str:
    exchange_order_id = order.get("exchange_order_id")
    at_exchange = f", at the exchange {exchange_order_id}" if exchange_order_id else ""
    return f"Order {order['id']} is {order['outcome'].replace('_', ' ')}: {order['status']}{at_exchange}."


def _terms(order: dict[str, Any]) -> str:
    price = "" if order.get("limit_price") is None else f" at {order['limit_price']}"
    return f"{order['type']} {order['side']} {order['quantity']} {order['instrument']}{price}"


def _problem(answer: ApiReply) -> str:
    document = answer.document
    errors = "; ".join(f"{error['pointer'] or 'the order'}: {error['detail']}" for error in document.get("errors", []))
    detail = errors or document.get("detail") or f"The API answered with HTTP {answer.status} and nothing readable."
    order_id = f" The order is {document['order_id']}." if "order_id" in document else ""
    return f"{document['title']}: {detail}{order_id}" if "title" in document and errors else f"{detail}{order_id}"


def _print_table(columns: list[str], rows: list[list[Any]]) -> None:
    cells = [columns] + [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_json(document: dict[str, Any]) -> None:
    print(json_text.dumps(document))


def _say(sentence: str) -> None:
    print(f"ordertrail: {sentence}", file=sys.stderr, flush=True)


def _failed(sentence: str, code: int) -> int:
    _say(sentence)
    return code
