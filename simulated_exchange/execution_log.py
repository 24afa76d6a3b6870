"""The execution reports of one epoch in the order of `seq`, each encoded once and never before somebody wants it.

The oldest are dropped where no more than so many are kept; `Exchange` begins another log with another epoch.
"""

import msgspec

from simulated_exchange.orders import Report
from simulated_exchange.results import Compacted, OtherEpoch
from simulated_exchange.wire import ReportView, report_view

FRAMES_REMEMBERED = 64

_view_decoder = msgspec.json.Decoder(ReportView)
_encoder = msgspec.json.Encoder()


def encode_view(view: ReportView) -> bytes:
    """A report as it is sent."""
    return _encoder.encode(view)


class ExecutionLog:
    """Reports 1, 2, 3 … of `epoch`.

    `kept_max`: how many are kept at most; from there on, at least three quarters of that. None: all.
    `exec_id_suffix` sets the ids of an epoch apart from those of the epochs before it.
    """

    def __init__(self, epoch: str, *, kept_max: int | None = None, exec_id_suffix: str = "") -> None:
        self.epoch = epoch
        self.kept_max = kept_max
        self.exec_id_suffix = exec_id_suffix
        self.dropped = 0
        self._kept: list[Report | bytes] = []
        self._frames: dict[tuple[int, int], bytes] = {}

    @property
    def head(self) -> int:
        """The newest `seq`; 0 where there is none yet."""
        return self.dropped + len(self._kept)

    def refusal(self, after: int, epoch: str | None) -> OtherEpoch | Compacted | None:
        """Why the reports after `after` in `epoch` (None: whichever it is) cannot be read."""
        if epoch is not None and epoch != self.epoch:
            return OtherEpoch(self.epoch, self.head)
        return Compacted(self.dropped + 1) if after < self.dropped else None

    def append(self, report: Report | bytes) -> None:
        """The report's `seq` must be the next one."""
        self._kept.append(report)
        if self.kept_max is not None and len(self._kept) > self.kept_max:
            # Cut rarely, for a cut moves all that stay.
            cut = len(self._kept) - self.kept_max * 3 // 4
            del self._kept[:cut]
            self.dropped += cut

    def find(self, exec_id: str) -> ReportView | None:
        """The report with this id, if it is kept; the newest where several have it."""
        number = exec_id.removeprefix("E").removesuffix(self.exec_id_suffix)
        if number.isdecimal() and self.dropped < int(number) <= self.head:
            [view] = self.views(int(number) - 1, 1)
            if view.exec_id == exec_id:
                return view
        needle = b'"exec_id":' + _encoder.encode(exec_id) + b","
        for report in reversed(self._kept):  # one of an epoch before, numbered anew
            if isinstance(report, bytes) and needle in report:
                return _view_decoder.decode(report)
        return None

    def successor(self, epoch: str, *, exec_id_suffix: str, replay: bool) -> "ExecutionLog":
        """The log of another epoch; with `replay`, what is kept is numbered anew in it, and ids stay."""
        log = ExecutionLog(epoch, kept_max=self.kept_max, exec_id_suffix=exec_id_suffix)
        if replay:
            for seq, view in enumerate(self.views(self.dropped, len(self._kept)), start=1):
                log.append(encode_view(msgspec.structs.replace(view, seq=seq)))
        return log

    def back_to(self, head: int, *, exec_id_suffix: str) -> "ExecutionLog":
        """Another log of the same epoch, which ends with `head`."""
        log = ExecutionLog(self.epoch, kept_max=self.kept_max, exec_id_suffix=exec_id_suffix)
        log.dropped = self.dropped
        for report in self.encoded(self.dropped, head - self.dropped):
            log.append(report)
        return log

    def encoded(self, after: int, limit: int) -> list[bytes]:
        """Reports with `seq` above `after` that are kept, at most `limit`, as JSON."""
        first = max(after - self.dropped, 0)
        kept = self._kept
        reports: list[bytes] = []
        for index in range(first, min(first + limit, len(kept))):
            report = kept[index]
            if not isinstance(report, bytes):
                report = kept[index] = _encoder.encode(report_view(report))
            reports.append(report)
        return reports

    def views(self, after: int, limit: int) -> tuple[ReportView, ...]:
        """The same, as values."""
        return tuple(map(_view_decoder.decode, self.encoded(after, limit)))

    def frame(self, after: int, last: int) -> bytes:
        """The reports after `after` up to `last` as a JSON array; readers that are equally far share it."""
        key = (after, last)
        frame = self._frames.get(key)
        if frame is None:
            frame = b"[" + b",".join(self.encoded(after, last - after)) + b"]"
            if len(self._frames) >= FRAMES_REMEMBERED:
                del self._frames[next(iter(self._frames))]
            self._frames[key] = frame
        return frame
