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
ANSWERED_BEFORE = 20
REPORTS_KEPT = 16


def kill_while_it_compacts(exchange: Program, new: Path, may_kill: threading.Event, is_over: threading.Event) -> None:
    """As soon as the new file is seen, which may be the moment after it has taken the old one's place."""
    may_kill.wait(WAIT_SECONDS)
    while not new.exists() and not is_over.is_set():
        pass
    exchange.send_signal(SIGKILL)


async def place(session: aiohttp.ClientSession, name: str) -> None:
    order = {"client_order_id": name, "type": "limit", "limit_price": "10.00", "quantity": 1}
    order |= {"side": "buy", "instrument": "AAPL12345678"}
    async with session.post("/v1/orders", json=order) as response:
        assert response.status == 201


async def place_until_it_dies(
    session: aiohttp.ClientSession, numbers: "itertools.count[int]", may_kill: threading.Event
) -> list[str]:
    answered: list[str] = []
    while True:
        name = f"o-{next(numbers)}"
        try:
            await place(session, name)
        except aiohttp.ClientError:
            return answered
        answered.append(name)
        if len(answered) == ANSWERED_BEFORE:
            may_kill.set()


@pytest.mark.kills
async def test_exchange_killed_while_it_compacts_keeps_what_it_answered(tmp_path: Path) -> None:
    numbers = itertools.count()
    answered: list[str] = []
    arguments = ("--log-bytes-max", "4096", "--reports-kept", str(REPORTS_KEPT))
    for kill in range(KILLS):
        with exchange_program(tmp_path, *arguments) as exchange:
            may_kill, is_over = threading.Event(), threading.Event()
            if kill % 2:  # at once: what it writes first after a start is compacted
                may_kill.set()
            killing = asyncio.create_task(
                asyncio.to_thread(kill_while_it_compacts, exchange, tmp_path / NEW_NAME, may_kill, is_over)
            )
            async with aiohttp.ClientSession(exchange.url) as session:
                try:
                    async with asyncio.timeout(WAIT_SECONDS):
                        placing = (place_until_it_dies(session, numbers, may_kill) for _ in range(PLACING))
                        lists = await asyncio.gather(*placing)
                finally:
                    may_kill.set()
                    is_over.set()
                    await killing
            answered += itertools.chain(*lists)

    with exchange_program(tmp_path, *arguments) as exchange:
        async with aiohttp.ClientSession(exchange.url) as session:
            for _ in range(REPORTS_KEPT + 1):  # it compacts at the first, and keeps fewer reports than there are
                await place(session, f"o-{next(numbers)}")
            for name in answered:
                async with session.get(f"/v1/orders/{name}") as response:
                    assert response.status == 200
            async with session.get("/v1/executions", params={"after": 0}) as response:
                assert response.status == 410
        assert any(isinstance(line, CompactedLine) for _, line in read_lines(tmp_path / LOG_NAME))
    assert len(answered) >= KILLS // 2 * ANSWERED_BEFORE
