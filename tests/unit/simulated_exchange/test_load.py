"""A flood of reports: which there are, how fast, in which frames, and that it ends."""

import asyncio
import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from simulated_exchange import load_pump, service
from simulated_exchange.exchange import Exchange
from simulated_exchange.execution_log import encode_view
from simulated_exchange.occurrences import Load
from simulated_exchange.results import CannotOccur, Occurred
from simulated_exchange.service import ExchangeService, open_exchange
from tests.support.clocks import ManualClock
from tests.unit.simulated_exchange.making import exchange, limit
from tests.unit.simulated_exchange.test_following import followed, frame


def load(**changes: Any) -> Load:
    return Load(**{"reports_per_second": 1_000_000.0, "seconds": 30.0, "orders": 3, "frame": 10, **changes})


def flooded(turns: int, **changes: Any) -> Exchange:
    subject = exchange()
    subject.place(limit("mine", quantity=5))
    assert isinstance(subject.begin_load(load(**changes)), Occurred)
    subject.load_turns(turns)
    return subject


def test_orders_take_turns_and_trade_one_at_a_time() -> None:
    subject = flooded(9, prefix="L")

    reports = subject.executions(1, 100).executions
    assert [(r.client_order_id, r.exec_type, r.cum_qty) for r in reports] == [
        ("L1", "new", 0),
        ("L2", "new", 0),
        ("L3", "new", 0),
        ("L1", "trade", 1),
        ("L2", "trade", 1),
        ("L3", "trade", 1),
        ("L1", "trade", 2),
        ("L2", "trade", 2),
        ("L3", "trade", 2),
    ]
    assert len({r.last_px for r in reports[3:]}) > 1


def test_filled_order_makes_room_for_the_next() -> None:
    subject = flooded(12, orders=2, quantity=2, prefix="L")

    reports = subject.executions(1, 100).executions
    assert Counter(r.client_order_id for r in reports) == {"L1": 3, "L2": 3, "L3": 3, "L4": 3}
    assert [r.client_order_id for r in reports if r.ord_status == "filled"] == ["L1", "L2", "L3", "L4"]
    assert subject.open_orders().orders[0].client_order_id == "mine"


def test_given_orders_trade_until_they_are_filled_and_that_is_all() -> None:
    subject = flooded(100, client_order_ids=("mine", "yours"), quantity=3)

    reports = subject.executions(1, 100).executions
    assert Counter((r.client_order_id, r.exec_type) for r in reports) == {
        ("mine", "trade"): 5,
        ("yours", "new"): 1,
        ("yours", "trade"): 3,
    }
    assert subject.open_orders().orders == ()
    assert subject.load_turns(1) == 0


def test_flood_over_orders_that_are_over_cannot_be() -> None:
    subject = exchange()
    subject.place(limit("mine"))
    subject.cancel("mine")

    assert isinstance(subject.begin_load(load(client_order_ids=("mine",))), CannotOccur)


def test_order_that_is_canceled_takes_no_more_turns() -> None:
    subject = flooded(6, prefix="L")
    subject.cancel("L2")
    head = subject.executions_log.head

    subject.load_turns(8)

    assert "L2" not in {r.client_order_id for r in subject.executions(head, 100).executions}


@pytest.mark.parametrize("name", ["plain", 'with"quote', "with\\backslash"])
def test_reports_of_a_flood_are_written_as_all_others(name: str) -> None:
    subject = flooded(40, client_order_ids=(name,))
    log = subject.executions_log

    assert list(map(encode_view, log.views(0, 100))) == log.encoded(0, 100)


def test_flood_of_an_exchange_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "KEPT_ORDERS", 5)
    subject = opened().exchange
    subject.begin_load(load(orders=20))

    assert subject.load_turns(200) == 200

    assert len(subject.open_orders().orders) == 5


def opened() -> ExchangeService:
    return open_exchange(None, now_us=ManualClock().now_us, random=Random(1))


async def test_flood_comes_in_frames_of_its_size_and_ends_by_itself() -> None:
    subject = opened()
    following = await followed(subject)
    await frame(following)

    await subject.occur(load(frame=7, reports=140))

    sizes = [len(got) for got in [await frame(following) for _ in range(20)] if isinstance(got, list)]
    assert sizes == [7] * 20
    assert subject._load is not None
    await asyncio.wait_for(subject._load, 10)
    assert subject.exchange.executions_log.head == 140
    await subject.close()


async def test_flood_keeps_its_rate() -> None:
    subject = opened()

    await subject.occur(load(reports_per_second=2000, seconds=0.2, frame=1))
    assert subject._load is not None
    await asyncio.wait_for(subject._load, 10)

    assert 0 < subject.exchange.executions_log.head <= 401
    await subject.close()


async def test_flood_waits_for_the_slowest_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_pump, "AHEAD_MAX", 50)
    monkeypatch.setattr(load_pump, "STEP_MAX", 10)
    subject = opened()
    following = await followed(subject)
    await subject.occur(load(reports=200))

    got: list[int] = []
    while len(got) < 200:
        text = json.loads(await asyncio.wait_for(anext(following), 10))
        if isinstance(text, list):
            got += [report["seq"] for report in text]
        assert subject.exchange.executions_log.head - following.position <= 60

    assert got == list(range(1, 201))
    await subject.close()


async def test_new_flood_takes_the_place_of_the_one_that_runs() -> None:
    subject = opened()
    await subject.occur(load(reports_per_second=1, frame=1, seconds=3600))
    first = subject._load
    assert first is not None

    await subject.occur(load(seconds=0))

    assert first.done()
    await subject.close()
