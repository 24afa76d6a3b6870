"""While placing is halted no byte leaves: neither from a process that starts, nor from one that has not heard."""

import asyncio
from pathlib import Path

from tests.support.service import Running, ScriptedVenue, running
from tests.support.switch import turn


async def test_process_that_starts_while_halted_takes_no_order(
    database_url: str, tmp_path: Path, venue: ScriptedVenue
) -> None:
    async with running(database_url, tmp_path, venue):
        pass
    await turn(database_url, halted=True)

    async with running(database_url, tmp_path, venue) as service:
        reply = await service.place()

        assert (reply.status, reply.body["type"]) == (503, "/problems/halted")
        assert await service.rows() == 0
    assert venue.sent == []


async def test_client_and_supervisor_hear_who_halted_when_and_why(service: Running) -> None:
    ready = await service.call("GET", "/readyz")
    halted = await turn(service.database_url, halted=True)
    await service.service.housekeeping.run_once()

    reply, still_ready = await service.place(), await service.call("GET", "/readyz")

    sentence = f"Placing was halted at {halted.turned_at:%Y-%m-%dT%H:%M:%SZ} by alice: the venue asked."
    assert reply.body["detail"].startswith(sentence)
    assert (ready.body["halted"], still_ready.body["halted"]) == (None, sentence)
    assert still_ready.status == 200
    await turn(service.database_url, halted=False)
    await service.service.housekeeping.run_once()
    assert (await service.call("GET", "/readyz")).body["halted"] is None


async def test_process_that_has_not_heard_of_the_halt_sends_nothing(service: Running, venue: ScriptedVenue) -> None:
    await turn(service.database_url, halted=True)

    reply = await service.place(key="k")

    assert venue.sent == []
    assert (reply.status, reply.body["type"]) == (500, "/problems/circuit-open")
    assert (reply.body["outcome"], reply.body["retryable"]) == ("pending", True)
    assert await service.trail(reply.body["order_id"]) == [
        ("INITIATED", None, None),
        ("EXCHANGE_CREATION_FAILED", "not_sent:halted", None),
    ]


async def test_order_that_shares_its_commit_with_one_that_is_placed_obeys_too(
    service: Running, venue: ScriptedVenue
) -> None:
    venue.may_answer.clear()
    before = asyncio.create_task(service.place())
    await venue.arrived.wait()
    await turn(service.database_url, halted=True)

    venue.may_answer.set()
    answers = await asyncio.gather(before, *(service.place() for _ in range(20)))

    assert [answer.status for answer in answers] == [201] + [500] * 20
    assert len(venue.sent) == 1


async def test_resumed_a_process_places_again_before_it_has_heard(service: Running, venue: ScriptedVenue) -> None:
    await turn(service.database_url, halted=True)
    await turn(service.database_url, halted=False)

    reply = await service.place()

    assert reply.status == 201
