"""The connections of a server that a test has started: what is left of them at its end is closed with it."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager


@asynccontextmanager
async def closing_all(writers: AbstractSet[asyncio.StreamWriter]) -> AsyncIterator[None]:
    """At the end of the block abort them: one that is closed while its peer takes nothing would outlive its loop."""
    try:
        yield
    finally:
        # One that was accepted just now has its turn first, and is among them.
        await asyncio.sleep(0)
        for writer in writers:
            writer.transport.abort()
        # A transport closes its socket in the loop's next turn.
        await asyncio.sleep(0)
