"""Bytes of a `text/event-stream` → events, by the rules of the HTML standard (9.2.6, interpreting an event stream)."""

from collections.abc import Iterator
from dataclasses import dataclass

# An event of ours is some hundred bytes; what is longer than this is not from our API.
LINE_BYTES_MAX = 256 * 1024
# All `data` lines of an event together, in characters.
DATA_CHARACTERS_MAX = 256 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """What was dispatched; `id` is the newest that the stream has said, with this event or before it, else empty."""

    type: str
    data: str
    id: str


class EventTooLong(Exception):
    """A line or an event goes over its limit: nothing that follows can be understood."""


class EventStreamParser:
    """One connection's bytes, in whatever pieces they come; what its end cuts off is no event."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._is_first_line = True
        self._was_carriage_return = False
        self._type = ""
        self._id = ""
        self._data: list[str] = []
        self._data_characters = 0

    def feed(self, chunk: bytes) -> Iterator[StreamEvent]:
        """The events that these bytes complete; EventTooLong after those that come before what is too long."""
        if not chunk:
            return
        if self._was_carriage_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the line ended at the CR before
        self._was_carriage_return = chunk.endswith(b"\r")
        for piece in chunk.splitlines(keepends=True):
            text = piece.rstrip(b"\r\n")
            self._line += text
            if len(self._line) > LINE_BYTES_MAX:
                raise EventTooLong(f"a line is longer than {LINE_BYTES_MAX} bytes")
            if len(text) < len(piece):
                line = bytes(self._line)
                self._line.clear()
                event = self._take_line(line)
                if event is not None:
                    yield event

    def _take_line(self, line: bytes) -> StreamEvent | None:
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._is_first_line = False
        if not line:
            return self._dispatch()
        # A line that begins with a colon is a comment: the field without a name, of which nothing is made.
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "data":
                self._data.append(value)
                self._data_characters += len(value) + 1
                if self._data_characters > DATA_CHARACTERS_MAX:
                    raise EventTooLong(f"an event is longer than {DATA_CHARACTERS_MAX} characters")
            case _:
                pass  # `retry` too: how long is waited between connections is ours to say
        return None

    def _dispatch(self) -> StreamEvent | None:
        has_data = bool(self._data)
        event = StreamEvent(self._type or "message", "\n".join(self._data), self._id)
        self._type, self._data, self._data_characters = "", [], 0
        return event if has_data else None
