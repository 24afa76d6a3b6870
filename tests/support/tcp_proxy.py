"""A proxy that passes bytes on, goes silent on the connections there are, and leads new ones elsewhere."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.proxy import CHUNK_BYTES, Proxy, proxy


@dataclass(eq=False)
class TcpProxy:
    """`port` is where it listens, `target_port` where new connections lead."""

    target_port: int
    port: int = 0
    connections: int = 0
    silent_since: int = 0

    def silence(self) -> None:
        """As a firewall that has forgotten the connections there are: they stay open, and nothing passes any more."""
        self.silent_since = self.connections


@contextlib.contextmanager
def tcp_proxy(target_port: int) -> Iterator[TcpProxy]:
    """In front of the port, until the end of the block."""
    this = TcpProxy(target_port)

    async def serve(_: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this.connections += 1
        number = this.connections
        ours, theirs = await asyncio.open_connection("127.0.0.1", this.target_port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while chunk := await source.read(CHUNK_BYTES):
                if number <= this.silent_since:
                    continue
                target.write(chunk)
                await target.drain()
            if number <= this.silent_since:
                await asyncio.get_running_loop().create_future()

        pumps = {asyncio.create_task(pump(reader, theirs)), asyncio.create_task(pump(ours, writer))}
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in pumps:
                each.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            theirs.transport.abort()

    with proxy(serve) as started:
        this.port = started.port
        yield this
