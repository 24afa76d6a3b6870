"""Faults of the socket: what a reader is sent goes wrong, and what the exchange has reported does not."""

import asyncio
import json
from random import Random
from typing import Any

import msgspec
import pytest

from simulated_exchange import following as module
from simulated_exchange.faults import Faults, FrameFault, SocketFaults
from simulated_exchange.following import ConnectionCut, Following
from simulated_exchange.service import ExchangeService, open_exchange
from tests.support.clocks import ManualClock
from tests.unit.simulated_exchange.making import limit
from tests.unit.simulated_exchange.test_following import followed, frame, pages


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_REPORTS_MAX", 2)


def faulty(**socket: float) -> ExchangeService:
    return open_exchange(
        None, faults=Faults(socket=SocketFaults(**socket)), now_us=ManualClock().now_us, random=Random(1)
    )


async def with_reports(count: int, **socket: float) -> tuple[ExchangeService, Following]:
    service = faulty(**socket)
    for number in range(count):
        await service.place(limit(str(number)))
    following = await followed(service)
    await frame(following)
    return service, following


def end_faults(service: ExchangeService) -> None:
    service.exchange.set_faults(Faults())


def seqs(frame: Any) -> list[int]:
    return [report["seq"] for report in frame]


async def test_gap_is_a_frame_that_never_comes() -> None:
    service, following = await with_reports(2, gap=1)
    waiting = asyncio.create_task(frame(following))
    while following.position < 2:  # noqa: ASYNC110 - what it waits for has no signal
        await asyncio.sleep(0)
    end_faults(service)

    await service.place(limit("next"))

    assert seqs(await waiting) == [3]
    assert seqs(await pages(service)) == [1, 2, 3]


async def test_duplicate_is_the_same_frame_again() -> None:
    _, following = await with_reports(2, duplicate=1)

    assert await frame(following) == await frame(following)


async def test_shuffle_loses_nothing_and_keeps_no_order() -> None:
    _, following = await with_reports(40, shuffle=1)
    got: list[int] = []
    while len(got) < 40:
        frame_ = await frame(following)
        got += seqs(frame_) if isinstance(frame_, list) else []

    assert sorted(got) == list(range(1, 41))
    assert got != sorted(got)
    assert any(abs(place - seq) > 2 for place, seq in enumerate(got, start=1)), "whole frames never changed places"
    assert any(got[n : n + 2] == [s + 1, s] for n, s in enumerate(got[1:])), "no frame was shuffled in itself"


async def test_frame_that_waits_for_its_successor_waits_no_longer_than_a_heartbeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)
    _, following = await with_reports(1, shuffle=1)

    frames = [await frame(following)]
    while not isinstance(frames[-1], list):
        frames.append(await frame(following))

    assert seqs(frames[-1]) == [1]


async def test_stall_keeps_the_heartbeats_going_with_a_head_that_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)
    service, following = await with_reports(1, stall=1, stall_seconds=3600)

    beats = [await frame(following)]
    await service.place(limit("next"))
    while beats[-1]["head"] < 2:
        beats.append(await frame(following))
    end_faults(service)
    following._stalled_until = 0

    frames = [await frame(following)]
    while not isinstance(frames[-1], list):
        frames.append(await frame(following))
    assert seqs(frames[-1]) == [1, 2]


async def test_cut_is_the_end_of_the_connection() -> None:
    _, following = await with_reports(1, cut=1)

    with pytest.raises(ConnectionCut):
        await anext(following)


async def test_garbage_is_no_json_and_the_true_frame_does_not_follow() -> None:
    service, following = await with_reports(2, garbage=1)
    raw = await anext(following)
    end_faults(service)

    await service.place(limit("next"))

    with pytest.raises(ValueError, match="line 1 column"):
        json.loads(raw)
    raw.decode()
    assert seqs(await frame(following)) == [3]


@pytest.mark.parametrize(("fault", "field", "value"), [("unknown_type", "exec_type", "restated")])
async def test_unknown_type_is_a_report_like_others(fault: str, field: str, value: str) -> None:
    service, following = await with_reports(2, **{fault: 1})

    frames = [await frame(following), await frame(following)]

    assert seqs(frames[0]) == [1, 2]
    assert [report[field] for report in frames[1]] == [value]
    assert frames[0] + frames[1] == await pages(service)


async def test_stranger_is_nobody_s_order() -> None:
    service, following = await with_reports(2, stranger=1)

    frames = [await frame(following), await frame(following)]

    assert frames[0] + frames[1] == await pages(service)
    [stranger] = frames[1]
    assert service.exchange.query(stranger["client_order_id"]) is None


async def test_noise_makes_no_noise() -> None:
    service, following = await with_reports(2, unknown_type=1)
    for _ in range(2):
        await frame(following)
    other = await followed(service)
    for _ in range(3):
        await frame(other)

    assert service.exchange.executions_log.head == 3


async def test_truth_is_what_the_pages_say_whatever_the_socket_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes every report that it can read, and fetches what it misses, has them all, each as it is."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)
    every = dict.fromkeys(("gap", "duplicate", "shuffle", "stall", "cut", "garbage", "unknown_type", "stranger"), 0.1)
    service = faulty(**every, stall_seconds=0)
    mended: dict[int, Any] = {}
    following = await followed(service)
    for number in range(200):
        await service.place(limit(str(number), "sell" if number % 3 else "buy"))
        try:
            text = await asyncio.wait_for(anext(following), 10)
            frame_ = json.loads(text)
        except ConnectionCut:
            following.close()
            following = await followed(service, max(mended, default=0))
            continue
        except ValueError:
            continue
        if isinstance(frame_, list):
            for report in frame_:
                assert mended.setdefault(report["seq"], report) == report
    truth = await pages(service)
    missing = [report for report in truth if report["seq"] not in mended]

    mended |= {report["seq"]: report for report in missing}
    assert [mended[seq] for seq in sorted(mended)] == truth
    assert missing
    assert {report["exec_type"] for report in truth} == {"new", "trade", "restated"}
    assert any(report["client_order_id"].startswith("stranger") for report in truth)


async def test_same_seed_same_socket() -> None:
    async def frames() -> list[bytes]:
        _, following = await with_reports(60, gap=0.2, duplicate=0.2, shuffle=0.2, garbage=0.1)
        return [await anext(following) for _ in range(15)]

    assert await frames() == await frames()


def test_every_word_has_a_probability() -> None:
    names = {field.name for field in msgspec.structs.fields(SocketFaults)} - {"stall_seconds"}

    assert names == {fault.value for fault in FrameFault}
