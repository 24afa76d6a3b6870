"""`python -m bench.load.watchers`: many readers of `GET /events` in one process, each as cheap as a reader can be.

They count bytes, and events by a mark in them; nothing is parsed, but for what names a row of a trail in what the first
reader of everything gets. Commands come as lines: `mark` forgets what was counted, `report` prints it as JSON, and
`arrivals FILE` writes when each of those rows came, a line each.
"""

import argparse
import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from typing_extensions import override

HEAD_END = b"\r\n\r\n"
# Once in every event, and in no heartbeat.
MARK = b'data: {"order_id"'
ROW = re.compile(rb'"order_id": ?"([^"]+)".*?"status": ?"([^"]+)".*?"created_at": ?"([^"]+)"')
CONNECTING_MAX = 50
READY_SECONDS_MAX = 60.0


class Watcher(asyncio.Protocol):
    """One reader. `counts_events`: otherwise only the bytes on the wire are counted."""

    def __init__(self, request: bytes, *, counts_events: bool) -> None:
        self.bytes = 0
        self.events = 0
        self.is_lost = False
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._request = request
        self._counts_events = counts_events
        self._head = b""
        self._chunks = Chunks()
        self._tail = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        if not self.answered.done():
            self._head, found, data = (self._head + data).partition(HEAD_END)
            if not found:
                return
            self.answered.set_result(self._head)
        self.bytes += len(data)
        if self._counts_events:
            self.read(self._chunks.feed(data))

    def read(self, text: bytes) -> None:
        """Count the events in a piece of the stream."""
        text = self._tail + text
        self.events += text.count(MARK)
        self._tail = text[1 - len(MARK) :]

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if not self.answered.done():
            self.answered.set_result(b"")


class TimedWatcher(Watcher):
    """A reader that also learns how long each row of a trail was on its way, but for those that a read cuts in two."""

    def __init__(self, request: bytes, *, counts_events: bool) -> None:
        super().__init__(request, counts_events=counts_events)
        self.arrivals: list[tuple[float, tuple[bytes, bytes, bytes]]] = []

    @override
    def read(self, text: bytes) -> None:
        now = time.time()
        super().read(text)
        self.arrivals.extend((now, row) for row in ROW.findall(text))

    def lags(self) -> list[float]:
        """Seconds from each row's own time on."""
        return [at - datetime.fromisoformat(made_at.decode()).timestamp() for at, (_, _, made_at) in self.arrivals]


class Chunks:
    """Takes the frames of a chunked answer away, which may stand in the middle of an event."""

    def __init__(self) -> None:
        self._left = 0  # of the present chunk, with the end of its line
        self._size = b""

    def feed(self, data: bytes) -> bytes:
        """What is within chunks."""
        pieces = []
        at = 0
        while at < len(data):
            if self._left == 0:
                end = data.find(b"\n", at)
                if end < 0:
                    self._size += data[at:]
                    break
                self._left = int(self._size + data[at:end], 16) + len(b"\r\n")
                self._size = b""
                at = end + 1
            taken = data[at : at + self._left]
            at += len(taken)
            self._left -= len(taken)
            # The end of the line is taken away where it came.
            pieces.append(taken[: len(taken) - max(0, len(b"\r\n") - self._left)])
        return b"".join(pieces)


async def open_watchers(
    port: int, *, everything: int, counted: int, order_ids: Sequence[str]
) -> tuple[list[Watcher], list[Watcher]]:
    """Readers of everything, and of one order each; all of them are answered."""
    loop = asyncio.get_running_loop()
    connecting = asyncio.Semaphore(CONNECTING_MAX)

    async def open_one(query: str, kind: type[Watcher], *, counts_events: bool) -> Watcher:
        request = f"GET /events{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
        async with connecting:
            _, watcher = await loop.create_connection(
                lambda: kind(request, counts_events=counts_events), "127.0.0.1", port
            )
            head = await watcher.answered
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"a reader was answered {head[:200]!r}")
        return watcher

    async with asyncio.timeout(READY_SECONDS_MAX), asyncio.TaskGroup() as tasks:
        of_all = [
            tasks.create_task(open_one("", TimedWatcher if n == 0 else Watcher, counts_events=n < counted))
            for n in range(everything)
        ]
        of_order = [tasks.create_task(open_one(f"?order_id={each}", Watcher, counts_events=True)) for each in order_ids]
    return [task.result() for task in of_all], [task.result() for task in of_order]


def report(
    of_all: Sequence[Watcher], of_order: Sequence[Watcher], *, counted: int, seconds: float
) -> dict[str, object]:
    """What was counted since the mark."""
    timed = [watcher for watcher in of_all if isinstance(watcher, TimedWatcher)]
    lags = sorted(lag * 1000 for watcher in timed for lag in watcher.lags())
    return {
        "seconds": seconds,
        "everything_events": [watcher.events for watcher in of_all[:counted]],
        "everything_bytes": sum(watcher.bytes for watcher in of_all),
        "everything_lost": sum(watcher.is_lost for watcher in of_all),
        "counted_bytes": sum(watcher.bytes for watcher in of_all[:counted]),
        "order_events": sum(watcher.events for watcher in of_order),
        "order_lost": sum(watcher.is_lost for watcher in of_order),
        "lag_ms": {name: lags[int(len(lags) * share)] for name, share in QUANTILES.items()} if lags else {},
        "lag_samples": len(lags),
        "processor_seconds": time.process_time(),
    }


def write_arrivals(path: Path, watchers: Sequence[Watcher]) -> None:
    """The order's id, the row's status and when it came, in seconds since 1970."""
    rows = [row for watcher in watchers if isinstance(watcher, TimedWatcher) for row in watcher.arrivals]
    path.write_text("".join(f"{order_id.decode()} {status.decode()} {at}\n" for at, (order_id, status, _) in rows))


QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


async def serve_commands(arguments: argparse.Namespace) -> None:
    """Open all readers, say so, and obey until the input ends."""
    order_ids = arguments.order_ids.read_text().split() if arguments.order_ids else []
    of_all, of_order = await open_watchers(
        arguments.port, everything=arguments.everything, counted=arguments.counted, order_ids=order_ids
    )
    gc.freeze()
    gc.disable()
    marked_at = time.perf_counter()
    print("ready", flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while command := (await commands.readline()).strip():
        if command == b"mark":
            marked_at = time.perf_counter()
            for watcher in [*of_all, *of_order]:
                watcher.bytes = watcher.events = 0
                if isinstance(watcher, TimedWatcher):
                    watcher.arrivals = []
            print("marked", flush=True)
        elif command.startswith(b"arrivals "):
            write_arrivals(Path(command.decode().partition(" ")[2]), of_all)
            print("written", flush=True)
        else:
            seconds = time.perf_counter() - marked_at
            print(json.dumps(report(of_all, of_order, counted=arguments.counted, seconds=seconds)), flush=True)


def main() -> None:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.watchers", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--everything", type=int, default=0, help="readers of everything")
    parser.add_argument("--counted", type=int, default=10, help="how many of them count events, and not only bytes")
    parser.add_argument("--order-ids", type=Path, help="a file with ids: a reader for each")
    asyncio.run(serve_commands(parser.parse_args()))


if __name__ == "__main__":
    main()
