"""`/metrics` of a process that serves nothing else: one short answer a connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ordertrail.runtime.telemetry import metrics

HEAD_BYTES_MAX = 8 * 1024
SECONDS_MAX = 5.0


@asynccontextmanager
async def serving_metrics(host: str, port: int | None) -> AsyncIterator[int | None]:
    """Answer on that port until the end of the block; yields the port, None: there is none. OSError: it is taken."""
    if port is None:
        yield None
        return
    server = await asyncio.start_server(_answer, host, port, limit=HEAD_BYTES_MAX)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(SECONDS_MAX):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith((b"GET /metrics ", b"GET /metrics?")):
                body, kind = metrics.render()
                status = "200 OK"
            else:
                body, kind, status = b"", "text/plain", "404 Not Found"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            writer.write(body)
            await writer.drain()
    writer.close()
