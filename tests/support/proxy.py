"""Proxies that cut a connection exactly before a step reaches the other side, or exactly after it took effect.

In front of PostgreSQL, a step is a statement, known by its text, and it has taken effect once the server is ready
for the next one: then it has committed. In front of the exchange, a step is a request, and it has taken effect once
its whole answer has arrived here. Of what is cut, not a byte goes on. A proxy runs in a thread of its own.
"""

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.support.open_streams import stream_server

WAIT_SECONDS = 30
CHUNK_BYTES = 65_536

When = Literal["before", "after", "silent"]

# PostgreSQL's messages (protocol 3.0): a byte of type, four of length, the rest. The first one has no type.
LENGTH_BYTES = 4
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, QUERY, SYNC = b"P", b"B", b"D", b"E", b"C", b"Q", b"S"
OF_A_STEP = (PARSE, BIND, DESCRIBE, EXECUTE, CLOSE)
COMPLETE, ERROR, READY = b"C", b"E", b"Z"


@dataclass(eq=False)
class Cut:
    """What is to happen to the next `times` steps called `step`: `hits` counts those it has happened to.

    `before`: it never arrives. `after`: it has taken effect, and nobody is told. `silent`: likewise, but the
    connection stays open and says nothing, until whoever waits gives up.
    """

    step: str
    when: When
    times: int = 1
    hits: int = 0

    @property
    def is_used_up(self) -> bool:
        return self.hits >= self.times


@dataclass(eq=False)
class Proxy:
    """`port` is where it listens; `seen` counts the steps that came by, whatever became of them."""

    port: int
    passed: Counter[str] = field(default_factory=Counter)
    cuts: list[Cut] = field(default_factory=list)

    def plan(self, step: str, when: When, times: int = 1) -> Cut:
        cut = Cut(step, when, times)
        self.cuts.append(cut)
        return cut

    def heal(self) -> None:
        """From now on everything passes."""
        self.cuts.clear()

    def cut_of(self, step: str, *whens: When) -> Cut | None:
        """The first plan for this step that is not used up."""
        plans = [cut for cut in list(self.cuts) if cut.step == step and cut.when in whens and not cut.is_used_up]
        return plans[0] if plans else None


