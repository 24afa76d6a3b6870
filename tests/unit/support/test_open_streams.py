"""A test's server leaves no connection to the collector, which would blame a test that has nothing to do with it."""

import asyncio
import gc
import socket
import warnings

import pytest

from tests.support.open_streams import Serve, stream_server

# More than the buffers of a socket take.
MUCH = b"x" * 20_000_000


async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def closes_with_much_unread(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(MUCH)
    writer.close()


async def serve_one(serve: Serve, turns: int) -> None:
    """A client connects, and takes nothing; the server ends so many turns of the loop later."""
    async with stream_server(serve) as port:
        with socket.create_connection(("127.0.0.1", port)):
            for _ in range(turns):
                await asyncio.sleep(0)


@pytest.mark.parametrize("serve", [waits, closes_with_much_unread])
@pytest.mark.parametrize("turns", range(8))
def test_no_connection_outlives_its_server(serve: Serve, turns: int) -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(serve_one(serve, turns))
        gc.collect()

    assert [str(warning.message) for warning in warned] == []
