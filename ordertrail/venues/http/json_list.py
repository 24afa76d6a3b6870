"""A JSON document with one long list, read element by element and in slices; nobody has to hold the whole as objects.

Where an element ends is told by brackets and quotes alone, so that one that cannot be understood is passed and spoils
none beside it. A document that is cut, or is no JSON, is `NotWhole`, and then nothing that was read of it counts.
"""

import json
import re
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from typing_extensions import override

from ordertrail.venues.http.unreadable import CANNOT_READ

ELEMENT_BYTES_MAX = 64 * 1024
ENVELOPE_BYTES_MAX = 64 * 1024
PARKED_KEPT_MAX = 1000
# A slice is what is read before others have their turn: about a millisecond of a processor.
SLICE_ELEMENTS = 32
SLICE_MARKS = 2000
SLICE_BYTES = 256 * 1024
_SLOW_ELEMENT = 10  # what one that cannot be understood costs, in elements that can

_BLANK = re.compile(rb"[ \t\n\r]*")
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]{1,400}")
_MARK = re.compile(rb'["\[\]{}]')
_MARK_IN_TEXT = re.compile(rb'["\\]')
_OPENING, _CLOSING = b"[{", b"]}"

_Element = TypeVar("_Element")
_Parked = TypeVar("_Parked")
Slices = Generator[None, None, _Element]
"""Yields between slices, and returns what was read."""


class NotWhole(ValueError):
    """The document is cut, or is no JSON."""


@dataclass(slots=True)
class Elements(Generic[_Element, _Parked]):
    """What stands in a list, in its order; `parked` of them could not be understood, and `dropped` more."""

    items: list[_Element | _Parked] = field(default_factory=list)
    envelope: bytes = b""
    parked: int = 0
    dropped: int = 0
    keep: Callable[[int, int], None] | None = None

    def take(self, element: _Element, begin: int, end: int) -> None:
        """One more that is understood."""
        if self.keep is None:
            self.items.append(element)
        else:
            self.keep(begin, end)

    def park(self, thing: _Parked) -> None:
        """One more that could not be understood."""
        if self.parked >= PARKED_KEPT_MAX:
            self.dropped += 1
        else:
            self.parked += 1
            self.items.append(thing)


class LazyList(Sequence[_Element]):
    """Elements that are decoded when they are wanted, each time anew; of each its two ends are kept, 16 bytes.

    Hundreds of thousands of objects would be looked through by the garbage collector in one go, again and again.
    """

    def __init__(self, body: bytes | bytearray, decode: Callable[[bytes], _Element]) -> None:
        self._body = body
        self._decode = decode
        self._begins = array("Q")
        self._ends = array("Q")

    def keep(self, begin: int, end: int) -> None:
        """One more, of which it is known that it can be decoded."""
        self._begins.append(begin)
        self._ends.append(end)

    @override
    def __len__(self) -> int:
        return len(self._begins)

    @override
    def __iter__(self) -> Iterator[_Element]:
        return map(self._element, self._begins, self._ends)

    @overload
    @override
    def __getitem__(self, place: int) -> _Element: ...

    @overload
    def __getitem__(self, place: slice) -> list[_Element]: ...

    def __getitem__(self, place: int | slice) -> _Element | list[_Element]:
        if isinstance(place, slice):
            return list(map(self._element, self._begins[place], self._ends[place]))
        return self._element(self._begins[place], self._ends[place])

    def _element(self, begin: int, end: int) -> _Element:
        return self._decode(bytes(self._body[begin:end]))


def read_list(
    body: bytes | bytearray,
    name: str,
    decode: Callable[[bytes], _Element],
    park: Callable[[bytes, object, Exception], _Parked],
    keep: Callable[[int, int], None] | None = None,
) -> Slices[Elements[_Element, _Parked]]:
    """Read the list under `name` of an object; `envelope` is that object with the list emptied.

    What `decode` raises of `CANNOT_READ` is handed to `park`, with the element as far as it could be read at all.
    With `keep`, `items` are only those: `keep` is called with where each other one begins and ends.
    """
    read: Elements[_Element, _Parked] = Elements(keep=keep)
    wanted = b'"%b"' % name.encode()
    pieces: list[bytes] = []
    kept = 0  # up to where the document is in the envelope
    position = _after(body, _blank(body, 0), b"{")
    if _at(body, position) == b"}":
        position += 1
    else:
        while True:
            key_end = yield from _value_end(body, position)
            key = bytes(body[position : min(key_end, position + len(wanted) + 1)])
            position = _after(body, _blank(body, key_end), b":")
            if key == wanted and _at(body, position) == b"[" and not pieces:
                pieces.append(bytes(body[kept : min(position + 1, kept + ENVELOPE_BYTES_MAX + 1)]))
                position = kept = yield from _read_elements(body, position, read, decode, park)
                kept -= 1
            else:
                position = yield from _value_end(body, position)
            position = _blank(body, position)
            if _at(body, position) != b",":
                break
            position = _blank(body, position + 1)
        position = _after(body, position, b"}")
    if _blank(body, position) != len(body):
        raise NotWhole("something follows its end")
    pieces.append(bytes(body[kept : kept + ENVELOPE_BYTES_MAX + 1]))
    read.envelope = b"".join(pieces)
    if len(read.envelope) > ENVELOPE_BYTES_MAX:
        raise NotWhole("too much stands beside its list")
    return read


