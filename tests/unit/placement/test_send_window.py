"""The window of queued orders on their way: it finds what an exchange takes, and gives way at once."""

import pytest

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import Accepted, NotSent, PlaceAnswer, Refused, Unknown
from ordertrail.placement.send_window import DOUBLED_SENDS_MAX, SENDS_AT_FIRST, SendWindow

THROTTLED = NotSent(Cause.THROTTLED, 1.0)


def round_trip(window: SendWindow, *, at: float) -> int:
    """As many sends as there is room for, all answered; how many that were."""
    count = window.room(in_flight=0)
    for _ in range(count):
        window.answered(Accepted("X-1"), began_at=at, now=at + 0.5)
    return count


def test_it_doubles_in_each_round_trip_up_to_a_size_and_then_grows_by_one() -> None:
    window = SendWindow(sends_max=10_000)

    sizes = [round_trip(window, at=number) for number in range(6)]

    assert sizes == [SENDS_AT_FIRST, 32, 64, DOUBLED_SENDS_MAX, DOUBLED_SENDS_MAX, DOUBLED_SENDS_MAX + 1]


def test_it_never_grows_beyond_its_limit_and_begins_within_it() -> None:
    window = SendWindow(sends_max=3)

    assert [round_trip(window, at=number) for number in range(4)] == [3, 3, 3, 3]


@pytest.mark.parametrize("answer", [THROTTLED, Unknown(Cause.TIMEOUT), NotSent(Cause.CONNECT_TIMEOUT)])
def test_a_round_in_which_the_exchange_wants_fewer_halves_it_once(answer: PlaceAnswer) -> None:
    window = SendWindow(sends_max=10_000)
    for number in range(3):
        round_trip(window, at=number)
    before = window.room(in_flight=0)

    for _ in range(before):
        window.answered(answer, began_at=10.0, now=11.0)

    assert window.room(in_flight=0) == before // 2


def test_it_does_not_double_again_after_it_was_halved() -> None:
    window = SendWindow(sends_max=10_000)
    round_trip(window, at=0)
    window.answered(THROTTLED, began_at=1.0, now=2.0)
    before = window.room(in_flight=0)

    round_trip(window, at=3.0)

    assert window.room(in_flight=0) in {before, before + 1}


def test_it_never_closes_for_good() -> None:
    window = SendWindow(sends_max=100)
    for number in range(20):
        window.answered(THROTTLED, began_at=2.0 * number + 1, now=2.0 * number + 2)

    assert window.room(in_flight=0) == 1


@pytest.mark.parametrize("answer", [Refused("no_funds"), Unknown(Cause.UNREADABLE), NotSent(Cause.CIRCUIT_OPEN)])
def test_what_says_nothing_of_how_many_there_are_does_not_reduce_it(answer: PlaceAnswer) -> None:
    window = SendWindow(sends_max=100)
    before = window.room(in_flight=0)

    window.answered(answer, began_at=1.0, now=2.0)

    assert window.room(in_flight=0) >= before


def test_what_is_in_flight_takes_room() -> None:
    window = SendWindow(sends_max=100)

    assert window.room(in_flight=SENDS_AT_FIRST - 1) == 1
    assert window.room(in_flight=SENDS_AT_FIRST + 5) == 0
