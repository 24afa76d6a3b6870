"""Where a list goes on: opaque to callers, and bound to the list that it came from, filters included.

A cursor is no secret and grants nothing; it only has to be read back exactly, or refused.
"""

import base64
import binascii
import hashlib
from typing import Literal, TypeVar

import msgspec

from ordertrail.storage.order_reads import is_storable

FINGERPRINT_BYTES = 9

T = TypeVar("T")
Decoder = msgspec.json.Decoder

AFTER_ID: Decoder[tuple[Literal[1], str, str]] = Decoder(tuple[Literal[1], str, str])
"""Of cursors that go on after a text."""


class UnreadableCursor(Exception):
    """This is no cursor of ours."""


class OtherFilters(Exception):
    """The cursor comes from a list with other filters: going on there would skip or repeat orders unnoticed."""


def write_cursor(last: object, wanted: object) -> str:
    """A cursor to what comes after `last` in the list `wanted`; the first part is the format's version."""
    text = msgspec.json.encode((1, _fingerprint(wanted), last))
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def read_cursor(cursor: str, wanted: object, decoder: Decoder[tuple[Literal[1], str, T]]) -> T:
    """What to go on after: a text, or a tuple. Raises UnreadableCursor and OtherFilters."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        _, fingerprint, last = decoder.decode(base64.b64decode(padded, b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, RecursionError) as error:
        raise UnreadableCursor from error
    if not all(is_storable(part) for part in _texts(last)):
        raise UnreadableCursor
    if fingerprint != _fingerprint(wanted):
        raise OtherFilters
    if cursor != write_cursor(last, wanted):
        raise UnreadableCursor
    return last


def _texts(last: object) -> list[str]:
    parts = last if isinstance(last, tuple) else (last,)
    return [part for part in parts if isinstance(part, str)]


def _fingerprint(wanted: object) -> str:
    digest = hashlib.sha256(msgspec.json.encode(wanted)).digest()[:FINGERPRINT_BYTES]
    return base64.urlsafe_b64encode(digest).decode()
