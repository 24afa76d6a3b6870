"""Pages of execution reports over HTTP, as they came: pure, from a reply to what it says."""

from typing import Literal

import msgspec

from ordertrail.domain.reason import Cause, http_cause
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.venues.http.unreadable import CANNOT_READ, sentence
from ordertrail.venues.http.wire import Reply
from ordertrail.venues.report_frames import Epoch, Head, Seq, read_frame
from ordertrail.venues.venue import Compacted, OtherEpoch, Reports


class _Page(msgspec.Struct):
    epoch: Epoch
    executions: msgspec.Raw
    head: Head


class _OtherEpoch(msgspec.Struct):
    error: Literal["epoch"]
    epoch: Epoch
    head: Head


class _Compacted(msgspec.Struct):
    error: Literal["compacted"]
    oldest: Seq


_page = msgspec.json.Decoder(_Page)
_other_epoch = msgspec.json.Decoder(_OtherEpoch)
_compacted = msgspec.json.Decoder(_Compacted)


def read_report_page(reply: Reply, *, epoch: str | None) -> Reports | OtherEpoch | Compacted | NoAnswer:
    """What the reply to `GET /v1/executions?after=&epoch=` says; `epoch` is the one that was named, if one was."""
    try:
        match reply.status:
            case 200:
                page = _page.decode(reply.body)
                if epoch is not None and page.epoch != epoch:
                    return OtherEpoch(page.epoch, page.head)
                reports = read_frame(bytes(page.executions))
                if isinstance(reports, Reports):
                    return reports
                return NoAnswer(Cause.UNREADABLE, "executions: is no array that can be read")
            case 409:
                other = _other_epoch.decode(reply.body)
                return OtherEpoch(other.epoch, other.head)
            case 410:
                return Compacted(_compacted.decode(reply.body).oldest)
            case _:
                return NoAnswer(http_cause(reply.status))
    except CANNOT_READ as error:
        return NoAnswer(Cause.UNREADABLE if reply.status == 200 else http_cause(reply.status), sentence(error))
