"""Frames larger than a queue's messages: cut between reports, so that each part is a frame of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from ordertrail.queues.queue import Frame


class ReportTooLarge(Exception):
    """One report alone does not fit into a message of the queue."""


class _Numbered(msgspec.Struct):
    seq: int


_reports = msgspec.json.Decoder(list[msgspec.Raw])
_numbered = msgspec.json.Decoder(_Numbered)


def split(frame: Frame, *, bytes_max: int) -> Sequence[Frame]:
    """The frame itself where it fits, otherwise its reports in several, in their order.

    Where the frame has `first` and `last`, each part has its own, and follows on the part before. ReportTooLarge.
    """
    if len(frame.body) <= bytes_max:
        return (frame,)
    try:
        reports = [bytes(report) for report in _reports.decode(frame.body)]
        numbers = None if frame.first is None else [_numbered.decode(report).seq for report in reports]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReportTooLarge(f"A frame of {len(frame.body)} bytes cannot be cut: {error}.") from error
    if numbers is not None:
        # Each part has to end where the next begins.
        in_order = sorted(zip(numbers, reports, strict=True), key=lambda each: each[0])
        numbers, reports = [number for number, _ in in_order], [report for _, report in in_order]
    return [
        replace(
            frame,
            count=end - begin,
            first=None if numbers is None else numbers[begin],
            last=None if numbers is None else numbers[end - 1],
            body=b"[" + b",".join(reports[begin:end]) + b"]",
        )
        for begin, end in _parts([len(report) for report in reports], bytes_max)
    ]


def _parts(sizes: Sequence[int], bytes_max: int) -> Iterator[tuple[int, int]]:
    """From where to where each part goes; two brackets around it, a comma between any two."""
    begin, size = 0, 2
    for index, report in enumerate(sizes):
        if report + 2 > bytes_max:
            raise ReportTooLarge(f"A report of {report} bytes does not fit into a message of {bytes_max} bytes.")
        if size + report > bytes_max:
            yield begin, index
            begin, size = index, 2
        size += report + 1
    yield begin, len(sizes)
