"""Clients that do what `advice` says, to the letter and nothing else; and what must come of that.

Each has intents, one after the other: an order that is to be at the exchange once. An intent is told at the exchange by
its quantity, under whatever keys and ids it was sent. What is checked shares no code with the service.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulated_exchange.entries import AcceptedLine, Line
from tests.simulation.clients import Clients
from tests.simulation.site import Site
from tests.support.checker import ClientAnswer

INSTRUMENT = "ADVICE000000"
QUANTITY_MIN = 1000
# Once all is healed: longer than any deadline, and the longest promise of a venue after it.
HEALED_SECONDS_MAX = 400.0
PAUSE_SECONDS = 2.0
ADVICE = frozenset(
    {"wait_then_repeat_same_key", "repeat_request", "new_key_is_safe", "correct_and_repeat", "never_repeat"}
)


@dataclass
class Intent:
    """What a client wants at the exchange once; `ended` says how its chain of requests came to an end."""

    quantity: int
    has_key: bool
    answers: list[ClientAnswer] = field(default_factory=list)
    ended: str | None = None
    violations: list[str] = field(default_factory=list)


class Followers:
    """Clients beside the others of a run; `heal` says from when on their chains must end."""

    def __init__(self, site: Site, clients: Clients) -> None:
        self._site = site
        self._clients = clients
        self._keys = 0
        self._end_by: float | None = None
        self.intents: list[Intent] = []

    async def run(self, followers: int, intents: int) -> None:
        """So many clients, each with so many intents one after the other."""
        await asyncio.gather(*(self._follower(intents) for _ in range(followers)))

    def heal(self) -> None:
        """From now on nothing fails any more."""
        self._end_by = self._site.loop.time() + HEALED_SECONDS_MAX

    async def _follower(self, intents: int) -> None:
        random = self._site.random
        for _ in range(intents):
            await asyncio.sleep(random.random() * 6)
            intent = Intent(QUANTITY_MIN + len(self.intents), has_key=random.random() < 0.8)
            self.intents.append(intent)
            await self._follow(intent)
            self._site.counts[f"advice: {intent.ended}"] += 1

    async def _follow(self, intent: Intent) -> None:
        order = self._draw_order(intent.quantity)
        key = self._new_key() if intent.has_key else None
        begun_at = self._site.loop.time()
        while intent.ended is None:
            answer = await self._post(order, key)
            intent.answers.append(answer)
            if answer.status is None:
                # No answer, no advice: with a key it is repeated, without one nobody may.
                if key is None:
                    intent.ended = "lost without a key"
            elif answer.status == 201:
                intent.ended = "placed"
            elif answer.status == 202:
                # What becomes of it is to be read; one that would know by repeating needs a key.
                intent.ended = "queued" if key is None else None
            else:
                key, order = await self._do(intent, answer, key, order)
            # One that begins late, after one that waited for a person, has as long as the others had.
            end_by = None if self._end_by is None else max(self._end_by, begun_at + HEALED_SECONDS_MAX)
            is_over = end_by is not None and self._site.loop.time() > end_by
            if intent.ended is None and is_over and answer.status is not None:
                is_for_a_person = answer.body.get("order_status") == "UNRESOLVED"
                intent.ended = "waits for a person" if is_for_a_person else "no end"
            await asyncio.sleep(self._site.random.random() * PAUSE_SECONDS)

    async def _do(
        self, intent: Intent, answer: ClientAnswer, key: str | None, order: dict[str, Any]
    ) -> tuple[str | None, dict[str, Any]]:
        """One step: the key and the order of the next request."""
        self._site.counts[f"advice: {answer.body.get('advice')}"] += 1
        match answer.body.get("advice"):
            case "wait_then_repeat_same_key":
                await asyncio.sleep(float(answer.headers.get("retry-after", 0)))
            case "new_key_is_safe" if self._is_too_late(order):
                # A process whose clock is an hour behind would take it again and again, for the queue to end it.
                intent.ended = "its own end has come"
            case "new_key_is_safe":
                key = None if key is None else self._new_key()
            case "correct_and_repeat":
                # All that can be wrong with these orders; where clocks differ by an hour, no moment is right.
                was_corrected = any(a.body.get("advice") == "correct_and_repeat" for a in intent.answers[:-1])
                order = order | {"place_by": None if was_corrected else self._moment()}
            case "repeat_request":
                pass
            case _:
                intent.ended = "never to be repeated"
        return key, order

    def _new_key(self) -> str:
        self._keys += 1
        return f"advice-{self._keys}"

    def _draw_order(self, quantity: int) -> dict[str, Any]:
        random = self._site.random
        order: dict[str, Any] = {"side": random.choice(("buy", "sell")), "instrument": INSTRUMENT, "quantity": quantity}
        if random.random() < 0.4:
            order["type"] = "market"
        else:
            order |= {"type": "limit", "limit_price": 100}
        if random.random() < 0.3:
            order["place_by"] = self._moment()
        return order

    def _is_too_late(self, order: Mapping[str, Any]) -> bool:
        place_by = order.get("place_by")
        return place_by is not None and datetime.fromisoformat(place_by) <= self._site.now()

    def _moment(self) -> str:
        # A client's clock may be some seconds off from that of the process which reads this.
        return (self._site.now() + timedelta(seconds=8 + self._site.random.random() * 20)).isoformat()

    async def _post(self, order: dict[str, Any], key: str | None) -> ClientAnswer:
        wait_seconds_max = self._site.random.choice((0.02, 8.0, 30.0, 30.0, 30.0))
        return await self._clients.post_to(self._clients.some_member(), order, key, wait_seconds_max=wait_seconds_max)


def check_advice(intents: Iterable[Intent], lines: Iterable[Line]) -> Iterator[str]:
    """Never two orders of one intent, never a client without a next step, and an end to each chain."""
    accepted: Counter[int | None] = Counter(
        line.order.quantity for line in lines if isinstance(line, AcceptedLine) and line.order.instrument == INSTRUMENT
    )
    for intent in intents:
        name = f"intent {intent.quantity}"
        if accepted[intent.quantity] > 1:
            said = [(a.status, a.body.get("outcome"), a.body.get("advice")) for a in intent.answers]
            yield f"{name}: {accepted[intent.quantity]} orders at the exchange, after {said}"
        if intent.ended in (None, "no end"):
            last = intent.answers[-1] if intent.answers else None
            yield f"{name}: its client never comes to an end: {last}"
        if intent.ended == "placed" and not accepted[intent.quantity]:
            yield f"{name}: its client was answered 201, and it is not at the exchange"
        for answer in intent.answers:
            for wrong in _wrong_with(answer):
                yield f"{name}: {wrong}: {answer.status} {answer.body}"


def _wrong_with(answer: ClientAnswer) -> Iterator[str]:
    """How an answer leaves its client without a next step, or with one that may be wrong."""
    body, headers = answer.body, answer.headers
    if answer.status in (None, 201):
        return
    if answer.status == 202:
        if "location" not in headers or answer.body.get("outcome") not in {"pending", "unknown", "placed"}:
            yield "taken, and nowhere to look, or over already"
        return
    advice, outcome, certainty = (body.get(name) for name in ("advice", "outcome", "certainty"))
    if advice not in ADVICE:
        yield "no advice"
    if advice == "wait_then_repeat_same_key" and (answer.key is None or "retry-after" not in headers):
        yield "to be repeated, and no key or no Retry-After"
    if advice == "never_repeat" and "location" not in headers:
        yield "never to be repeated, and nowhere to look"
    if (outcome == "not_placed") != (certainty is not None):
        yield "not placed and certain are not the same"
    if (advice == "new_key_is_safe") != (outcome == "not_placed" and certainty == "proved"):
        yield "a new key is safe where it is proved that it is not placed"
    if answer.status == 503 and advice != _of_503(answer):
        yield "turned away with other advice"
    if advice == "correct_and_repeat" and not _is_expired(body):
        yield "nothing is wrong with it but its time"


def _of_503(answer: ClientAnswer) -> str:
    return "repeat_request" if answer.key is None else "wait_then_repeat_same_key"


def _is_expired(body: Mapping[str, Any]) -> bool:
    return [error.get("pointer") for error in body.get("errors", ())] == ["/place_by"]
