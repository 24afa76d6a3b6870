"""What `ParkedRows` promises: each thing once for ever, few of them, and closed once."""

from dataclasses import replace

import pytest

from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.storage.parked_rows import ParkedRows, ParkedThing
from tests.conformance.databases import RACERS, DatabaseSubject

VENUE = "venue"
THING = ParkedThing("open_order", "leaves_qty", "Expected `int`", b'{"a": "\x00\xff"}', b"1", "order-1", "e", 7)
WHOLE = ParkedThing("execution_report", None, "is nested too deeply", b"[[[[", b"2")
NIGHT = Operator("ana", Origin.CLI)


def things(count: int) -> list[ParkedThing]:
    return [replace(THING, fingerprint=b"%06d" % number) for number in range(count)]


@pytest.fixture
def parked(database: DatabaseSubject) -> ParkedRows:
    return database.parked


async def test_thing_is_kept_as_it_came(parked: ParkedRows) -> None:
    assert await parked.park(VENUE, [THING, WHOLE], new_max=10) == {b"1": True, b"2": True}

    kept = await parked.parked(limit=10)
    assert {(each.venue, each.kind, each.field, each.reason, each.raw) for each in kept} == {
        (VENUE, each.kind, each.field, each.reason, each.raw) for each in (THING, WHOLE)
    }
    [thing] = [each for each in kept if each.kind == "open_order"]
    assert (thing.order_id, thing.epoch, thing.seq) == ("order-1", "e", 7)
    assert (thing.closed_at, thing.closed_by, thing.evidence) == (None, None, None)
    assert await parked.parked_thing(thing.id) == thing
    assert await parked.parked_thing(2**40) is None


async def test_same_thing_is_kept_once(parked: ParkedRows) -> None:
    assert await parked.park(VENUE, [THING, THING], new_max=10) == {b"1": True}

    assert await parked.park(VENUE, [replace(THING, reason="another"), WHOLE], new_max=10) == {b"1": False, b"2": True}
    assert await parked.park(VENUE, [], new_max=10) == {}
    assert await parked.count_parked() == 2


async def test_few_are_kept_at_a_time_and_what_is_kept_takes_no_room(parked: ParkedRows) -> None:
    some = things(5)

    assert await parked.park(VENUE, some, new_max=2) == dict.fromkeys([b"000000", b"000001"], True)
    assert await parked.park(VENUE, some, new_max=2) == {
        b"000000": False,
        b"000001": False,
        b"000002": True,
        b"000003": True,
    }
    assert await parked.park(VENUE, some, new_max=0) == {each.fingerprint: False for each in some[:4]}


async def test_no_more_are_kept_than_a_person_can_close(parked: ParkedRows) -> None:
    some = things(5)

    assert len(await parked.park(VENUE, some, new_max=10, open_max=3)) == 3
    assert await parked.park(VENUE, some[3:], new_max=10, open_max=3) == {}
    [first, *_] = await parked.parked(limit=1)
    await parked.close_parked(first.id, operator=NIGHT, evidence="known")
    assert await parked.park(VENUE, some[3:], new_max=10, open_max=3) == {b"000003": True}


async def test_thing_is_closed_once_and_stays_closed(parked: ParkedRows) -> None:
    await parked.park(VENUE, [THING], new_max=10)
    [thing] = await parked.parked(limit=10)

    assert await parked.close_parked(thing.id, operator=NIGHT, evidence="the exchange's bug 7")
    assert not await parked.close_parked(thing.id, operator=Operator("bo", Origin.CONSOLE), evidence="again")
    assert not await parked.close_parked(thing.id + 1, operator=NIGHT, evidence="none such")

    assert await parked.park(VENUE, [THING], new_max=10) == {b"1": False}
    assert await parked.parked(limit=10) == []
    [closed] = await parked.parked(limit=10, is_open=False)
    assert (closed.closed_by, closed.evidence) == ("ana", "the exchange's bug 7")
    assert closed.closed_at is not None
    assert await parked.count_parked() == 0


async def test_many_park_the_same_at_once(database: DatabaseSubject, parked: ParkedRows) -> None:
    some = things(10)

    kept = await database.together(
        *(parked.park(VENUE, some[:: 1 if number % 2 else -1], new_max=100) for number in range(RACERS))
    )

    assert await parked.count_parked() == 10
    assert sum(is_new for each in kept for is_new in each.values()) == 10
