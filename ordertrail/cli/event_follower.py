"""Follows `GET /events` through restarts of the API and lost connections: each event once, in order, none left out.

What is resumed from is the id of the last event that was handed out and whose reader has come back for the next.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import msgspec

from ordertrail.cli.api_answers import USAGE_OR_CONNECTION, not_ours, problem_text
from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown
from ordertrail.cli.api_documents import problem_of
from ordertrail.cli.api_stream import StreamCut
from ordertrail.cli.event_stream import EventStreamParser, EventTooLong, StreamEvent
from ordertrail.runtime.notices import say

HEARTBEAT = "heartbeat"
# The API sends a heartbeat every 10 s. Without an event for more than two of them, the connection is half-open.
SILENCE_SECONDS_MAX = 25.0
# A pause grows from one connection that brought nothing to the next; jitter takes up to half of it away.
PAUSE_SECONDS_MIN = 0.5
PAUSE_SECONDS_MAX = 10.0
PAUSE_GROWTH = 2.0
RETRY_AFTER_SECONDS_MAX = 60
# What followed the position can no longer be known.
POSITION_GONE = 4

_GONE_STATUS = 410
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
# It is sent back in a header.
_ID = re.compile(r"[!-~]{1,512}")

Connect = Callable[[str | None], AbstractContextManager[Iterator[bytes] | ApiReply]]


class FollowingEnded(Exception):
    """There is nothing to follow any more: `code` is the exit code, and the text says why."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event of the API's; heartbeats, and types that this version does not know, are among them."""

    id: str
    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FollowerClock:
    """Time as the follower needs it; `jitter` is drawn from 0 to 1."""

    monotonic: Callable[[], float]
    pause: Callable[[float], None]
    jitter: Callable[[], float]


class EventFollower:
    """`connect` opens the stream after an id; None: at the position of the command itself, `starts_after`.

    `goes_on_from_now`: where the position is gone, what is missed is told and following goes on from now.
    """

    def __init__(
        self, connect: Connect, clock: FollowerClock, *, starts_after: str | None, goes_on_from_now: bool
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._starts_after = starts_after
        self._goes_on_from_now = goes_on_from_now
        self._resume_after = starts_after
        self._has_connected = False
        self._is_away = False
        self._failures = 0

    @property
    def resume_after(self) -> str | None:
        """What the next connection resumes after; None: it begins from now."""
        return self._resume_after

    def events(self) -> Iterator[ReceivedEvent]:
        """Every event, heartbeats too, for ever; FollowingEnded where that cannot go on."""
        while True:
            retry_after = 0.0
            opened_at = self._clock.monotonic()
            try:
                with self._connect(self._resume_after) as answer:
                    if isinstance(answer, ApiReply):
                        retry_after = self._judge(answer)
                    else:
                        yield from self._received(answer)
            except RequestNotSent as error:
                if not self._has_connected:
                    raise FollowingEnded(str(error), USAGE_OR_CONNECTION) from error
                self._say_away(str(error))
            except (RequestOutcomeUnknown, StreamCut, EventTooLong, _NotOurs) as error:
                self._say_away(str(error))
            if self._clock.monotonic() - opened_at >= PAUSE_SECONDS_MAX:
                self._failures = 0
            self._pause(retry_after)

    def _received(self, chunks: Iterator[bytes]) -> Iterator[ReceivedEvent]:
        self._has_connected = True
        parser = EventStreamParser()
        newest_at = self._clock.monotonic()
        for chunk in chunks:
            for streamed in parser.feed(chunk):
                event = _read(streamed)
                self._say_back()
                yield event
                self._resume_after = event.id
                newest_at = self._clock.monotonic()
                if event.type != HEARTBEAT:
                    self._failures = 0
            if self._clock.monotonic() - newest_at > SILENCE_SECONDS_MAX:
                raise StreamCut(f"No event has come whole for {SILENCE_SECONDS_MAX:g} s.")

    def _judge(self, reply: ApiReply) -> float:
        """For how long the API wants to be left alone; FollowingEnded where it will not answer otherwise."""
        problem = problem_of(reply)
        if problem is not None and reply.status == _GONE_STATUS and self._resume_after is not None:
            sentence = f"{problem_text(reply)} What was written in between was not shown."
            if not self._goes_on_from_now:
                raise FollowingEnded(f"{sentence} --after 0 goes on from the oldest that is kept.", POSITION_GONE)
            say(f"{sentence} Going on from now.")
            self._resume_after = None
            return 0.0
        # A proxy may answer anything while the API restarts; what the API itself refuses, it will refuse again.
        is_transient = reply.status >= 500 or reply.status in _TRANSIENT_STATUSES
        if is_transient or (problem is None and self._has_connected):
            self._say_away(problem_text(reply))
            return min(float(reply.retry_after_seconds or 0), RETRY_AFTER_SECONDS_MAX)
        raise FollowingEnded(problem_text(reply) if reply.status >= 400 else not_ours(reply), USAGE_OR_CONNECTION)

    def _pause(self, seconds_min: float) -> None:
        seconds = min(PAUSE_SECONDS_MIN * PAUSE_GROWTH ** min(self._failures, 16), PAUSE_SECONDS_MAX)
        self._failures += 1
        self._clock.pause(seconds_min + seconds * (1 - self._clock.jitter() / 2))

    def _say_away(self, why: str) -> None:
        if not self._is_away:
            say(f"{why} Trying again.")
        self._is_away = True

    def _say_back(self) -> None:
        if self._is_away:
            say("The API answers again.")
        self._is_away = False


class _NotOurs(Exception):
    """What came is no event of Ordertrail's; it is not passed over, for it may have been one."""


def _read(streamed: StreamEvent) -> ReceivedEvent:
    try:
        data = msgspec.json.decode(streamed.data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        data = None
    if not isinstance(data, dict) or not _ID.fullmatch(streamed.id):
        raise _NotOurs("What came is no event of Ordertrail's API.")
    return ReceivedEvent(streamed.id, streamed.type, data)
