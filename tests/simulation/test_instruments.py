"""Instruments that fail on purpose do nothing to the others: the whole service in simulated time, as users met it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any

import pytest

from ordertrail.runtime.settings import Settings
from simulated_exchange.faults import INSTRUMENTS, Faults
from tests.simulation import site as simulated_site
from tests.simulation.chaos import ALL_PROFILES
from tests.simulation.clients import Clients
from tests.simulation.matrix import Script
from tests.simulation.run import silence
from tests.simulation.site import Member, Site
from tests.support.checker import ClientAnswer

GOOD = ("AAPL12345678", "MSFT12345678", "US0378331005")
Story = Callable[[Clients, Member], Awaitable[None]]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """With the settings that users have, and an exchange without any other fault."""
    silence()
    monkeypatch.setattr(simulated_site, "SETTINGS", Settings(_env_file=None))
    site = Site(Random(13), profile=ALL_PROFILES["durable"], faults=Faults())
    with site.in_place():
        yield site


def play(site: Site, story: Story) -> Clients:
    clients = Clients(site)

    async def run() -> None:
        member = site.start("api-1", Script(site, {}, holds_long=False))
        await asyncio.sleep(1)
        async with asyncio.timeout(600):
            await story(clients, member)

    site.loop.run_until_complete(run())
    return clients


def order(instrument: str, number: int) -> dict[str, Any]:
    """Each at a price of its own, and none that trades with another."""
    return {"type": "limit", "side": "buy", "instrument": instrument, "limit_price": 1 + number, "quantity": 1}


async def place(clients: Clients, member: Member, instrument: str, number: int) -> ClientAnswer:
    return await clients.post_to(member, order(instrument, number), f"key-{number}")


@pytest.mark.parametrize("pause_seconds", [0.0, 1.0, 2.5, 7.0, 20.0, 50.0])
def test_after_a_tour_of_the_instruments_that_fail_every_good_order_is_placed_at_once(
    site: Site, pause_seconds: float
) -> None:
    good: list[ClientAnswer] = []

    async def story(clients: Clients, member: Member) -> None:
        for number, instrument in enumerate(INSTRUMENTS):
            await place(clients, member, instrument, number)
        await asyncio.sleep(pause_seconds)
        for number in range(20):
            good.append(await place(clients, member, GOOD[number % len(GOOD)], 100 + number))
            await asyncio.sleep(1)

    play(site, story)

    assert [(answer.status, answer.body.get("detail")) for answer in good] == [(201, None)] * 20


def test_a_bot_s_good_orders_are_not_held_up_by_those_that_fail(site: Site) -> None:
    random = Random(4)
    drawn = [random.choice((*GOOD, *GOOD, *GOOD, *INSTRUMENTS)) for _ in range(100)]
    seconds: dict[int, float] = {}

    async def until_placed(clients: Clients, member: Member, number: int) -> None:
        """As a bot does: repeat the same request as long as that may give another answer."""
        begun_at = site.loop.time()
        answer = await place(clients, member, drawn[number], number)
        while answer.status != 201 and answer.body.get("retryable"):
            await asyncio.sleep(2)
            answer = await place(clients, member, drawn[number], number)
        if drawn[number] in GOOD:
            seconds[number] = site.loop.time() - begun_at if answer.status == 201 else float("inf")

    async def story(clients: Clients, member: Member) -> None:
        async def worker(numbers: Iterator[int]) -> None:
            for number in numbers:
                await until_placed(clients, member, number)
                await asyncio.sleep(0.2)

        numbers = iter(range(100))
        await asyncio.gather(*(worker(numbers) for _ in range(10)))

    play(site, story)

    assert len(seconds) == sum(instrument in GOOD for instrument in drawn) > 40
    assert max(seconds.values()) < 1
