"""Every field of what an exchange sends, spoiled in every way, through the whole service: the order beside it is well.

The cases are those of `tests/unit/venues/test_hostile_replies.py`; here they go through a socket, the gate, the
reconciler and the sweep into a real database, which must be able to keep what was read.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from ordertrail.domain.order import Order
from tests.scenarios.test_hostile_exchange import EXECUTION, LISTED, House, as_at_exchange, house, page
from tests.support.counts import Count
from tests.support.payloads import payload
from tests.support.reconciling import limit_order
from tests.support.scripted_http_exchange import Answer, as_json
from tests.unit.venues import test_hostile_replies as replies
from tests.unit.venues.test_hostile_replies import ReplyKind, reads_as

__all__ = ["house"]

# Of the replies to placing, which are placed one after the other: each so many-th.
STRIDE = 5
# The breaker opens if half of all calls are troubles.
WELL_PER_HOSTILE = 2


def hostile_cases(kind: ReplyKind) -> list[tuple[str, bytes]]:
    """What is deep stands in one field only: it takes the longest, and in every field the same way."""
    last = kind.struct.__struct_fields__[-1]
    return [
        (f"{field}: {what}", body)
        for field, what, body in kind.bodies()
        if field == last or not what.startswith("a deep ")
    ]


def an_order(number: int) -> Order:
    """Each in an instrument of its own, so that none stands still for another's trouble."""
    return limit_order(instrument=f"HOST{number:08}")


async def trails(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, list[tuple[str, str | None]]]:
    found: dict[str, list[tuple[str, str | None]]] = {}
    for row in await connection.fetch("SELECT id, status::text, reason FROM orders ORDER BY orders.status"):
        found.setdefault(row["id"], []).append((row["status"], row["reason"]))
    return found


async def test_hostile_open_orders_hide_none_that_stands_between_them(house: House, counted: Count) -> None:
    cases = hostile_cases(replies.OPEN_ORDER)
    well = [LISTED | {"client_order_id": f"well-{n}", "exchange_order_id": f"W-{n}"} for n in range(len(cases))]
    elements = [text for (_, body), one in zip(cases, well, strict=True) for text in (body, json.dumps(one).encode())]
    house.exchange.answers["open_orders"] = Answer(200, b'{"orders": [%b]}' % b", ".join(elements))

    swept = await house.sweep()

    assert {one["client_order_id"] for one in well} <= await house.orphans()
    unread = sum(not reads_as(replies.OPEN_ORDER, body) for _, body in cases)
    # Some are the same thing, as far as it can be understood at all.
    assert 0 < swept.parked <= swept.parked + swept.not_kept <= unread
    counted({"hostile open orders": len(cases)})


async def test_hostile_executions_hide_none_that_stands_between_them(house: House, counted: Count) -> None:
    cases = [case for case in hostile_cases(replies.EXECUTION) if not case[0].startswith("seq:")]
    executions: list[bytes] = []
    for number, (_, body) in enumerate(cases):
        executions.append(body.replace(b'"seq": 1', b'"seq": %d' % (2 * number + 1)))
        executions.append(json.dumps(EXECUTION | {"seq": 2 * number + 2, "client_order_id": f"well-{number}"}).encode())
    listing = b'{"epoch": "e", "executions": [%b], "head": %d}' % (b", ".join(executions), len(executions))
    house.exchange.answers["executions"] = Answer(200, listing)

    await house.sweep()

    assert {f"well-{number}" for number in range(len(cases))} <= await house.orphans()
    assert await house.connection.fetchval("SELECT seq FROM sweep_positions") == len(executions)
    counted({"hostile executions": len(cases)})


@pytest.mark.parametrize("field", replies.EXECUTIONS.struct.__struct_fields__)
async def test_hostile_page_stops_no_sweep_and_no_reconciliation(house: House, field: str, counted: Count) -> None:
    order = await house.place_in_doubt()
    seq = 0
    cases = [number for number, (name, _, _) in enumerate(replies.EXECUTIONS.bodies()) if name == field]
    for case in cases:
        # Nothing is wrong with it but the field: its one report is the next.
        seq += 1
        document = payload("executions") | {"executions": [EXECUTION | {"seq": seq}], "head": seq}
        kind = replace(replies.EXECUTIONS, document=document)
        house.exchange.answers["executions"] = Answer(200, list(kind.bodies())[case][2])
        await house.sweep()
        for _ in range(WELL_PER_HOSTILE):
            seq += 1
            well = EXECUTION | {"seq": seq, "client_order_id": f"well-{seq}", "exchange_order_id": f"W-{seq}"}
            house.exchange.answers["executions"] = page(well, head=seq)
            await house.sweep()
            assert f"well-{seq}" in await house.orphans()
    house.exchange.answers["executions"] = page(head=seq)
    house.exchange.answers["query"] = as_json(200, as_at_exchange(order))

    await house.due()

    assert ("COMPLETED", "verified") in await house.trail(order)
    counted({"hostile pages": len(cases)})


