"""Clients that place orders and repeat each under its key, wherever a process serves, until its answer is final.

All that they were told is kept, in the order in which it came, for `tests/support/checker.py`.
"""

import asyncio
import contextlib
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

from tests.support.checker import ClientAnswer

POLL_SECONDS = 0.01
REPEAT_SECONDS_MIN = 0.2
REPEAT_SECONDS_MAX = 2.0
# So many may be without a final answer at once; beyond that nothing new is begun.
UNFINISHED_MAX = 150
# Of so many it is said why a test failed.
WORDS_MAX = 10

Request = tuple[str | None, dict[str, Any]]


@dataclass(eq=False)
class Door:
    """Where a process of ours listens, and the requests that wait for it; `is_open`: whether clients go there."""

    url: str
    is_open: bool = True
    waiting: set["asyncio.Task[ClientAnswer]"] = field(default_factory=set)

    def close(self) -> None:
        """Nobody waits here any more: whoever does gives up, and repeats elsewhere."""
        self.is_open = False
        for request in self.waiting:
            request.cancel()


async def until(is_so: Callable[[], object], *, timeout_seconds: float) -> None:
    """Wait for what other processes bring about; TimeoutError if it is still false at the deadline."""
    async with asyncio.timeout(timeout_seconds):
        while not is_so():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(POLL_SECONDS)


def orders(instruments: Sequence[str], *, prefix: str) -> Iterator[Request]:
    """Keyed by the header, keyed by the body, and a few without a key; the instruments in turn."""
    for number in itertools.count():
        key = None if number % 10 == 9 else f"{prefix}-{number}"
        request: dict[str, Any] = {
            "type": "market" if number % 7 == 3 else "limit",
            "side": ("buy", "sell")[number % 2],
            "instrument": instruments[number % len(instruments)],
            "quantity": 1 + number,
        }
        if request["type"] == "limit":
            request["limit_price"] = round(100 + number % 7 + number % 100 / 100, 2)
        if key is not None and number % 2:
            request["client_order_id"] = key
        yield key, request


@contextlib.asynccontextmanager
async def session(*, timeout_seconds: float) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as client:
        yield client


async def post(client: aiohttp.ClientSession, url: str, order: Request) -> ClientAnswer:
    """One request; a lost connection, a wait that became too long and one that was given up are answers too."""
    key, request = order
    headers = {} if key is None or "client_order_id" in request else {"Idempotency-Key": key}
    with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.CancelledError, ValueError):
        async with client.post(url + "/orders", json=request, headers=headers) as response:
            body = await response.json(content_type=None)
            return ClientAnswer(key, request, response.status, body, datetime.now(UTC))
    return ClientAnswer(key, request, None)


def is_final(answer: ClientAnswer) -> bool:
    """Whether a repeat can tell nothing else."""
    return answer.status == 201 or (answer.status == 500 and answer.body.get("outcome") == "not_placed")


@dataclass(order=True)
class _Again:
    """An order that is repeated, at a time of its own."""

    due: float
    tries: int
    order: Request = field(compare=False)


@dataclass(eq=False)
class Load:
    """`clients` of them at once; `run` begins new orders until `is_ending`, and ends once all have their answers."""

    client: aiohttp.ClientSession
    new_orders: Iterator[Request]
    doors: Callable[[], Sequence[Door]]
    chance: random.Random
    clients: int = 16
    answers: list[ClientAnswer] = field(default_factory=list)
    begun: int = 0
    placed: int = 0
    refused: int = 0
    is_ending: bool = False
    _again: list["_Again"] = field(default_factory=list)
    _busy: int = 0

    @property
    def unfinished(self) -> int:
        """Orders whose clients want to know more."""
        return len(self._again) + self._busy

    async def until_finished(self, *, timeout_seconds: float) -> None:
        """Until every client knows what became of its order; fails with what the others were answered last."""
        try:
            await until(lambda: not self.unfinished, timeout_seconds=timeout_seconds)
        except TimeoutError:
            raise AssertionError(f"{self.unfinished} orders have no final answer: {self._last_words()}") from None

    def _last_words(self) -> list[str]:
        keys = {again.order[0] for again in self._again}
        last = {answer.key: answer for answer in self.answers if answer.key in keys}
        return [f"{key}: {answer.status} {dict(answer.body)}" for key, answer in last.items()][:WORDS_MAX]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self._work())

    async def repeat_all(self, *, at_most: int = 1000) -> None:
        """Every keyed order once more: what is said now must agree with what was said before."""
        requests = {answer.key: answer.request for answer in self.answers if answer.key is not None}
        chosen = self.chance.sample(sorted(requests), min(at_most, len(requests)))
        self._again = [_Again(0.0, 0, (key, dict(requests[key]))) for key in chosen]
        self.is_ending = True
        await self.run()

    async def until_it_places(self, door: Door, new_orders: Iterator[Request], count: int) -> None:
        """Until a process places so many orders, one after the other, each when it is first asked to."""
        in_a_row = 0
        while in_a_row < count:
            order = next(new_orders)
            self.begun += 1
            answer = await self._post(door, order)
            self.answers.append(answer)
            in_a_row = in_a_row + 1 if answer.status == 201 else 0
            if not in_a_row:
                await asyncio.sleep(REPEAT_SECONDS_MIN)

    async def _work(self) -> None:
        while not (self.is_ending and not self.unfinished):
            doors = [door for door in self.doors() if door.is_open]
            again = self._next() if doors else None
            if again is None:
                await asyncio.sleep(POLL_SECONDS)
                continue
            self._busy += 1
            try:
                answer = await self._post(self.chance.choice(doors), again.order)
            finally:
                self._busy -= 1
            self._take(answer, again)

    def _next(self) -> _Again | None:
        """One that waits to be repeated, or a new one."""
        now = asyncio.get_running_loop().time()
        if self._again and self._again[0].due <= now:
            return heapq.heappop(self._again)
        if self.is_ending or self.unfinished >= UNFINISHED_MAX:
            return None
        self.begun += 1
        return _Again(now, 0, next(self.new_orders))

    async def _post(self, door: Door, order: Request) -> ClientAnswer:
        request = asyncio.create_task(post(self.client, door.url, order))
        door.waiting.add(request)
        request.add_done_callback(door.waiting.discard)
        try:
            await asyncio.wait({request})
        finally:
            request.cancel()
        return ClientAnswer(order[0], order[1], None) if request.cancelled() else request.result()

    def _take(self, answer: ClientAnswer, again: _Again) -> None:
        self.answers.append(answer)
        if is_final(answer):
            self.placed += answer.status == 201
            self.refused += answer.status != 201
        elif answer.key is not None:
            pause = min(REPEAT_SECONDS_MIN * 2**again.tries, REPEAT_SECONDS_MAX)
            due = asyncio.get_running_loop().time() + pause
            heapq.heappush(self._again, _Again(due, again.tries + 1, again.order))
