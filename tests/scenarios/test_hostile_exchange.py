"""An exchange that sends something nobody can understand: the rest of what it says is heard all the same."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from ordertrail.domain.order import Order
from ordertrail.reconciliation.parking import LOGGED_PER_PASS_MAX, NEW_PER_PASS_MAX
from ordertrail.reconciliation.sweep import Sweep, Swept
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.telemetry import metrics
from ordertrail.server.service import Service
from ordertrail.storage.parked_rows import ParkedView
from ordertrail.venues.http.client import HttpVenue
from tests.support.payloads import payload
from tests.support.reconciling import limit_order, replica
from tests.support.scripted_http_exchange import Answer, ScriptedHttpExchange, as_json, scripted_http_exchange

[EXECUTION] = payload("executions")["executions"]
[LISTED] = payload("open_orders")["orders"]


@dataclass
class House:
    """A process of ours, and the exchange that it talks to."""

    service: Service
    exchange: ScriptedHttpExchange
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def place_in_doubt(self, **changes: Any) -> Order:
        """An order of which the exchange has said nothing."""
        order = limit_order(**changes)
        await self.service.placing.place(order)
        return order

    async def due(self) -> None:
        """Everything that waits is due now, then a pass and a sweep."""
        for statement in (
            "UPDATE doubts SET next_at = clock_timestamp()",
            "UPDATE order_batches SET due_at = clock_timestamp()",
            "UPDATE sweep_positions SET leased_until = NULL",
        ):
            await self.connection.execute(statement)
        await self.service.schedule.run_once()

    async def sweep(self) -> Swept:
        await self.connection.execute("UPDATE sweep_positions SET leased_until = NULL")
        service = self.service
        return await Sweep(service.doubts, service.parked, service.gateway, venue="http", rest_seconds=0).run_once()

    async def trail(self, order: Order) -> list[tuple[str, str | None]]:
        records = await self.connection.fetch(
            "SELECT status::text, reason FROM orders r WHERE id = $1 ORDER BY r.status", order.id
        )
        return [(record["status"], record["reason"]) for record in records]

    async def orphans(self) -> set[str]:
        return {record[0] for record in await self.connection.fetch("SELECT client_order_id FROM orphans")}

    async def parked(self) -> list[ParkedView]:
        return await self.service.parked.parked(limit=1000)

    async def observation(self, order: Order) -> str:
        return str(await self.connection.fetchval("SELECT last_seen FROM doubts WHERE order_id = $1", order.id))


@asynccontextmanager
async def opened(database_url: str, folder: Path) -> AsyncIterator[House]:
    async with scripted_http_exchange() as exchange:
        venue = HttpVenue(exchange.url, clock=SystemClock(), connections_max=8)
        await venue.open()
        connection = await asyncpg.connect(database_url)
        try:
            async with replica(database_url, folder, venue, exchange_timeout_seconds=10) as service:
                yield House(service, exchange, connection)
        finally:
            await connection.close()
            await venue.close()


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with opened(database_url, tmp_path) as house:
        yield house


def value_of(metric: Any, **labels: str) -> float:
    value: float = (metric.labels(**labels) if labels else metric)._value.get()
    return value


def as_at_exchange(order: Order, **changes: Any) -> dict[str, Any]:
    price = None if order.limit_price is None else str(order.limit_price)
    mine: dict[str, Any] = {
        "client_order_id": order.id,
        "type": order.type,
        "side": order.side,
        "instrument": order.instrument,
        "limit_price": price,
        "quantity": order.quantity,
        "leaves_qty": order.quantity,
    }
    return {**LISTED, **mine, **changes}


def listed(*orders: dict[str, Any]) -> Answer:
    return as_json(200, payload("open_orders") | {"orders": list(orders)})


def page(*executions: dict[str, Any], head: int) -> Answer:
    return as_json(200, payload("executions") | {"executions": list(executions), "head": head})


async def test_epoch_that_cannot_be_a_text_in_the_database_stops_no_reconciliation(house: House) -> None:
    order = await house.place_in_doubt()
    house.exchange.answers["query"] = as_json(200, as_at_exchange(order))
    house.exchange.answers["capabilities"] = as_json(200, payload("capabilities") | {"epoch": "a\x00b"})

    await house.due()

    assert ("COMPLETED", "verified") in await house.trail(order)


async def test_open_order_that_cannot_be_understood_hides_no_other(house: House) -> None:
    house.exchange.answers["open_orders"] = listed(
        LISTED | {"client_order_id": "before", "exchange_order_id": "X-1"},
        LISTED | {"client_order_id": "a\x00b", "exchange_order_id": "X-2"},
        LISTED | {"client_order_id": "after", "exchange_order_id": "X-3"},
    )

    await house.sweep()

    assert await house.orphans() == {"before", "after"}


async def test_execution_that_cannot_be_understood_is_passed(house: House) -> None:
    house.exchange.answers["executions"] = page(
        EXECUTION | {"seq": 1, "client_order_id": "before"},
        EXECUTION | {"seq": 2, "client_order_id": "middle", "exec_type": "restated"},
        EXECUTION | {"seq": 3, "client_order_id": "after"},
        head=3,
    )

    await house.sweep()

    assert await house.orphans() == {"before", "after"}
    assert await house.connection.fetchval("SELECT seq FROM sweep_positions") == 3


async def test_what_cannot_be_understood_is_parked_once_and_counted(house: House) -> None:
    before = value_of(metrics.PARKED, kind="open_order")
    house.exchange.answers["open_orders"] = listed(LISTED | {"client_order_id": "ours", "leaves_qty": "ten"})
    house.exchange.answers["executions"] = page(
        EXECUTION | {"seq": 1, "client_order_id": "a\x00b", "exec_id": "E" * 10_000},
        EXECUTION | {"seq": None},
        EXECUTION | {"seq": 2**62, "client_order_id": "far"},
        head=5,
    )

    first, second = await house.sweep(), await house.sweep()

    assert (first.parked, second.parked, second.not_kept) == (4, 0, 0)
    parked = await house.parked()
    assert {(each.kind, each.field, each.seq) for each in parked} == {
        ("open_order", "leaves_qty", None),
        ("execution_report", "exec_id", 1),
        ("execution_report", "seq", None),
        ("execution_report", "seq", 2**62),
    }
    assert all(each.venue == "http" and each.epoch == "e" and len(each.raw) <= 8192 for each in parked)
    [of_ours] = [each for each in parked if each.kind == "open_order"]
    assert of_ours.order_id == "ours" and b'"leaves_qty": "ten"' in of_ours.raw
    assert value_of(metrics.PARKED, kind="open_order") == before + 1
    assert REGISTRY.get_sample_value("ordertrail_parked_open") == 4


async def test_open_order_that_is_traded_meanwhile_is_the_same_thing(house: House) -> None:
    for cum_qty in range(3):
        order = LISTED | {"client_order_id": "ours", "leaves_qty": "ten", "cum_qty": cum_qty}
        house.exchange.answers["open_orders"] = listed(order)
        await house.sweep()

    assert len(await house.parked()) == 1


async def test_hostile_list_fills_no_table_and_no_log(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    orders = [
        LISTED | {"client_order_id": f"a{number}\x00b", "exchange_order_id": f"E-{number}"} for number in range(3000)
    ]
    good = LISTED | {"client_order_id": "good", "exchange_order_id": "X-9"}
    house.exchange.answers["open_orders"] = listed(*orders, good)

    first, second = await house.sweep(), await house.sweep()

    assert (first.parked, first.not_kept) == (NEW_PER_PASS_MAX, 3000 - NEW_PER_PASS_MAX)
    assert len(await house.parked()) == 2 * NEW_PER_PASS_MAX and second.parked == NEW_PER_PASS_MAX
    assert await house.orphans() == {"good"}
    assert capsys.readouterr().err.count("cannot be understood") <= 2 * (LOGGED_PER_PASS_MAX + 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"orders": [', b'{"orders": [{]}', b'{"orders": [{"a": nul}]}', b'{"orders": [{}, ]}', b"[]"],
)
async def test_list_that_is_cut_or_no_json_is_no_answer(house: House, body: bytes) -> None:
    order = LISTED | {"client_order_id": "theirs"}
    listing = body.replace(b"[", b"[" + json.dumps(order).encode() + b", ", 1) if b"[" in body[1:] else body
    house.exchange.answers["open_orders"] = Answer(200, listing)

    await house.sweep()

    assert (await house.orphans(), await house.parked()) == (set(), [])


async def test_order_that_was_rejected_without_an_id_is_settled(house: House) -> None:
    order = await house.place_in_doubt()
    rejected = as_at_exchange(
        order, exchange_order_id=None, ord_status="rejected", reject_reason="no_funds", leaves_qty=0
    )
    house.exchange.answers["query"] = as_json(200, rejected)

    await house.due()

    assert (await house.trail(order))[-1] == ("NOT_PLACED", "proved:refused:no_funds")


async def test_order_whose_answer_cannot_be_read_says_so(house: House) -> None:
    order = await house.place_in_doubt()
    house.exchange.answers["query"] = as_json(200, as_at_exchange(order, leaves_qty="ten"))

    await house.due()

    assert await house.observation(order) == "no answer: unreadable: leaves_qty: Expected `int`, got `str`"


async def test_date_that_is_none_takes_no_proof_away(house: House) -> None:
    house.exchange.answers["place"] = Answer(
        429, b'{"executed": "no"}', (b"Retry-After: Fri, 31 Dec 99999999999 23:59:59 GMT",)
    )

    order = await house.place_in_doubt()

    assert (await house.trail(order))[-1] == ("EXCHANGE_CREATION_FAILED", "not_sent:throttled")
