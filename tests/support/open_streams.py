"""A server for a test, of which no connection outlives it.

asyncio's own leaves behind one that was accepted as it closes, and one that it has closed while its peer takes nothing:
the collector finds them later, in the middle of a test that has nothing to do with them.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def stream_server(serve: Serve) -> AsyncIterator[int]:
    """Serve each connection so, in a task of its own, on the port that this gives.

    What `serve` has closed may be sent to its end meanwhile; at the end of the block every task is cancelled, and every
    connection aborted.
    """
    loop = asyncio.get_running_loop()
    tasks: dict[asyncio.Task[None], socket.socket] = {}
    writers: set[asyncio.StreamWriter] = set()

    async def connected(accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        writers.add(writer)
        await serve(reader, writer)

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            accepted, _ = listening.accept()
            accepted.setblocking(False)
            tasks[loop.create_task(connected(accepted))] = accepted

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        loop.add_reader(listening, accept)
        try:
            yield int(listening.getsockname()[1])
        finally:
            loop.remove_reader(listening)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in writers:
                writer.transport.abort()
            # Those of tasks that were cancelled before they began have no transport.
            for accepted in tasks.values():
                accepted.close()
