"""Where a list goes on: opaque to callers, and bound to the filters that it came from.

A cursor is no secret and grants nothing; it only has to be read back exactly, or refused.
"""

import base64
import binascii
import hashlib
from typing import Literal

import msgspec

from ordertrail.storage.order_reads import OrderFilter, is_storable

FINGERPRINT_BYTES = 9

_decoder = msgspec.json.Decoder(tuple[Literal[1], str, str])


class UnreadableCursor(Exception):
    """This is no cursor of ours."""


class OtherFilters(Exception):
    """The cursor comes from a list with other filters: going on there would skip or repeat orders unnoticed."""


def write_cursor(last_id: str, wanted: OrderFilter) -> str:
    """A cursor to what comes after `last_id`; the first part is the format's version."""
    text = msgspec.json.encode((1, _fingerprint(wanted), last_id))
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def read_cursor(cursor: str, wanted: OrderFilter) -> str:
    """The id to go on after. Raises UnreadableCursor and OtherFilters."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        _, fingerprint, last_id = _decoder.decode(base64.b64decode(padded, b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, RecursionError) as error:
        raise UnreadableCursor from error
    if not is_storable(last_id):
        raise UnreadableCursor
    if fingerprint != _fingerprint(wanted):
        raise OtherFilters
    if cursor != write_cursor(last_id, wanted):
        raise UnreadableCursor
    return last_id


def _fingerprint(wanted: OrderFilter) -> str:
    digest = hashlib.sha256(msgspec.json.encode(wanted)).digest()[:FINGERPRINT_BYTES]
    return base64.urlsafe_b64encode(digest).decode()
