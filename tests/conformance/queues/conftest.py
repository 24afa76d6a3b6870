"""What the queues' suite is run against."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ordertrail.queues.queue import Queue
from ordertrail.up.embedded_postgres import EmbeddedPostgres
from tests.conformance.queues.subjects import (
    Open,
    QueueSubject,
    inbox,
    memory,
    moto,
    nats,
    simulated_broker,
    simulated_broker_without_chain,
    simulated_inbox,
    strict_sqs,
)
from tests.support.postgres import temporary_database

QUEUES: dict[str, Open] = {
    "memory": memory,
    "simulated": simulated_inbox,
    "simulated-broker": simulated_broker,
    "simulated-broker-without-chain": simulated_broker_without_chain,
    "nats": nats,
    "sqs": strict_sqs("reports"),
    "sqs-fifo": strict_sqs("reports.fifo"),
    "moto": moto("reports"),
    "moto-fifo": moto("reports.fifo"),
}
BROKERS = {"nats", "sqs", "sqs-fifo", "moto", "moto-fifo"}


NAMES = ["postgres", *QUEUES]


@pytest.fixture(scope="session")
def shared_database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """One for all of these tests: they use two tables, and empty them."""
    with temporary_database(postgres_server, migrated_template) as url:
        yield url


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.brokers] * (name in BROKERS)) for name in NAMES])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QueueSubject]:
    # Asked for by name, so that the others do not wait for a server.
    is_inbox = request.param == "postgres"
    opening = inbox(request.getfixturevalue("shared_database_url")) if is_inbox else QUEUES[request.param](tmp_path)
    async with opening as opened:
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
