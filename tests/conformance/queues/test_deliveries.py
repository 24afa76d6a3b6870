"""The canary of a broker that gives frames up, against the real one: what the suite asks of it would be found out."""

from pathlib import Path

import pytest

from ordertrail.queues import nats
from ordertrail.queues.queue import Position
from tests.conformance.queues import subjects
from tests.support.queues import frame

DELIVERIES = 3


@pytest.mark.brokers
async def test_a_frame_delivered_for_the_last_time_is_never_offered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats, "DELIVERIES_MAX", DELIVERIES)
    async with subjects.nats(tmp_path) as subject:
        queue = subject.client()
        await queue.publish(frame(1, 2), after=Position("e1", 0))
        for _ in range(DELIVERIES):
            delivery = await queue.take(reports_max=10, wait_seconds=10)
            assert delivery is not None
            await delivery.give_back()

        given_up = await queue.take(reports_max=10, wait_seconds=1)
        await queue.close()

    assert given_up is None
