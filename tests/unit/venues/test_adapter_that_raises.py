"""An exception inside an adapter takes nothing from what was proved before it: at each place where there can be one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from typing import Any, NoReturn

import pytest
from typing_extensions import override

from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import Accepted, NoAnswer, NotSent, PlaceAnswer, Unknown, Verification
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.telemetry import metrics
from ordertrail.venues.gate.call_budget import Permit
from ordertrail.venues.http import client as client_module
from ordertrail.venues.http import wire
from ordertrail.venues.http.client import HttpVenue
from ordertrail.venues.simulated import translation
from ordertrail.venues.simulated.client import SimulatedVenue
from ordertrail.venues.simulated.opening import parse_in_memory
from tests.support.clocks import PatientClock
from tests.support.gateway import gateway_to
from tests.support.orders import an_order
from tests.support.payloads import RECORDED_ORDER, payload
from tests.support.scripted_http_exchange import Answer, ScriptedHttpExchange, scripted_http_exchange
from tests.support.service import ScriptedVenue

ORDER = an_order()
WAIT_SECONDS = 20.0


def raises(*arguments: Any, **named: Any) -> NoReturn:
    raise LookupError("a bug")


def broken(name: str) -> float:
    value: float = metrics.INVARIANTS_BROKEN.labels(name)._value.get()
    return value


async def through(venue: Any) -> PlaceAnswer:
    clock = PatientClock()
    return await gateway_to(venue, clock).send_and_query(ORDER, send_by=clock.monotonic() + 60, accept_by=None)


class RaisesAtOnce(ScriptedVenue):
    """Before there is anything that could be awaited, nothing can have left."""

    @override
    def place(  # type: ignore[override]  # so that it raises before it is awaited
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> Awaitable[PlaceAnswer]:
        raise LookupError("a bug")


class RaisesOnItsWay(ScriptedVenue):
    @override
    async def place(
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> PlaceAnswer:
        await asyncio.sleep(0)
        raise LookupError("a bug")

    @override
    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:
        raise LookupError("a bug")


class AnswersWithNothing(ScriptedVenue):
    @override
    async def place(self, order: Order, **how: Any) -> Any:
        return None


@pytest.mark.parametrize(
    ("venue", "answer"),
    [
        (RaisesAtOnce(), NotSent("adapter_raised")),
        (RaisesOnItsWay(), Unknown("adapter_raised")),
        (AnswersWithNothing(), Unknown("adapter_raised")),
    ],
    ids=["before it is awaited", "on its way", "no answer at all"],
)
async def test_adapter_that_raises_leaves_what_is_known(venue: ScriptedVenue, answer: PlaceAnswer) -> None:
    before = broken("venue_raised")

    assert await through(venue) == answer
    assert broken("venue_raised") > before


async def test_gate_that_raises_takes_no_answer_away(monkeypatch: pytest.MonkeyPatch) -> None:
    before = broken("gate_raised")
    monkeypatch.setattr(Permit, "leave", raises)

    assert await through(ScriptedVenue()) == Accepted("X-1")
    assert broken("gate_raised") == before + 1


@pytest.fixture
async def exchange() -> AsyncIterator[ScriptedHttpExchange]:
    async with scripted_http_exchange() as exchange:
        exchange.answers["place"] = Answer(201, json.dumps(payload("placed")).encode())
        yield exchange


async def place_over_http(exchange: ScriptedHttpExchange) -> PlaceAnswer:
    clock = SystemClock()
    venue = HttpVenue(exchange.url, clock=clock, connections_max=4)
    await venue.open()
    try:
        return await venue.place(
            RECORDED_ORDER, send_by=clock.monotonic() + WAIT_SECONDS, timeout_seconds=WAIT_SECONDS, accept_by=None
        )
    finally:
        await venue.close()


async def test_http_adapter_that_raises_before_the_first_byte_has_not_sent(
    exchange: ScriptedHttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = broken("venue_raised")
    monkeypatch.setattr(client_module, "_call", raises)

    assert await place_over_http(exchange) == NotSent("adapter_raised")
    assert exchange.calls == []
    assert broken("venue_raised") == before + 1


@pytest.mark.parametrize(("module", "name"), [(client_module, "_receive"), (wire, "read_placed"), (wire, "_accepted")])
async def test_http_adapter_that_raises_after_the_first_byte_does_not_know(
    exchange: ScriptedHttpExchange, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    before = broken("venue_raised")
    monkeypatch.setattr(module, name, raises)

    answer = await place_over_http(exchange)

    assert answer == Unknown("adapter_raised")
    assert exchange.calls == ["place"]
    assert broken("venue_raised") == before + 1


async def test_date_that_cannot_be_read_takes_no_proof_away(
    exchange: ScriptedHttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "parsedate_to_datetime", raises)
    exchange.answers["place"] = Answer(
        429, json.dumps(payload("throttled")).encode(), (b"Retry-After: Thu, 01 Jan 2026 12:00:30 GMT",)
    )

    assert await place_over_http(exchange) == NotSent("throttled")


async def test_simulated_adapter_that_raises_before_the_call_has_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = SimulatedVenue(parse_in_memory(""), clock=SystemClock())
    await venue.open()
    monkeypatch.setattr(translation, "new_order", raises)
    try:
        answer = await through(venue)
    finally:
        await venue.close()

    assert answer == NotSent("adapter_raised")


async def test_query_that_raises_says_nothing() -> None:
    assert await gateway_to(RaisesOnItsWay(), PatientClock()).query(ORDER.id) == NoAnswer("adapter_raised")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/9.9 201 Created\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"".join(b"X-%d: x\r\n" % n for n in range(20_000)) + b"\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}{}{",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nX\x00Y: a\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:40]),
)
async def test_frame_that_is_none_of_http_proves_nothing(exchange: ScriptedHttpExchange, raw: bytes) -> None:
    exchange.answers["place"] = exchange.answers["query"] = Answer(raw=raw)
    before = broken("venue_raised")

    assert isinstance(await place_over_http(exchange), Unknown)
    assert broken("venue_raised") == before
