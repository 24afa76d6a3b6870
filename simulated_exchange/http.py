"""The exchange's door for other processes: the calls of README.md, and its socket, as an ASGI application.

Nothing is decided here; the bodies and statuses of a result are all there is to see.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple, assert_never
from urllib.parse import parse_qsl

import msgspec

from simulated_exchange.capabilities import Profile
from simulated_exchange.connection import RESET
from simulated_exchange.exchange import EXECUTIONS_LIMIT_MAX
from simulated_exchange.faults import parse_faults
from simulated_exchange.following import Following
from simulated_exchange.log import LogError
from simulated_exchange.occurrences import (
    Amendment,
    EpochChange,
    Expiry,
    Load,
    Occurrence,
    StrayTrade,
    parse_occurrence,
)
from simulated_exchange.reading import read_order
from simulated_exchange.results import (
    Accepted,
    Canceled,
    CancelPending,
    CannotOccur,
    Closed,
    Compacted,
    ConnectionReset,
    Duplicate,
    ExecutionsRaw,
    NotExecutedScope,
    Occurred,
    OtherEpoch,
    PlaceResult,
    Rejected,
    ServerError,
    Silence,
    Throttled,
    TooLate,
    UnknownExecution,
    UnknownOrder,
    Unreadable,
)
from simulated_exchange.service import ExchangeService
from simulated_exchange.websocket import send_frames
from simulated_exchange.wire import time_text

BODY_BYTES_MAX = 16_384
OCCURRENCE_BYTES_MAX = 4_194_304
EXECUTIONS_LIMIT_DEFAULT = 1_000
HOLD_SECONDS_MAX = 120.0
AFTER_TEXT = "after must be a whole number from 0"
ORDERS, ORDER, EXECUTIONS = "/v1/orders", "/v1/orders/", "/v1/executions"
CAPABILITIES, FAULTS = "/v1/capabilities", "/v1/faults"
OCCURRENCES: dict[str, type[Occurrence]] = {
    f"{FAULTS}/executions": Amendment,
    f"{FAULTS}/trade": StrayTrade,
    f"{FAULTS}/expire": Expiry,
    f"{FAULTS}/epoch": EpochChange,
    f"{FAULTS}/load": Load,
}
METHODS = {
    ORDERS: ("GET", "POST"),
    ORDER: ("GET", "DELETE"),
    EXECUTIONS: ("GET",),
    CAPABILITIES: ("GET", "PUT"),
    FAULTS: ("GET", "PUT"),
    **dict.fromkeys(OCCURRENCES, ("POST",)),
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]


class Reply(NamedTuple):
    """A response; `body` is what is sent as JSON, or bytes that are none."""

    status: int
    body: object
    headers: Headers = ()


class HangUp(NamedTuple):
    """No response: the connection is held open first if `hold`, then reset."""

    hold: bool


class BodyTooLargeError(Exception):
    """More than a request needs."""


UNKNOWN_ORDER = Reply(404, {"error": "unknown_order"})
INTERNAL_ERROR = Reply(500, {"error": "internal_error"})
NO_WORD = Reply(503, {"error": "no_answer"})


class HttpDoor:
    """The ASGI application."""

    def __init__(self, service: ExchangeService, *, hold_seconds_max: float = HOLD_SECONDS_MAX) -> None:
        self._service = service
        self._hold_seconds_max = hold_seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        try:
            reply = await self._reply(scope, receive)
        except BodyTooLargeError as problem:
            reply = Reply(413, {"error": "body_too_large", "text": str(problem)}, ((b"connection", b"close"),))
        except LogError as problem:
            reply = Reply(500, {"error": "log_problem", "text": str(problem)})
        if isinstance(reply, HangUp):
            await self._hang_up(reply, scope, receive)
        else:
            await _respond(reply, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply: Reply | None = None
        if scope["path"] != EXECUTIONS:
            reply = Reply(404, {"error": "not_found", "text": "There is no such socket."})
        elif (position := _position(_query(scope))) is None:
            reply = _invalid("query", f"{AFTER_TEXT}.")
        else:
            try:
                following = await self._service.follow(*position)
            except LogError as problem:
                reply = Reply(500, {"error": "log_problem", "text": str(problem)})
            else:
                if isinstance(following, Following):
                    await send_frames(following, scope["extensions"][RESET]["reset"], receive, send)
                    return
                reply = _not_shown(following)
        await _respond(reply, send, "websocket.http.response")

    async def _reply(self, scope: Scope, receive: Receive) -> Reply | HangUp:
        method, path = scope["method"], scope["path"]
        route = ORDER if path.startswith(ORDER) and path != ORDER else path
        if route not in METHODS or path == ORDER:
            return Reply(404, {"error": "not_found", "text": "There is no such path."})
        if method not in METHODS[route]:
            allow = ", ".join(METHODS[route])
            headers = ((b"allow", allow.encode()),)
            return Reply(405, {"error": "method_not_allowed", "text": f"Allowed: {allow}."}, headers)
        reply: Reply | HangUp
        match (method, route):
            case ("POST", _) if route in OCCURRENCES:
                reply = await self._occur(OCCURRENCES[route], await _read_body(receive, OCCURRENCE_BYTES_MAX))
            case ("POST", _):
                reply = await self._place(await _read_body(receive))
            case ("DELETE", _):
                reply = await self._cancel(path[len(ORDER) :])
            case ("GET", "/v1/orders/"):
                reply = await self._query(path[len(ORDER) :])
            case ("GET", "/v1/orders"):
                reply = await self._open_orders(_query(scope))
            case ("GET", "/v1/executions"):
                reply = await self._executions(_query(scope))
            case ("GET", "/v1/capabilities"):
                reply = self._capabilities()
            case ("GET", _):
                reply = Reply(200, self._service.exchange.faults)
            case ("PUT", "/v1/capabilities"):
                reply = self._set_capabilities(await _read_body(receive))
            case _:
                reply = self._set_faults(await _read_body(receive))
        return reply

    async def _place(self, body: bytes) -> Reply | HangUp:
        read = read_order(body)
        if isinstance(read, Rejected):
            return _place_reply(read)
        return _place_reply(await self._service.place(read.order, read.refusal))

    async def _query(self, client_order_id: str) -> Reply:
        result = await self._service.query(client_order_id)
        if isinstance(result, ServerError):
            return NO_WORD
        return UNKNOWN_ORDER if isinstance(result, UnknownOrder) else Reply(200, result)

    async def _cancel(self, client_order_id: str) -> Reply | HangUp:
        match await self._service.cancel(client_order_id):
            case Canceled(order=order) | CancelPending(order=order):
                return Reply(202, order)
            case TooLate(order=order):
                error = "cancel_refused" if order.leaves_qty else "too_late_to_cancel"
                return Reply(409, {"error": error, "order": order})
            case ServerError():
                return INTERNAL_ERROR
            case Silence():
                return HangUp(hold=True)
            case UnknownOrder():
                return UNKNOWN_ORDER
            case never:
                assert_never(never)

    async def _open_orders(self, query: dict[str, str]) -> Reply:
        if query != {"open": "true"}:
            return _invalid("query", "Only ?open=true is served; query a closed order by its id.")
        return Reply(200, await self._service.open_orders())

    async def _executions(self, query: dict[str, str]) -> Reply:
        position, limit = _position(query), query.get("limit", str(EXECUTIONS_LIMIT_DEFAULT))
        if position is None or not _is_count(limit) or not 0 < int(limit) <= EXECUTIONS_LIMIT_MAX:
            return _invalid("query", f"{AFTER_TEXT}, limit one from 1 to {EXECUTIONS_LIMIT_MAX}.")
        after, epoch = position
        result = await self._service.executions_raw(after, int(limit), epoch)
        return Reply(200, result.document()) if isinstance(result, ExecutionsRaw) else _not_shown(result)

    def _capabilities(self) -> Reply:
        exchange = self._service.exchange
        body = {"epoch": exchange.epoch, **msgspec.to_builtins(exchange.capabilities())}
        # What the protocol says anyway; only the exception is said.
        if body["ask_covers"] == "all":
            del body["ask_covers"]
        if body["rejected_orders_have_ids"]:
            del body["rejected_orders_have_ids"]
        return Reply(200, body)

    def _set_capabilities(self, body: bytes) -> Reply:
        exchange = self._service.exchange
        try:
            fields = msgspec.json.decode(body, type=dict[str, object])
        except msgspec.DecodeError as problem:
            return _invalid("capabilities", f"The capabilities cannot be used: {problem}.")
        if fields.pop("epoch", exchange.epoch) != exchange.epoch:
            return _invalid("capabilities", "The epoch cannot be set; it begins with the log.")
        try:
            exchange.set_capabilities(msgspec.convert(fields, Profile))
        except ValueError as problem:  # msgspec's are ValueErrors, too
            return _invalid("capabilities", str(problem))
        return self._capabilities()

    def _set_faults(self, body: bytes) -> Reply:
        try:
            self._service.exchange.set_faults(parse_faults(body))
        except ValueError as problem:
            return _invalid("faults", str(problem))
        return Reply(200, self._service.exchange.faults)

    async def _occur(self, kind: type[Occurrence], body: bytes) -> Reply:
        try:
            occurrence = parse_occurrence(body, kind)
        except ValueError as problem:
            return _invalid("occurrence", str(problem))
        match await self._service.occur(occurrence):
            case Occurred() as occurred:
                return Reply(202, occurred)
            case UnknownOrder():
                return UNKNOWN_ORDER
            case UnknownExecution():
                return Reply(404, {"error": "unknown_execution"})
            case CannotOccur() as cannot:
                return Reply(409, cannot)
            case never:
                assert_never(never)

    async def _hang_up(self, hang_up: HangUp, scope: Scope, receive: Receive) -> None:
        if hang_up.hold:
            gone = _until_disconnect(receive)
            await _first_of(gone, self._service.stopping.wait(), seconds=self._hold_seconds_max)
        scope["extensions"][RESET]["reset"]()
        # Until the server has seen it, for it takes returning without an answer for a mistake.
        await _until_disconnect(receive)


def _place_reply(result: PlaceResult) -> Reply | HangUp:  # one for each result
    match result:
        case Accepted():
            return Reply(
                201,
                {
                    "exchange_order_id": result.exchange_order_id,
                    "client_order_id": result.client_order_id,
                    "ord_status": result.ord_status,
                    "transact_time": time_text(result.transacted_at_us),
                },
            )
        case Duplicate():
            return Reply(409, {"error": "duplicate_client_order_id", "order": result.order})
        case Rejected():
            body = {"error": "rejected", "reject_reason": result.reject_reason, "text": result.text}
            return Reply(422, body)
        case Throttled():
            headers = ((b"retry-after", str(result.retry_after_seconds).encode()),)
            return Reply(429, _not_executed("throttled", result.scope), headers)
        case Closed():
            return Reply(503, _not_executed("closed", result.scope))
        case ServerError():
            return INTERNAL_ERROR
        case Unreadable():
            return Reply(201, b'{"exchange_order_id": \x00\xff<html>')
        case Silence():
            return HangUp(hold=True)
        case ConnectionReset():
            return HangUp(hold=False)
        case never:
            assert_never(never)


def _not_shown(refusal: OtherEpoch | Compacted) -> Reply:
    if isinstance(refusal, OtherEpoch):
        return Reply(409, {"error": "epoch", "epoch": refusal.epoch, "head": refusal.head})
    return Reply(410, {"error": "compacted", "oldest": refusal.oldest})


def _position(query: dict[str, str]) -> tuple[int, str | None] | None:
    """`after` and `epoch`; None where `after` is no position."""
    after = query.get("after", "0")
    return (int(after), query.get("epoch")) if _is_count(after) else None


def _invalid(what: str, text: str) -> Reply:
    return Reply(422, {"error": f"invalid_{what}", "text": text})


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


async def _read_body(receive: Receive, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client went before its request was complete")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > bytes_max:
            raise BodyTooLargeError(f"The body may have {bytes_max} bytes.")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(reply: Reply, send: Send, kind: str = "http.response") -> None:
    body = reply.body if isinstance(reply.body, bytes) else msgspec.json.encode(reply.body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *reply.headers,
    ]
    await send({"type": f"{kind}.start", "status": reply.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


async def _first_of(*waits: Awaitable[object], seconds: float) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _not_executed(error: str, scope: NotExecutedScope | None) -> dict[str, str]:
    body = {"error": error, "executed": "no"}
    return body if scope is None else body | {"scope": scope}
