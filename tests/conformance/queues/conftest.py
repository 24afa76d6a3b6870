"""What the queues' suite is run against."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ordertrail.queues.queue import Queue
from tests.conformance.queues.subjects import Open, QueueSubject, memory, moto, nats, strict_sqs

QUEUES: dict[str, Open] = {
    "memory": memory,
    "nats": nats,
    "sqs": strict_sqs("reports"),
    "sqs-fifo": strict_sqs("reports.fifo"),
    "moto": moto("reports"),
    "moto-fifo": moto("reports.fifo"),
}
BROKERS = {"nats", "moto", "moto-fifo"}


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.brokers] * (name in BROKERS)) for name in QUEUES])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QueueSubject]:
    async with QUEUES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
async def client(subject: QueueSubject) -> AsyncIterator[Callable[..., Queue]]:
    """Makes clients of the queue, each as another process has one, and closes them."""
    made: list[Queue] = []

    def make(*, is_small: bool = False) -> Queue:
        made.append(subject.client(is_small=is_small))
        return made[-1]

    yield make
    for queue in made:
        await queue.close()


@pytest.fixture
def queue(client: Callable[..., Queue]) -> Queue:
    return client()
