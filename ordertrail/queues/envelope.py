"""A frame beside its body, as a header of a broker's message: one line of ASCII."""

import json
from typing import cast

from ordertrail.queues.queue import ExecIdScope, Frame, Position

HEADER = "Ordertrail-Frame"


def header_of(frame: Frame, *, tail: Position | None = None) -> str:
    """What the message says of its frame, and where the queue's chain ends with it."""
    return json.dumps(
        {
            "venue": frame.venue,
            "epoch": frame.epoch,
            "scope": frame.exec_id_scope,
            "count": frame.count,
            "first": frame.first,
            "last": frame.last,
            "tail": None if tail is None else [tail.epoch, tail.seq],
        }
    )


def frame_of(header: str | None, body: bytes, *, venue: str) -> Frame:
    """The frame again. What somebody else has put there is one too: a processor parks what it cannot read."""
    try:
        said = json.loads(header or "")
        return Frame(
            said["venue"],
            said["epoch"],
            cast("ExecIdScope", said["scope"]),
            said["count"],
            said["first"],
            said["last"],
            body,
        )
    except (KeyError, TypeError, ValueError):
        return Frame(venue, "", "order", 1, None, None, body)


def tail_of(header: str | None) -> Position | None:
    """Where the chain ended with this message; None: it does not say."""
    try:
        epoch, seq = json.loads(header or "")["tail"]
        return Position(str(epoch), int(seq))
    except (KeyError, TypeError, ValueError):
        return None
