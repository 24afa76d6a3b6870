"""What an instrument, a key and a moment look like, in a body and in a query alike."""

import re
from datetime import UTC, datetime

from ordertrail.domain.order import CLIENT_ORDER_ID_LENGTH_MAX, INSTRUMENT_LENGTH

INSTRUMENT = re.compile(rf"[A-Z0-9]{{{INSTRUMENT_LENGTH}}}")
INSTRUMENT_RULE = f"must be {INSTRUMENT_LENGTH} characters, A to Z and 0 to 9"

CLIENT_ORDER_ID = re.compile(rf"[\x21-\x7e]{{1,{CLIENT_ORDER_ID_LENGTH_MAX}}}")
CLIENT_ORDER_ID_RULE = f"must be 1 to {CLIENT_ORDER_ID_LENGTH_MAX} visible ASCII characters"

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
"""A time with an offset; its first group is the fraction of a second."""
RFC_3339_RULE = "must be a time as in RFC 3339, with an offset"


def utc_moment(text: str) -> datetime | None:
    """What a text in the form of RFC_3339 names, in UTC and cut to the microsecond; None: no calendar has it."""
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
