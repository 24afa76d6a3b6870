"""The socket of execution reports, as an ASGI application beside the calls of `http.py`."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from simulated_exchange.following import ConnectionCut, Following
from simulated_exchange.log import LogError

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

RESTARTING, BROKEN = 1012, 1011


async def send_frames(following: Following, reset: Callable[[], None], receive: Receive, send: Send) -> None:
    """Accept the socket, and send until either side ends it. What the client sends is read and ignored."""
    await send({"type": "websocket.accept"})
    reading = asyncio.ensure_future(_read_until_disconnect(receive))
    code = RESTARTING
    try:
        async for frame in following:
            if reading.done():
                return
            await send({"type": "websocket.send", "text": frame.decode()})
    except LogError:
        code = BROKEN
    except ConnectionCut:
        reset()
        return
    finally:
        following.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    await send({"type": "websocket.close", "code": code})


async def _read_until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
