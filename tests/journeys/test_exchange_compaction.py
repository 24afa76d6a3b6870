"""The simulated exchange killed while it compacts its log knows every order that it has answered for."""

import asyncio
import itertools
import threading
from pathlib import Path
from signal import SIGKILL

import aiohttp
import pytest

from simulated_exchange.entries import CompactedLine
from simulated_exchange.log import LOG_NAME, NEW_NAME, read_lines
from tests.support.programs import Program, exchange_program

KILLS = 6
WAIT_SECONDS = 30
PLACING = 8


def kill_while_it_compacts(exchange: Program, new: Path, is_over: threading.Event) -> None:
    """As soon as the new file is seen, which may be the moment after it has taken the old one's place."""
    while not new.exists() and not is_over.is_set():
        pass
    exchange.send_signal(SIGKILL)


async def place_until_it_dies(session: aiohttp.ClientSession, numbers: "itertools.count[int]") -> list[str]:
    answered = []
    while True:
        name = f"o-{next(numbers)}"
        order = {"client_order_id": name, "type": "limit", "limit_price": "10.00", "quantity": 1}
        order |= {"side": "buy", "instrument": "AAPL12345678"}
        try:
            async with session.post("/v1/orders", json=order) as response:
                assert response.status == 201
                answered.append(name)
        except aiohttp.ClientError:
            return answered


@pytest.mark.kills
async def test_exchange_killed_while_it_compacts_keeps_what_it_answered(tmp_path: Path) -> None:
    numbers = itertools.count()
    answered: list[str] = []
    arguments = ("--log-bytes-max", "4096", "--reports-kept", "16")
    for _ in range(KILLS):
        with exchange_program(tmp_path, *arguments) as exchange:
            is_over = threading.Event()
            killing = asyncio.create_task(
                asyncio.to_thread(kill_while_it_compacts, exchange, tmp_path / NEW_NAME, is_over)
            )
            async with aiohttp.ClientSession(exchange.url) as session:
                try:
                    async with asyncio.timeout(WAIT_SECONDS):
                        lists = await asyncio.gather(*(place_until_it_dies(session, numbers) for _ in range(PLACING)))
                finally:
                    is_over.set()
                    await killing
            answered += itertools.chain(*lists)

    with exchange_program(tmp_path, *arguments) as exchange:
        async with aiohttp.ClientSession(exchange.url) as session:
            for name in answered:
                async with session.get(f"/v1/orders/{name}") as response:
                    assert response.status == 200
            async with session.get("/v1/executions", params={"after": 0}) as response:
                assert response.status == 410
        assert any(isinstance(line, CompactedLine) for _, line in read_lines(tmp_path / LOG_NAME))
    assert len(answered) > KILLS