Serve = Callable[[Proxy, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class CutError(Exception):
    """The connection is to be cut, now."""


@contextlib.contextmanager
def proxy(serve: Serve) -> Iterator[Proxy]:
    """A proxy that serves each connection so, until the end of the block."""
    started: list[tuple[Proxy, asyncio.AbstractEventLoop, asyncio.Task[None]]] = []
    is_started = threading.Event()

    async def run() -> None:
        this = Proxy(0)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with contextlib.suppress(CutError, OSError, EOFError, asyncio.CancelledError):
                    await serve(this, reader, writer)
            finally:
                writer.transport.abort()

        async with stream_server(connected) as this.port:
            task = asyncio.current_task()
            assert task is not None
            started.append((this, asyncio.get_running_loop(), task))
            is_started.set()
            await asyncio.get_running_loop().create_future()

    def run_until_cancelled() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(run())

    thread = threading.Thread(target=run_until_cancelled)
    thread.start()
    assert is_started.wait(WAIT_SECONDS)
    this, loop, task = started[0]
    try:
        yield this
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(WAIT_SECONDS)


def postgres_proxy(port: int, steps: Mapping[str, str]) -> contextlib.AbstractContextManager[Proxy]:
    """In front of the server on `port`; `steps` are names by the statements' texts."""

    async def serve(this: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours, theirs = await asyncio.open_connection("127.0.0.1", port)
        try:
            await _Session(this, steps, reader, writer, ours, theirs).run()
        finally:
            theirs.transport.abort()

    return proxy(serve)


@dataclass(eq=False)
class _Session:
    """One connection to PostgreSQL."""

    proxy: Proxy
    steps: Mapping[str, str]
    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    # The step of each prepared statement, and what was executed since the last Sync.
    prepared: dict[bytes, str] = field(default_factory=dict)
    step: str | None = None
    # For each Sync or Query that is not answered yet: the step that it ends.
    pending: "deque[str | None]" = field(default_factory=deque)
    # What was written in this transaction, for it takes effect with COMMIT.
    in_transaction: str | None = None
    held: list[bytes] = field(default_factory=list)

    async def run(self) -> None:
        is_cancel = await self._begin()
        pumps = {asyncio.create_task(self._from_client()), asyncio.create_task(self._from_server())}
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if is_cancel:  # its answer is that the server hangs up
                await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        for pump in done:
            await pump

    async def _begin(self) -> bool:
        """Up to and with the first real message; whether it is a request to cancel."""
        while True:
            head = await self.client.readexactly(2 * LENGTH_BYTES)
            size, code = int.from_bytes(head[:LENGTH_BYTES]), int.from_bytes(head[LENGTH_BYTES:])
            if code in (SSL_REQUEST, GSS_REQUEST):
                self.to_client.write(b"N")
                continue
            self.to_server.write(head + await self.client.readexactly(size - len(head)))
            return code == CANCEL_REQUEST

    async def _from_client(self) -> None:
        while True:
            kind, body = await _message(self.client)
            ends = self._read(kind, body)
            if ends and self.step is not None:
                self.proxy.passed[self.step] += 1
                cut = self.proxy.cut_of(self.step, "before")
                if cut is not None:
                    cut.hits += 1
                    raise CutError
            if ends:
                self.pending.append(self.step)
                self.step = None
            # Nothing of a step is handed on before it is known whether it may pass.
            self.held.append(_wire(kind, body))
            if ends or kind not in OF_A_STEP:
                self.to_server.write(b"".join(self.held))
                self.held.clear()
                await self.to_server.drain()

    def _read(self, kind: bytes, body: bytes) -> bool:
        """Follow what the client does; whether the server will say after this message that it is ready."""
        if kind == PARSE:
            name, _, rest = body.partition(b"\0")
            sql = rest.partition(b"\0")[0].decode()
            self.prepared[name] = self.steps.get(sql, "other")
        elif kind == BIND:
            self.step = self.prepared.get(body.split(b"\0", 2)[1], "other")
            if self.in_transaction is not None:
                self.in_transaction = self.step
                self.step += " before its commit"
        elif kind == QUERY:
            sql = body.rstrip(b"\0").decode().strip().rstrip(";").upper()
            if sql.startswith("BEGIN"):
                self.in_transaction = "nothing"
            elif sql in ("COMMIT", "ROLLBACK"):
                self.step, self.in_transaction = self.in_transaction, None
        return kind in (SYNC, QUERY)

    async def _from_server(self) -> None:
        held: list[bytes] = []
        is_complete = False
        while True:
            try:
                kind, body = await _message(self.server)
            except EOFError:
                self.to_client.write(b"".join(held))  # its last words
                await self.to_client.drain()
                self.to_client.close()
                await self.to_client.wait_closed()
                raise
            held.append(_wire(kind, body))
            step = self.pending[0] if self.pending else None
            is_complete = (is_complete or kind == COMPLETE) and kind != ERROR
            if kind == READY:
                if self.pending:
                    self.pending.popleft()
                cut = None if step is None else self.proxy.cut_of(step, "after", "silent")
                if cut is not None and is_complete:
                    cut.hits += 1
                    if cut.when == "after":
                        raise CutError
                    held.clear()
                    await asyncio.get_running_loop().create_future()
                is_complete = False
            if step is None or kind == READY:
                self.to_client.write(b"".join(held))
                held.clear()
                await self.to_client.drain()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(1 + LENGTH_BYTES)
    return head[:1], await reader.readexactly(int.from_bytes(head[1:]) - LENGTH_BYTES)


def _wire(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + LENGTH_BYTES).to_bytes(LENGTH_BYTES) + body


def exchange_proxy(port: int) -> contextlib.AbstractContextManager[Proxy]:
    """In front of the exchange on `port`; a step is `place` (an acceptance), `ask` (an order found) and so on."""

    async def serve(this: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours, theirs = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                request, _ = await _http_message(reader)
                step = _step_of(request)
                this.passed[step] += 1
                cut = this.cut_of(step, "before")
                if cut is not None:
                    cut.hits += 1
                    raise CutError
                theirs.write(request)
                response, is_success = await _http_message(ours)
                cut = this.cut_of(step, "after", "silent")
                if cut is not None and is_success:
                    cut.hits += 1
                    if cut.when == "after":
                        raise CutError
                    await asyncio.get_running_loop().create_future()
                writer.write(response)
                await writer.drain()
        finally:
            theirs.transport.abort()

    return proxy(serve)


def _step_of(request: bytes) -> str:
    method, path, _ = request.split(b" ", 2)
    path = path.partition(b"?")[0]
    if path == b"/v1/orders":
        return "place" if method == b"POST" else "open orders"
    if path.startswith(b"/v1/orders/"):
        return "query" if method == b"GET" else "cancel"
    return path.rpartition(b"/")[2].decode()


async def _http_message(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """A request or a response as it stands on the wire; whether it is a response of success."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
    assert not any(line.startswith(b"transfer-encoding:") for line in lines), "neither side sends chunks"
    body = await reader.readexactly(lengths[0]) if lengths else b""
    return head + body, head.startswith((b"HTTP/1.1 20", b"HTTP/1.0 20"))