@pytest.mark.parametrize("field", replies.CAPABILITIES.struct.__struct_fields__)
async def test_hostile_capabilities_stop_no_reconciliation(house: House, field: str, counted: Count) -> None:
    cases = [body for name, _, body in replies.CAPABILITIES.bodies() if name == field]
    for number, body in enumerate(cases):
        order = await house.place_in_doubt(instrument=f"CAPA{number:08}")
        house.exchange.answers["query"] = as_json(200, as_at_exchange(order))
        house.exchange.answers["capabilities"] = Answer(200, body)

        await house.due()

        assert ("COMPLETED", "verified") in await house.trail(order)
    counted({"hostile capabilities": len(cases)})


async def test_hostile_answers_about_orders_settle_no_other(house: House, counted: Count) -> None:
    wrong: dict[str, str] = {}
    orders, well = [], []
    for number, order in enumerate(map(an_order, range(len(hostile_cases(replies.ORDER))))):
        kind = replace(replies.ORDER, document=as_at_exchange(order))
        what, body = hostile_cases(kind)[number]
        house.exchange.answers_about["query", order.id] = Answer(200, body)
        if not reads_as(kind, body) or what.startswith("client_order_id: "):
            wrong[order.id] = what
        orders.append(order)
        for beside in range(WELL_PER_HOSTILE):
            good = an_order(1_000_000 + number * WELL_PER_HOSTILE + beside)
            house.exchange.answers_about["query", good.id] = as_json(200, as_at_exchange(good))
            well.append(good)
    everything = [order for pair in zip(orders, well[::2], well[1::2], strict=True) for order in pair]
    await house.service.rows.insert_initiated(everything)

    for _ in range(2):  # what a breaker that was open has put off
        await house.due()

    found = await trails(house.connection)
    assert all(found[order.id][-1] == ("COMPLETED", "verified") for order in well)
    assert {wrong[id_] for id_ in wrong if found[id_] != [("INITIATED", None)]} == set()
    assert all(len(found[order.id]) > 1 for order in orders if order.id not in wrong)
    counted({"hostile answers about orders": len(orders)})


def placing_cases() -> Iterator[tuple[ReplyKind, str]]:
    for kind in (replies.PLACED, replies.DUPLICATE, replies.DUPLICATE_ITSELF, replies.REJECTED):
        for what, _ in hostile_cases(kind):
            yield kind, what


async def test_hostile_answers_to_placing_are_recorded_as_what_they_prove(house: House, counted: Count) -> None:
    house.exchange.answers["place"] = as_json(201, {})
    cases = list(placing_cases())[::STRIDE]
    for number, (kind, what) in enumerate(cases):
        order = an_order(number)
        ours = {"client_order_id": order.id}
        inside = payload("duplicate")["order"] | as_at_exchange(order)
        document = kind.document | ({"order": inside} if "order" in kind.document else {})
        document |= ours if kind is replies.PLACED else {}
        changed = replace(kind, document=document)
        body = dict(hostile_cases(changed))[what]
        house.exchange.answers_about["place", order.id] = Answer(kind.status, body)

        await house.service.placing.place(order)
        for beside in range(WELL_PER_HOSTILE):
            good = an_order(1_000_000 + number * WELL_PER_HOSTILE + beside)
            accepted = as_json(201, payload("placed") | {"client_order_id": good.id})
            house.exchange.answers_about["place", good.id] = accepted
            await house.service.placing.place(good)
            assert (await house.trail(good))[-1][0] == "COMPLETED", what

        status, reason = (await house.trail(order))[-1]
        if not reads_as(changed, body):
            assert status == "EXCHANGE_OUTCOME_UNKNOWN" and str(reason).startswith("unknown:"), (kind.name, what)
    counted({"hostile answers to placing": len(cases)})
