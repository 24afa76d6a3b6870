"""An exchange behind a socket that answers, byte for byte, what a test has put in its mouth."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.open_streams import stream_server
from tests.support.payloads import payload


@dataclass
class Answer:
    """A response, which may be none of HTTP's: `raw` replaces all of it."""

    status: int = 200
    body: bytes = b""
    headers: tuple[bytes, ...] = ()
    raw: bytes | None = None

    def to_bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        lines = [b"HTTP/1.1 %d Status" % self.status, b"Content-Length: %d" % len(self.body), b"Connection: close"]
        return b"\r\n".join([*lines, *self.headers, b"", b""]) + self.body


def as_json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode())


@dataclass
class ScriptedHttpExchange:
    """`answers` by call, as `capabilities`, `place`, `query`, `cancel`, `open_orders` or `executions`.

    `answers_about` are those about one order, by call and its id, where they differ.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    answers_about: dict[tuple[str, str], Answer] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        nothing = {
            "capabilities": as_json(200, payload("capabilities")),
            "place": Answer(500),
            "query": as_json(404, payload("unknown_order")),
            "cancel": as_json(404, payload("unknown_order")),
            "open_orders": as_json(200, payload("open_orders") | {"orders": []}),
            "executions": as_json(200, payload("executions") | {"executions": [], "head": 0}),
        }
        self.answers = nothing | self.answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
            body = await reader.readexactly(length)
            call = _call(head)
            self.calls.append(call)
            writer.write(self.answers_about.get((call, _order_id(head, body)), self.answers[call]).to_bytes())
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone, as it may
        finally:
            writer.close()


def _call(head: bytes) -> str:
    method, path, _ = head.split(b" ", 2)
    if path.startswith(b"/v1/capabilities"):
        return "capabilities"
    if path.startswith(b"/v1/executions"):
        return "executions"
    if path.startswith(b"/v1/orders?"):
        return "open_orders"
    return {b"POST": "place", b"DELETE": "cancel"}.get(method, "query")


def _order_id(head: bytes, body: bytes) -> str:
    path = head.split(b" ", 2)[1].decode()
    return str(json.loads(body)["client_order_id"]) if body else path.rpartition("/")[2]


@asynccontextmanager
async def scripted_http_exchange() -> AsyncIterator[ScriptedHttpExchange]:
    exchange = ScriptedHttpExchange()
    async with stream_server(exchange.serve) as port:
        exchange.url = f"http://127.0.0.1:{port}"
        yield exchange
