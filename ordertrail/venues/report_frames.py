"""Frames of execution reports, in the form of our protocol: of a report nothing is read but its `seq`.

What is more is for the processors to read; the bytes of a report are never written anew.
"""

from typing import Annotated

import msgspec

from ordertrail.venues.venue import RAW_BYTES_MAX, Heartbeat, Reports, UnreadableFrame

SEQ_MAX = 2**63 - 1

# msgspec's errors are ValueErrors; so is UnicodeDecodeError.
_CANNOT_READ = (ValueError, RecursionError)

Seq = Annotated[int, msgspec.Meta(ge=1, le=SEQ_MAX)]
Head = Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]
Epoch = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}\Z")]


class _Report(msgspec.Struct, gc=False):
    seq: Seq


class _Heartbeat(msgspec.Struct):
    epoch: Epoch
    head: Head


_seqs = msgspec.json.Decoder(list[_Report])
_heartbeat = msgspec.json.Decoder(_Heartbeat)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_report = msgspec.json.Decoder(_Report)


def read_frame(data: bytes) -> Reports | Heartbeat | UnreadableFrame:
    """What a message of the venue's socket is: reports, a word that it is alive, or nothing that we know.

    An array of which not every element has its `seq` is reports all the same, so that none of them is lost.
    """
    try:
        _check_text(data)
        seqs = [report.seq for report in _seqs.decode(data)]
    except _CANNOT_READ:
        return _read_other(data)
    if not seqs:
        return Reports(data, 0, None, None, is_contiguous=False)
    first, last = seqs[0], seqs[-1]
    if seqs != list(range(first, last + 1)):
        first, last = min(seqs), max(seqs)
        return Reports(data, len(seqs), first, last, is_contiguous=_is_each_once(seqs, first, last))
    return Reports(data, len(seqs), first, last, is_contiguous=True)


def split_reports(body: bytes) -> list[tuple[int | None, bytes]]:
    """The elements of a JSON array as they are, each with its `seq`, None where that cannot be read.

    ValueError or RecursionError where it is none; never for what `read_frame` took for reports.
    """
    return [(_seq_of(bytes(raw)), bytes(raw)) for raw in _elements.decode(body)]


def join_reports(elements: list[bytes]) -> bytes:
    """A JSON array of these."""
    return b"[" + b",".join(elements) + b"]"


def join_bodies(bodies: list[bytes]) -> bytes:
    """One JSON array of what is in several, none of which is empty."""
    return bodies[0] if len(bodies) == 1 else join_reports([body.strip()[1:-1] for body in bodies])


def _read_other(data: bytes) -> Reports | Heartbeat | UnreadableFrame:
    """What is no plain array of reports."""
    try:
        _check_text(data)
        return _as_array(data) if data.lstrip()[:1] == b"[" else _as_heartbeat(data)
    except _CANNOT_READ as error:
        why = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return UnreadableFrame(why, data[:RAW_BYTES_MAX])


def _as_array(data: bytes) -> Reports:
    elements = split_reports(data)
    seqs = [seq for seq, _ in elements if seq is not None]
    first, last = (min(seqs), max(seqs)) if seqs else (None, None)
    return Reports(data, len(elements), first, last, is_contiguous=False)


def _as_heartbeat(data: bytes) -> Heartbeat:
    read = _heartbeat.decode(data)
    return Heartbeat(read.epoch, read.head)


def _seq_of(raw: bytes) -> int | None:
    try:
        return _report.decode(raw).seq
    except _CANNOT_READ:
        return None


def _is_each_once(seqs: list[int], first: int, last: int) -> bool:
    return last - first + 1 == len(seqs) == len(set(seqs))


def _check_text(data: bytes) -> None:
    """UnicodeDecodeError; msgspec itself does not look at texts that it passes over."""
    if not data.isascii():
        data.decode()
