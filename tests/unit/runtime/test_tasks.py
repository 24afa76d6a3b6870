"""What the owner of background tasks notices, and what it does not mind."""

import asyncio

import pytest

from ordertrail.runtime import tasks
from ordertrail.runtime.tasks import BackgroundTasks


class House:
    def __init__(self) -> None:
        self.background = BackgroundTasks()
        self.lost = asyncio.Event()
        self.background.when_lost = self.lost.set
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def work(self) -> None:
        await self.may_end.wait()
        if self.error is not None:
            raise self.error

    async def ended(self) -> str | None:
        async with asyncio.timeout(10):
            await self.lost.wait()
        return self.background.problem


async def test_task_that_raises_is_noticed() -> None:
    house = House()
    house.background.start("housekeeping", house.work())
    assert house.background.problem is None

    house.error = KeyError("bug")
    house.may_end.set()

    assert await house.ended() == (
        "The task of housekeeping has ended (KeyError); this process stops, to be started anew."
    )


async def test_task_that_returns_is_noticed() -> None:
    house = House()
    house.background.start("housekeeping", house.work())

    house.may_end.set()

    assert "it returned" in (await house.ended() or "")


async def test_task_that_others_cancel_is_noticed() -> None:
    house = House()
    house.background.start("housekeeping", house.work())
    await asyncio.sleep(0)

    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()

    assert "it was cancelled" in (await house.ended() or "")


async def test_first_that_ends_is_named() -> None:
    house = House()
    house.background.start("the first", house.work())
    house.background.start("the second", house.work())

    house.may_end.set()

    assert "the first" in (await house.ended() or "")


async def test_stop_is_no_loss_also_where_a_task_fails_as_it_is_cancelled() -> None:
    house = House()

    async def work() -> None:
        try:
            await house.work()
        finally:
            raise KeyError("bug")

    house.background.start("housekeeping", house.work())
    house.background.start("reconciliation", work())
    await asyncio.sleep(0)

    await house.background.stop()

    assert house.background.problem is None
    assert not house.lost.is_set()


async def test_process_ends_though_nothing_can_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    monkeypatch.setattr(tasks, "_log", None)
    house.background.start("housekeeping", house.work())

    house.may_end.set()

    assert await house.ended() is not None
