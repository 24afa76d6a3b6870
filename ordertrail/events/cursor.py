"""A place in the event log as text: the `id` of an event, and where a stream, a page or a long poll goes on.

Opaque to clients, no secret, and it grants nothing; it only has to be read back exactly, or refused: a cursor in which
something was changed is never another place.
"""

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass

from ordertrail.storage.event_rows import LogMark

_VERSION = 1
# Version, database, timeline, txid, id, check, passed, row_check.
_PLACE = struct.Struct(">HQIQQQIQ")
# Finds every change within 32 bits that follow one another for certain, so every changed letter.
_CHECKSUM = struct.Struct(">I")
# A length that three divides: base64 has neither padding nor bits that say nothing, so a place has one text.
TEXT_LENGTH = (_PLACE.size + _CHECKSUM.size) // 3 * 4


@dataclass(frozen=True, slots=True)
class Cursor:
    """What follows `mark`, but for so many events of the row after it as are `passed`.

    `row_check`: which row that is, where some of it are passed; else 0. The row before is what the log can be read
    from, and its check alone would not notice that the row after it was lost and another has its place.
    """

    mark: LogMark
    passed: int = 0
    row_check: int = 0


def write_cursor(cursor: Cursor) -> str:
    """Its text."""
    mark = cursor.mark
    place = _PLACE.pack(
        _VERSION,
        mark.database,
        mark.timeline,
        mark.txid,
        mark.id,
        mark.check,
        cursor.passed,
        cursor.row_check,
    )
    return base64.urlsafe_b64encode(place + _CHECKSUM.pack(zlib.crc32(place))).decode()


def read_cursor(text: str) -> Cursor | None:
    """The place that a text of ours says; None: it is none of ours, or not as it was."""
    if len(text) != TEXT_LENGTH:
        return None
    try:
        decoded = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    place = decoded[: _PLACE.size]
    if len(decoded) != _PLACE.size + _CHECKSUM.size or decoded[_PLACE.size :] != _CHECKSUM.pack(zlib.crc32(place)):
        return None
    version, database, timeline, txid, row_id, check, passed, row_check = _PLACE.unpack(place)
    cursor = Cursor(LogMark(database, timeline, txid, row_id, check), passed, row_check)
    return cursor if version == _VERSION and write_cursor(cursor) == text else None
