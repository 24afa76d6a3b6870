import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from simulated_exchange import following as module
from simulated_exchange.execution_log import ExecutionLog
from simulated_exchange.following import Following
from simulated_exchange.log import LogError
from simulated_exchange.occurrences import EpochChange
from simulated_exchange.results import Compacted, ExecutionsRaw, OtherEpoch
from simulated_exchange.service import ExchangeService, open_exchange
from tests.support.clocks import ManualClock
from tests.unit.simulated_exchange.making import limit


def opened(folder: Path | None = None, **arguments: Any) -> ExchangeService:
    return open_exchange(folder, now_us=ManualClock().now_us, **arguments)


async def followed(service: ExchangeService, after: int = 0) -> Following:
    following = await service.follow(after, service.exchange.epoch)
    assert isinstance(following, Following)
    return following


async def frame(following: Following) -> Any:
    return json.loads(await asyncio.wait_for(anext(following), 10))


async def pages(service: ExchangeService, after: int = 0) -> Any:
    page = await service.executions_raw(after, 1000)
    assert isinstance(page, ExecutionsRaw)
    return json.loads(page.document())["executions"]


async def test_first_frame_is_the_head_and_then_come_all_reports_after_the_position() -> None:
    service = opened()
    for name in "abc":
        await service.place(limit(name))
    following = await followed(service, after=1)

    frames = [await frame(following), await frame(following)]

    assert frames == [{"epoch": service.exchange.epoch, "head": 3}, await pages(service, after=1)]


async def test_new_report_comes_by_itself() -> None:
    service = opened()
    following = await followed(service)
    await frame(following)
    waiting = asyncio.create_task(frame(following))
    await asyncio.sleep(0)

    await service.place(limit("a"))

    assert [report["client_order_id"] for report in await waiting] == ["a"]


async def test_reports_of_one_moment_come_in_one_frame() -> None:
    service = opened()
    following = await followed(service)
    await frame(following)

    await asyncio.gather(*(service.place(limit(str(number))) for number in range(20)))

    assert len(await frame(following)) == 20


async def test_frame_has_so_many_reports_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_REPORTS_MAX", 2)
    service = opened()
    for name in "abcde":
        await service.place(limit(name))
    following = await followed(service)
    await frame(following)

    assert [len(await frame(following)) for _ in range(3)] == [2, 2, 1]


async def test_heartbeat_carries_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)
    service = opened()
    await service.place(limit("a"))
    following = await followed(service, after=1)

    beats = [await frame(following) for _ in range(3)]

    assert beats == [{"epoch": service.exchange.epoch, "head": 1}] * 3


async def test_cancelled_wait_loses_nothing() -> None:
    service = opened()
    following = await followed(service)
    await frame(following)
    for _ in range(3):
        waiting = asyncio.create_task(anext(following))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    await service.place(limit("a"))

    assert [report["seq"] for report in await frame(following)] == [1]


async def test_report_is_shown_once_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = opened(tmp_path)
    following = await followed(service)
    await frame(following)
    may_be_durable = asyncio.Event()
    durable = service._log.durable

    async def held() -> None:
        await may_be_durable.wait()
        await durable()

    monkeypatch.setattr(service._log, "durable", held)
    waiting = asyncio.create_task(frame(following))
    await asyncio.sleep(0)

    service.exchange.place(limit("a"))
    done, _ = await asyncio.wait((waiting,), timeout=0.02)

    assert done == set()
    may_be_durable.set()
    assert [report["seq"] for report in await waiting] == [1]
    following.close()
    await service.close()


async def test_broken_log_ends_every_reader_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = opened(tmp_path)
    following = await followed(service)
    await frame(following)
    waiting = asyncio.create_task(anext(following))
    await asyncio.sleep(0)

    async def broken() -> None:
        raise LogError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(service._log, "durable", broken)
        service.exchange.place(limit("a"))

        with pytest.raises(LogError, match="disk is full"):
            await asyncio.wait_for(waiting, 10)
    following.close()
    await service.close()


async def test_other_epoch_is_answered_with_which_one_it_is() -> None:
    service = opened()
    await service.place(limit("a"))

    assert await service.follow(0, "another") == OtherEpoch(service.exchange.epoch, 1)
    assert await service.executions_raw(0, 10, "another") == OtherEpoch(service.exchange.epoch, 1)


async def test_reader_of_a_new_epoch_begins_with_its_head() -> None:
    service = opened()
    for name in "abc":
        await service.place(limit(name))
    old = await followed(service)
    await frame(old)
    await service.occur(EpochChange())
    old.close()

    following = await followed(service)
    first = await frame(following)
    await service.place(limit("d"))

    assert first == {"epoch": service.exchange.epoch, "head": 0}
    assert [report["seq"] for report in await frame(following)] == [1]


async def test_what_is_not_kept_is_not_passed_over() -> None:
    service = opened(reports_kept=4)
    for number in range(10):
        await service.place(limit(str(number)))
    oldest = service.exchange.executions_log.dropped + 1

    assert 6 < oldest <= 8
    assert await service.follow(oldest - 2) == Compacted(oldest)
    assert await service.executions_raw(oldest - 2, 10) == Compacted(oldest)
    assert [report["seq"] for report in await pages(service, after=oldest - 1)] == list(range(oldest, 11))


async def test_reader_that_is_too_slow_for_what_is_kept_hears_so_when_it_comes_again() -> None:
    service = opened(reports_kept=4)
    following = await followed(service)
    await frame(following)

    for number in range(10):
        await service.place(limit(str(number)))

    with pytest.raises(StopAsyncIteration):
        await anext(following)
    assert isinstance(await service.follow(0), Compacted)


async def test_stopping_is_the_end_of_every_reader() -> None:
    service = opened()
    following = await followed(service)
    await frame(following)
    waiting = asyncio.create_task(anext(following))
    await asyncio.sleep(0)

    service.stop()

    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_nothing_is_encoded_and_nobody_woken_where_nobody_reads() -> None:
    service = opened()
    following = await followed(service)
    following.close()

    await service.place(limit("a"))

    assert service.exchange.on_report is None
    assert not isinstance(service.exchange.executions_log._kept[0], bytes)


def test_readers_that_are_equally_far_share_their_frames() -> None:
    log = ExecutionLog("e")

    assert log.frame(0, 0) is log.frame(0, 0)
