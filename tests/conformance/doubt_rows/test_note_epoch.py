"""The newest epoch of a venue counts from the moment at which it was first seen."""

from tests.conformance.databases import RACERS, DatabaseSubject, Doubts


async def test_first_epoch_has_forgotten_nothing(doubts: Doubts) -> None:
    assert await doubts.note_epoch("venue", "1") is None
    assert await doubts.note_epoch("venue", "1") is None


async def test_later_epoch_has_forgotten_what_was_before_it(database: DatabaseSubject, doubts: Doubts) -> None:
    await doubts.note_epoch("venue", "1")
    before = await database.now()

    begun = await doubts.note_epoch("venue", "2")

    assert begun is not None
    assert before < begun < await database.now()
    assert await doubts.note_epoch("venue", "2") == begun


async def test_newest_epoch_counts(doubts: Doubts) -> None:
    begun = [await doubts.note_epoch("venue", epoch) for epoch in "cab"]

    times = [moment for moment in begun if moment is not None]
    assert len(times) == 2
    assert times[0] < times[1]
    assert [await doubts.note_epoch("venue", epoch) for epoch in "abc"] == [times[1]] * 3


async def test_epochs_of_one_venue_are_nothing_to_another(doubts: Doubts) -> None:
    await doubts.note_epoch("one", "1")

    assert await doubts.note_epoch("other", "2") is None
    assert await doubts.note_epoch("one", "2") is not None
    assert await doubts.note_epoch("other", "2") is None


async def test_epoch_noted_many_times_at_once_is_the_first(database: DatabaseSubject, doubts: Doubts) -> None:
    await database.together(*(doubts.note_epoch("venue", "1") for _ in range(RACERS)))

    assert len((await database.contents())["venue_epochs"]) == 1
    assert await doubts.note_epoch("venue", "1") is None
