"""Following `GET /events` without a wire: what is resumed from, what is waited for, what is said, where it ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown
from ordertrail.cli.api_stream import StreamCut
from ordertrail.cli.event_follower import (
    PAUSE_SECONDS_MAX,
    PAUSE_SECONDS_MIN,
    POSITION_GONE,
    RETRY_AFTER_SECONDS_MAX,
    SILENCE_SECONDS_MAX,
    EventFollower,
    FollowerClock,
    FollowingEnded,
)
from ordertrail.cli.event_stream import LINE_BYTES_MAX

GONE = ApiReply(410, {"type": "/problems/events-gone", "title": "Gone", "detail": "It is older than what is kept."})
CURSOR_UNREADABLE = ApiReply(422, {"type": "/problems/invalid-request", "detail": "No cursor."})
NOT_OURS = ApiReply(200, {"hello": "world"})


def sse(event_id: str, event_type: str = "order", data: str = "{}") -> bytes:
    return f"id: {event_id}\nevent: {event_type}\ndata: {data}\n\n".encode()


Step = bytes | float | Exception
Connection = Sequence[Step] | ApiReply | Exception


@dataclass
class Api:
    """Each connection is one of these: bytes, seconds that pass, how it ends; and the ids that each resumed after."""

    connections: list[Connection]
    resumed_after: list[str | None] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    jitter: float = 0.0
    time: float = 1000.0
    script: Callable[[str | None], Connection | None] | None = None

    @contextmanager
    def connect(self, after: str | None) -> Iterator[Iterator[bytes] | ApiReply]:
        if self.script is not None:
            connection = self.script(after)
        else:
            connection = self.connections.pop(0) if self.connections else None
        if connection is None:
            raise EndOfScript
        self.resumed_after.append(after)
        if isinstance(connection, Exception):
            raise connection
        yield connection if isinstance(connection, ApiReply) else self._chunks(connection)

    def _chunks(self, steps: Sequence[Step]) -> Iterator[bytes]:
        for step in steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                self.time += step
            else:
                yield step
        raise StreamCut("It was ended.")

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def ids(self, after: str | None = None, *, goes_on_from_now: bool = False) -> list[str]:
        """The ids of all events until the script is at its end."""
        clock = FollowerClock(lambda: self.time, self.pause, lambda: self.jitter)
        follower = EventFollower(self.connect, clock, starts_after=after, goes_on_from_now=goes_on_from_now)
        ids: list[str] = []
        with suppress(EndOfScript):
            ids.extend(event.id for event in follower.events())
        return ids


class EndOfScript(Exception):
    """The script has no further connection."""


def test_it_resumes_after_the_last_event_that_was_handed_out() -> None:
    api = Api([[sse("1") + sse("2"), sse("3")[:-1]], [sse("3"), sse("4")], []])

    assert api.ids() == ["1", "2", "3", "4"]
    assert api.resumed_after == [None, "2", "4"]


def test_it_resumes_after_a_heartbeat() -> None:
    api = Api([[sse("1"), sse("9", "heartbeat")], []])

    api.ids()

    assert api.resumed_after == [None, "9"]


def test_it_begins_after_the_position_of_the_command_until_there_is_another() -> None:
    api = Api([[], RequestOutcomeUnknown("Lost."), [sse("6")], []])

    api.ids("5")

    assert api.resumed_after == ["5", "5", "5", "6"]


def test_an_event_whose_reader_did_not_come_back_is_not_left_behind() -> None:
    api = Api([[sse("1") + sse("2")]])
    clock = FollowerClock(lambda: 0.0, api.pause, lambda: 0.0)
    follower = EventFollower(api.connect, clock, starts_after=None, goes_on_from_now=False)

    received = follower.events()
    next(received)
    next(received)

    assert follower.resume_after == "1"


LOST: dict[str, Connection] = {
    "ended": [],
    "cut": [StreamCut("Cut.")],
    "no connection": RequestNotSent("Away."),
    "no answer": RequestOutcomeUnknown("Lost."),
    "503": ApiReply(503, {}),
    "502 of a proxy": ApiReply(502, {}),
    "504 of a proxy": ApiReply(504, {}),
    "429": ApiReply(429, {}),
    "a proxy's page": NOT_OURS,
    "a proxy's 404": ApiReply(404, {}),
    "a line too long": [b"x" * (LINE_BYTES_MAX + 1)],
    "data that is no JSON": [sse("3", data="{")],
    "data that is no object": [sse("3", data="[]")],
    "deep data": [sse("3", data="[" * 100_000)],
    "half a character": [sse("3", data='{"a": "\\ud800"}')],
    "no id": [b"event: order\ndata: {}\n\n"],
    "an id that no header can have": [sse("a b")],
    "a long id": [sse("1" * 513)],
    "an id that is broken": [b"id: \xff\ndata: {}\n\n"],
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_away_and_back_are_said_once_each(lost: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    api = Api([[sse("1"), sse("2")], lost, lost, lost, [sse("3")]])

    assert api.ids() == ["1", "2", "3"]

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # the last: the script is at its end
    assert lines[0].startswith("ordertrail: ")
    assert lines[0].endswith(" Trying again.")
    assert lines[1] == "ordertrail: The API answers again."


def test_what_precedes_an_event_that_cannot_be_read_is_handed_out() -> None:
    api = Api([[sse("1") + sse("2", data="{") + sse("3")], [sse("2") + sse("3")]])

    assert api.ids() == ["1", "2", "3"]
    assert api.resumed_after == [None, "1"]


def test_a_connection_on_which_nothing_comes_whole_is_given_up() -> None:
    drip: list[Step] = [b":", SILENCE_SECONDS_MAX / 2, b":", SILENCE_SECONDS_MAX / 2 + 1, b":", sse("never")]
    api = Api([[sse("1"), *drip], [sse("2")]])

    assert api.ids() == ["1", "2"]


def test_a_connection_with_heartbeats_is_not_given_up() -> None:
    beats: list[Step] = []
    for number in range(20):
        beats += [10.0, sse(str(number), "heartbeat")]

    assert len(Api([beats]).ids()) == 20


def test_a_reader_that_takes_its_time_does_not_make_the_connection_silent() -> None:
    api = Api([[sse("1"), b":\n", sse("2")]])
    clock = FollowerClock(lambda: api.time, api.pause, lambda: 0.0)
    received = EventFollower(api.connect, clock, starts_after=None, goes_on_from_now=False).events()

    next(received)
    api.time += SILENCE_SECONDS_MAX * 2

    assert next(received).id == "2"
    assert len(api.resumed_after) == 1


def test_pauses_grow_between_their_bounds() -> None:
    api = Api([[sse("1")], *[ApiReply(503, {})] * 8])

    api.ids()

    assert api.pauses[0] == PAUSE_SECONDS_MIN
    assert api.pauses == sorted(api.pauses)
    assert api.pauses[-1] == PAUSE_SECONDS_MAX


def test_jitter_shortens_a_pause_by_half_at_the_most() -> None:
    api = Api([[sse("1")]], jitter=1.0)

    api.ids()

    assert api.pauses == [PAUSE_SECONDS_MIN / 2]


def test_an_event_makes_pauses_short_again_and_a_heartbeat_does_not() -> None:
    away: list[Connection] = [ApiReply(503, {})] * 6
    api = Api([*away, [sse("1", "heartbeat")], [sse("2")], []])

    api.ids()

    assert api.pauses[6] == PAUSE_SECONDS_MAX
    assert api.pauses[7] == PAUSE_SECONDS_MIN


def test_a_connection_that_lasted_makes_pauses_short_again() -> None:
    away: list[Connection] = [ApiReply(503, {})] * 6
    api = Api([*away, [sse("1", "heartbeat"), 10.0, sse("2", "heartbeat")], []])

    api.ids()

    assert api.pauses[6] == PAUSE_SECONDS_MIN


@pytest.mark.parametrize(
    ("said", "waited"), [(None, 0), (7, 7), (10 * RETRY_AFTER_SECONDS_MAX, RETRY_AFTER_SECONDS_MAX)]
)
def test_the_api_is_left_alone_for_as_long_as_it_says(said: int | None, waited: int) -> None:
    api = Api([[sse("1")], ApiReply(503, {}, retry_after_seconds=said), []])

    api.ids()

    assert waited < api.pauses[1] <= waited + PAUSE_SECONDS_MAX


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (RequestNotSent("No connection."), 2),
        (CURSOR_UNREADABLE, 2),
        (ApiReply(404, {}), 2),
        (NOT_OURS, 2),
        (ApiReply(302, {}), 2),
        (GONE, POSITION_GONE),
    ],
)
def test_what_cannot_be_followed_ends_it_at_the_start(first: Connection, code: int) -> None:
    with pytest.raises(FollowingEnded) as ended:
        Api([first]).ids("5")
    assert ended.value.code == code


@pytest.mark.parametrize("first", [RequestOutcomeUnknown("Lost."), ApiReply(503, {}), ApiReply(502, {})])
def test_the_first_answer_may_be_late(first: Connection) -> None:
    assert Api([first, first, [sse("1")]]).ids() == ["1"]


@pytest.mark.parametrize(("reply", "code"), [(CURSOR_UNREADABLE, 2), (GONE, POSITION_GONE)])
def test_what_the_api_itself_refuses_ends_it_later_too(reply: ApiReply, code: int) -> None:
    with pytest.raises(FollowingEnded) as ended:
        Api([[sse("1")], reply]).ids()
    assert ended.value.code == code


def test_a_position_that_is_gone_says_what_is_missed_and_what_to_do() -> None:
    with pytest.raises(FollowingEnded, match=r"older than what is kept\. .*not shown.*--after 0"):
        Api([GONE]).ids("5")


def test_a_watch_goes_on_from_now_where_its_position_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api([[sse("1")], GONE, [sse("8")], []])

    assert api.ids(goes_on_from_now=True) == ["1", "8"]
    assert api.resumed_after == [None, "1", None, "8"]
    assert "was not shown. Going on from now." in capsys.readouterr().err


def test_from_now_cannot_be_gone() -> None:
    with pytest.raises(FollowingEnded) as ended:
        Api([[sse("1")], GONE, GONE]).ids(goes_on_from_now=True)
    assert ended.value.code == 2


@given(cuts=st.lists(st.integers(0, 400), min_size=1, max_size=15), size=st.integers(1, 60))
def test_no_cut_repeats_or_leaves_out_an_event(cuts: list[int], size: int) -> None:
    """The API has ten events; it sends what follows the position, and each connection is cut after some bytes."""
    events = [sse(str(number), "heartbeat" if number % 4 == 0 else "order") for number in range(1, 11)]
    api = Api([])

    def answer(after: str | None) -> Connection:
        text = b"".join(events[int(after or "0") :])[: cuts.pop(0)]
        return [text[start : start + size] for start in range(0, len(text), size)]

    api.script = lambda after: answer(after) if cuts else None
    ids = api.ids()

    assert ids == [str(number) for number in range(1, len(ids) + 1)]
