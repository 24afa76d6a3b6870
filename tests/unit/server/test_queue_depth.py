"""What waits in a broker is read in a bounded time, and what cannot be read is said."""

import asyncio
import math
from typing import Any

import pytest
from prometheus_client import REGISTRY

from ordertrail.executions.upkeep import Upkeep
from ordertrail.queues.queue import QueueUnavailable
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings
from ordertrail.server import queue_depth
from ordertrail.server.queue_depth import BrokerDepth, QueueDepth, broker_depth
from ordertrail.server.status import FRESH_SECONDS
from tests.unit.server.test_status import House


class Broker:
    """Has `frames`, or fails, or hangs."""

    is_depth_exact = False

    def __init__(self, frames: int | None = 4) -> None:
        self.frames = frames
        self.error: Exception | None = None
        self.hangs = False
        self.is_closed = False

    async def frames_waiting(self) -> int | None:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error
        return self.frames

    async def depth(self) -> int | None:
        return await self.frames_waiting()

    async def close(self) -> None:
        self.is_closed = True


def depth_of(broker: Any) -> BrokerDepth:
    return BrokerDepth("queue", lambda: broker)


def gauge() -> float | None:
    return REGISTRY.get_sample_value("ordertrail_execution_queue_frames")


@pytest.mark.parametrize(("frames", "waiting"), [(4, 4), (None, 0)])
async def test_what_waits_is_as_the_broker_counts(frames: int | None, waiting: int) -> None:
    broker = Broker(frames)
    depth = depth_of(broker)

    assert await depth.read() == QueueDepth("queue", waiting, is_exact=False)
    await depth.close()
    assert broker.is_closed


async def test_a_broker_that_is_away_or_hangs_is_said_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_depth, "READ_SECONDS_MAX", 0.01)
    broker = Broker()
    depth = depth_of(broker)

    broker.error = QueueUnavailable("away")
    assert await depth.read() == QueueDepth("queue", None, problem="away")
    broker.hangs = True
    assert await depth.read() == QueueDepth("queue", None, problem="The queue does not answer.")


async def test_a_queue_that_cannot_be_made_is_said() -> None:
    def refuse() -> Any:
        raise CannotStart("no such queue")

    depth = BrokerDepth("queue", refuse)

    assert (await depth.read()).problem == "no such queue"
    await depth.close()


def test_the_queue_in_the_database_has_no_broker() -> None:
    assert broker_depth(Settings(), venue="v") is None


async def test_status_shows_a_broker_also_without_the_database_and_marks_what_is_stale() -> None:
    house, broker = House(), Broker()
    house.status._broker = depth_of(broker)
    house.watch.problem = "away"

    found = (await house.status.document())["executions"]
    assert (found["queue_frames"], gauge(), house.reads) == (4, 4, 0)

    broker.error = QueueUnavailable("away")
    house.time += FRESH_SECONDS
    found = (await house.status.document())["executions"]
    assert (found["queue_frames"], found["queue_problem"]) == (None, "away")
    assert math.isnan(gauge() or 0)


async def test_upkeep_marks_the_depth_as_unread_where_the_queue_is_away() -> None:
    broker: Any = Broker()
    anything: Any = None
    upkeep = Upkeep(anything, broker, anything, anything, venue="v")
    await upkeep._read_depth()
    assert gauge() == 4

    broker.error = QueueUnavailable("away")
    with pytest.raises(QueueUnavailable):
        await upkeep._read_depth()
    assert math.isnan(gauge() or 0)
