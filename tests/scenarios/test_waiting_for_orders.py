"""`GET /orders/{id}` with `Prefer: wait`: answered once it is known what became of the order, or in time."""

import asyncio
from pathlib import Path

from tests.support.orders import new_id
from tests.support.service import ScriptedVenue, running


async def test_an_order_on_its_way_is_answered_as_soon_as_it_is_placed(database_url: str, tmp_path: Path) -> None:
    venue = ScriptedVenue()
    venue.may_answer.clear()
    async with running(database_url, tmp_path, venue) as api:
        placing = asyncio.create_task(api.place())
        await venue.arrived.wait()
        path = f"/orders/{venue.sent[0].id}"
        as_it_is = await api.call("GET", path)
        waiting = asyncio.create_task(api.call("GET", path, headers={"Prefer": "wait=30"}))

        async def has_come_in() -> bool:
            return api.service.watching.tail.head is not None

        await api.until(has_come_in)
        venue.may_answer.set()
        await placing

        async def is_answered() -> bool:
            await api.service.watching.tail.run_once()
            return waiting.done()

        begun = asyncio.get_running_loop().time()
        await api.until(is_answered)
        # By what was written, and not because the time was over.
        assert asyncio.get_running_loop().time() - begun < 25

    assert as_it_is.body["outcome"] != "placed"
    assert "preference-applied" not in as_it_is.headers
    answer = waiting.result()
    assert (answer.status, answer.body["outcome"]) == (200, "placed")
    assert answer.headers["preference-applied"] == "wait=30"


async def test_an_order_of_which_nothing_is_known_in_time_is_answered_as_it_is(
    database_url: str, tmp_path: Path
) -> None:
    venue = ScriptedVenue()
    venue.may_answer.clear()
    async with running(database_url, tmp_path, venue) as api:
        placing = asyncio.create_task(api.place())
        await venue.arrived.wait()

        answer = await api.call("GET", f"/orders/{venue.sent[0].id}", headers={"Prefer": "wait=1"})

        venue.may_answer.set()
        await placing
    assert (answer.status, answer.body["status"]) == (200, "INITIATED")
    assert answer.headers["preference-applied"] == "wait=1"


async def test_an_order_that_is_not_there_is_not_waited_for(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, ScriptedVenue()) as api:
        answer = await api.call("GET", f"/orders/{new_id()}", headers={"Prefer": "wait=30"})

    assert answer.status == 404