def _read_elements(
    body: bytes | bytearray,
    position: int,
    read: Elements[_Element, _Parked],
    decode: Callable[[bytes], _Element],
    park: Callable[[bytes, object, Exception], _Parked],
) -> Slices[int]:
    """The elements of the array at `position`; returns where it ends."""
    position = _blank(body, position + 1)
    if _at(body, position) == b"]":
        return position + 1
    cost = 0
    while True:
        # Most elements are flat objects: they end at the first brace, if what goes so far is one.
        end = body.find(b"}", position, position + ELEMENT_BYTES_MAX) + 1
        try:
            if not end:
                raise NotWhole
            item: _Element | _Unread[_Parked] = decode(bytes(body[position:end]))
            cost += 1
        except CANNOT_READ:
            end = yield from _value_end(body, position)
            item = _decoded(bytes(body[position : min(end, position + ELEMENT_BYTES_MAX + 1)]), decode, park)
            cost += _SLOW_ELEMENT
        if isinstance(item, _Unread):
            read.park(item.parked)
        else:
            read.take(item, position, end)
        if cost >= SLICE_ELEMENTS:
            cost = 0
            yield
        position = _blank(body, end)
        if _at(body, position) == b"]":
            return position + 1
        position = _after(body, position, b",")


@dataclass(frozen=True, slots=True)
class _Unread(Generic[_Parked]):
    parked: _Parked


def _decoded(
    raw: bytes, decode: Callable[[bytes], _Element], park: Callable[[bytes, object, Exception], _Parked]
) -> "_Element | _Unread[_Parked]":
    if len(raw) > ELEMENT_BYTES_MAX:
        return _Unread(park(raw, None, ValueError(f"is longer than {ELEMENT_BYTES_MAX} bytes")))
    try:
        return decode(raw)
    except CANNOT_READ as error:
        return _Unread(park(raw, _leniently(raw), error))


def _leniently(raw: bytes) -> object:
    """The element where its texts may be no UTF-8 and its numbers none of JSON; NotWhole: it is nothing at all."""
    try:
        return _lenient.decode(raw.decode("utf-8", "replace"))
    except RecursionError:
        return None
    except ValueError as error:
        raise NotWhole(f"an element is no JSON: {error}"[:200]) from None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Without the keys that stand twice."""
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1} if len(pairs) < 100 else {}


def _whole_number(text: str) -> int | None:
    return int(text) if len(text) < 20 else None


_lenient = json.JSONDecoder(strict=False, object_pairs_hook=_unambiguous, parse_int=_whole_number)


def _value_end(body: bytes | bytearray, position: int) -> Slices[int]:
    """Where the value that begins at `position` ends, by its brackets and quotes."""
    if _at(body, position) not in (b'"', b"[", b"{"):
        scalar = _SCALAR.match(body, position)
        if scalar is None:
            raise NotWhole(f"no value stands at byte {position}")
        return scalar.end()
    depth, is_text, marks = 0, False, 0
    while True:
        stop = min(position + SLICE_BYTES, len(body))
        mark = (_MARK_IN_TEXT if is_text else _MARK).search(body, position, stop)
        if mark is None:
            if stop == len(body):
                raise NotWhole("it is cut")
            position = stop
            yield
            continue
        position = mark.end()
        match bytes(mark.group()):
            case b'"':
                is_text = not is_text
            case b"\\":
                position += 1
            case b"[" | b"{":
                depth += 1
            case _:
                depth -= 1
        if not depth and not is_text:
            return position
        marks += 1
        if marks % SLICE_MARKS == 0:
            yield


def _blank(body: bytes | bytearray, position: int) -> int:
    found = _BLANK.match(body, position)
    assert found is not None
    return found.end()


def _at(body: bytes | bytearray, position: int) -> bytes:
    return bytes(body[position : position + 1])


def _after(body: bytes | bytearray, position: int, mark: bytes) -> int:
    """Behind `mark` and what is blank after it."""
    if _at(body, position) != mark:
        raise NotWhole(f"byte {position} is not {mark.decode()}")
    return _blank(body, position + 1)
