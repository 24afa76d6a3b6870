"""Workers for queued orders under kills, at every step and anywhere: each order is placed once, or known not to be.

`ORDERTRAIL_TEST_WORKER_KILLS` says how many there are.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.checker import ClientAnswer
from tests.support.clients import orders, session, until
from tests.support.site import Actor, Site, site

KILLS = int(os.environ.get("ORDERTRAIL_TEST_WORKER_KILLS", "12"))
ORDERS_A_TURN = 25
CLIENTS_AT_ONCE = 8
TURN_SECONDS_MAX = 20.0
POST_SECONDS_MAX = 30.0
VIOLATIONS_SHOWN = 20
INSTRUMENTS = ("AAPL12345678", "MSFT12345678", "NVDA12345678")
FAULTS = {"place": {"accept": 88, "throttle": 4, "error_after": 4, "reset": 4}}
POINTS = (
    "before_first_claim", "after_first_claim", "before_send", "after_send", "before_completed", "after_completed",
    "before_failure", "after_failure", "after_first_send",
)  # fmt: skip


class Posting:
    """Clients that do not wait: each order is posted until it is known to be recorded or refused."""

    def __init__(self, client: aiohttp.ClientSession, api: Actor) -> None:
        self._client = client
        self._api = api
        self._orders = orders(INSTRUMENTS, prefix="queued")
        self.answers: list[ClientAnswer] = []

    async def post_some(self, count: int) -> None:
        at_once = asyncio.Semaphore(CLIENTS_AT_ONCE)

        async def post() -> None:
            async with at_once:
                await self._post(*next(self._orders))

        await asyncio.gather(*(post() for _ in range(count)))

    async def _post(self, key: str | None, request: dict[str, Any]) -> None:
        headers = {"Prefer": "respond-async"}
        if key is not None and "client_order_id" not in request:
            headers["Idempotency-Key"] = key
        url = f"{self._api.program.url}/orders"
        async with self._client.post(url, json=request, headers=headers) as response:
            assert response.status == 202, await response.text()
            body = await response.json()
        self.answers.append(ClientAnswer(key, request, response.status, body, None, dict(response.headers)))


class Workers:
    """Always two; one of them dies, at a failpoint or anywhere, or sleeps until its claims have ended."""

    def __init__(self, place: Site, chance: random.Random) -> None:
        self._site = place
        self._chance = chance
        self._points = self._in_turn()
        self._running: list[tuple[Actor, str | None]] = []
        self.ends: Counter[str] = Counter()

    def _in_turn(self) -> Iterator[str | None]:
        while True:
            for point in self._chance.sample(POINTS, len(POINTS)):
                action = "stop" if self._chance.random() < 0.3 else "kill"
                yield f"{point}={action}:{self._chance.randint(1, 4)}"
                yield None

    async def start(self) -> None:
        point = next(self._points)
        failpoints = {} if point is None else {"failpoints": point}
        self._running.append((await self._site.start_placer(**failpoints), point))

    async def end_one(self) -> None:
        actor, point = self._running.pop(0)
        if point is not None:
            try:
                await until(lambda: actor.is_dead or actor.is_stopped, timeout_seconds=TURN_SECONDS_MAX)
            except TimeoutError:
                self.ends["not reached"] += 1
        elif self._chance.random() < 0.4:
            actor.stop()
        if actor.is_stopped:
            # Longer than its claims last, so that the reconciler has its orders when it wakes.
            await asyncio.sleep(self._chance.choice((0.5, 4.0)))
            actor.wake()
            self.ends["slept"] += 1
        if actor.is_dead:
            assert actor.was_killed, actor.program.stderr
            self.ends[f"at {str(point).partition('=')[0]}"] += 1
        else:
            actor.program.process.kill()
            self.ends["anywhere"] += 1
        await actor.gone()

    async def end_armed(self) -> None:
        """Those that would die when the rest is worked off."""
        while self._running:
            actor, _ = self._running.pop()
            actor.program.process.kill()
            await actor.gone()


@pytest.fixture
async def posting(tmp_path: Path) -> AsyncIterator[tuple[Site, Posting]]:
    with site(tmp_path, faults=FAULTS, retry_window_seconds=60, queue_window_seconds=3600) as place:
        api = await place.start_api(place_queued_in_api=False)
        await place.start_reconciler()
        async with session(timeout_seconds=POST_SECONDS_MAX) as client:
            yield place, Posting(client, api)


@pytest.mark.kills
@pytest.mark.timeout(600)
async def test_queued_orders_survive_their_workers(posting: tuple[Site, Posting]) -> None:
    place, clients = posting
    workers = Workers(place, random.Random(KILLS))
    for _ in range(2):
        await workers.start()

    for _ in range(KILLS):
        await clients.post_some(ORDERS_A_TURN)
        await workers.end_one()
        await workers.start()
    await workers.end_armed()
    await place.start_placer()
    await place.settle()

    evidence = await place.evidence()
    report = place.report(evidence, clients.answers)
    assert not report.violations, "\n".join(report.violations[:VIOLATIONS_SHOWN])
    assert len(clients.answers) == KILLS * ORDERS_A_TURN
    placed = {row.id for row in evidence.rows if row.status == "COMPLETED"}
    # A market order whose worker was killed, or that was throttled, is not sent again.
    assert len(placed) >= 0.8 * len(clients.answers), (len(placed), workers.ends)
    assert workers.ends["anywhere"] and sum(workers.ends.values()) > KILLS // 2, workers.ends
