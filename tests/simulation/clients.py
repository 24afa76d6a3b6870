"""What the other side of the door does: place orders, repeat, hang up, change its mind, all at once."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.site import Member, Site
from tests.support.checker import ClientAnswer

INSTRUMENTS = ("AAPL12345678", "MSFT12345678")
REPEATS_MAX = 12
PREFERENCES = (b"respond-async", b"respond-async", b"respond-async, wait=3")
PRICES = (99.5, 100.0, 100.25)
# As large as a price may be, so that averages need more digits than floats have.
LARGE_PRICES = (9999999999999.97, 9999999999999.98, 9999999999999.99)


class Clients:
    """`answers` is what they saw, in the order in which they saw it."""

    def __init__(
        self,
        site: Site,
        *,
        cancels: float = 0.15,
        keyless: float = 0.2,
        queued: float = 0.0,
        prices: tuple[float, ...] = PRICES,
    ) -> None:
        """`cancels`: the share of orders that their clients want canceled; `keyless`: of those without a key.

        `queued`: of requests whose clients prefer not to wait for the exchange.
        """
        self._queued = queued
        self._prices = prices
        self._keyless = keyless
        self._site = site
        self._cancels = cancels
        self.answers: list[ClientAnswer] = []
        self._keys = 0

    async def run(self, clients: int, orders: int) -> None:
        """So many clients, each placing so many orders one after the other."""
        await asyncio.gather(*(self._client(orders) for _ in range(clients)))

    async def _client(self, orders: int) -> None:
        random = self._site.random
        for _ in range(orders):
            await asyncio.sleep(random.random() * 6)
            await self._order()

    async def _order(self) -> None:
        random = self._site.random
        order = self._draw_order()
        if random.random() < self._keyless:
            await self._post(order, None)
            return
        self._keys += 1
        key = f"key-{self._keys}"
        if random.random() < 0.15:
            # A client, its proxy and its other half, all at once.
            await asyncio.gather(*(self._post(order, key) for _ in range(3)))
        wants_cancel = random.random() < self._cancels
        answer = await self._post(order, key)
        for _ in range(REPEATS_MAX):
            if wants_cancel and answer.order_id is not None and random.random() < 0.5:
                await self.cancel(answer.order_id)
            if answer.status == 201 or (answer.status == 500 and not answer.body.get("retryable")):
                break
            if answer.status == 202 and random.random() < 0.5:
                break
            await asyncio.sleep(random.random() * 4)
            answer = await self._post(order, key)
        if random.random() < 0.1:
            await self._post(self._draw_order(), key)

    def _draw_order(self) -> dict[str, Any]:
        random = self._site.random
        order: dict[str, Any] = {
            "side": random.choice(("buy", "sell")),
            "instrument": random.choice(INSTRUMENTS),
            "quantity": random.randint(1, 3),
        }
        if random.random() < 0.2:
            order["type"] = "market"
        else:
            order |= {"type": "limit", "limit_price": random.choice(self._prices)}
        if random.random() < 0.3:
            order["place_by"] = self._moment(5 + random.random() * 25)
        return order

    def _moment(self, seconds: float) -> str:
        moment: datetime = self._site.now() + timedelta(seconds=seconds)
        return moment.isoformat()

    async def _post(self, order: dict[str, Any], key: str | None) -> ClientAnswer:
        wait_seconds_max = self._site.random.choice((0.02, 8.0, 30.0, 30.0))
        return await self.post_to(self.some_member(), order, key, wait_seconds_max=wait_seconds_max)

    def some_member(self) -> Member | None:
        """Any API process that lives."""
        members = self._site.serving
        return self._site.random.choice(members) if members else None

    async def post_to(
        self, member: Member | None, order: dict[str, Any], key: str | None = None, *, wait_seconds_max: float = 30.0
    ) -> ClientAnswer:
        """One request to one process."""
        site = self._site
        met = None
        if member is not None:
            prefer = None
            if self._queued and site.random.random() < self._queued:
                prefer = site.random.choice(PREFERENCES)
            met = await member.post(json.dumps(order).encode(), key, prefer, wait_seconds_max=wait_seconds_max)
        else:
            await asyncio.sleep(0.05)
        status, headers, text = (None, {}, b"{}") if met is None else met
        answer = ClientAnswer(key, order, status, json.loads(text), site.now(), headers)
        self.answers.append(answer)
        site.note("answer", f"{key} {status} {answer.order_id} {answer.body.get('outcome')}")
        return answer

    async def cancel(self, order_id: str) -> None:
        """`DELETE /orders/{id}`, once."""
        site = self._site
        member = self.some_member()
        if member is not None:
            met = await member.delete(order_id, wait_seconds_max=5.0)
            site.counts["canceled"] += met is not None and met[0] == 202
            site.note("cancel", f"{order_id} {met}")
