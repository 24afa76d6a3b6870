"""Open loop: requests are due at a constant rate, whatever the server does. It measures latency without omission.

A request that finds all connections busy waits for one, and its latency counts from when it was due.
"""
# mypy: disable-error-code="import-not-found, unused-ignore"
# hdrhistogram is installed for benchmarks only.

import select
import time
from array import array
from collections import deque
from collections.abc import Callable

from hdrh.histogram import HdrHistogram

from bench.load.connections import Connections
from bench.load.result import OpenResult

DRAIN_SECONDS_MAX = 30.0
_MICROSECONDS_MAX = 120_000_000
_QUANTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}


class OpenLoop:
    """One run at one rate."""

    def __init__(self, opened: Connections, next_request: Callable[[], bytes], rate: float) -> None:
        self._opened = opened
        self._next_request = next_request
        self._interval = 1 / rate
        self._rate = rate
        # First in, first out: all connections, and so all workers, get the same share.
        self._free = deque(opened.sockets)
        self._due_at: dict[int, float] = {}
        self._dues = array("d")
        self._latencies = array("d")
        self._lags = array("d")
        self._waited = 0

    def run(self, *, warm_seconds: float, seconds: float) -> OpenResult:
        """Send on time for `warm_seconds + seconds`; what was due in the warm-up is not counted."""
        start = time.perf_counter()
        counted_from = start + warm_seconds
        end = counted_from + seconds
        cpu_before = time.process_time()
        due = start
        number_sent = 0
        had_to_wait = False
        while due < end:
            now = time.perf_counter()
            if not self._free:
                if not self._opened.sockets:
                    break
                had_to_wait = True
                self._receive(self._opened.epoll.poll(1.0))
                if now - due > DRAIN_SECONDS_MAX:
                    break
                continue
            if now < due:
                # epoll's own timeout is in whole milliseconds; select, asked about the epoll, has microseconds.
                select.select([self._opened.epoll], [], [], due - now)
                self._receive(self._opened.epoll.poll(0))
                continue
            number = self._free.popleft()
            self._due_at[number] = due
            self._opened.send(number, self._next_request())
            if due >= counted_from:
                if had_to_wait:
                    self._waited += 1
                else:
                    self._lags.append(now - due)
            had_to_wait = False
            number_sent += 1
            due = start + number_sent * self._interval
            if number_sent & 7 == 0:
                self._receive(self._opened.epoll.poll(0))
        cpu_share = (time.process_time() - cpu_before) / (time.perf_counter() - start)
        self._finish()
        counted = [latency for at, latency in zip(self._dues, self._latencies, strict=True) if at >= counted_from]
        return OpenResult(
            rate_wanted=self._rate,
            rate_answered=len(counted) / seconds,
            generator_cpu_share=cpu_share,
            statuses_in_all=self._opened.by_status(),
            lost=self._opened.lost,
            latency_ms=_summarise(counted),
            send_lag_ms=_summarise(self._lags),
            waited_for_connection=self._waited,
        )

    def _receive(self, events: list[tuple[int, int]]) -> None:
        receive = self._opened.receive
        for number, _ in events:
            if receive(number) is not None:
                now = time.perf_counter()
                due = self._due_at.pop(number)
                self._dues.append(due)
                self._latencies.append(now - due)
                self._free.append(number)
            elif number not in self._opened.sockets:
                self._due_at.pop(number, None)  # the server closed it; the connections count it as lost

    def _finish(self) -> None:
        deadline = time.perf_counter() + DRAIN_SECONDS_MAX
        while self._due_at and time.perf_counter() < deadline:
            self._receive(self._opened.epoll.poll(0.1))
        self._opened.drain(0)


def _summarise(seconds: "list[float] | array[float]") -> dict[str, float]:
    """Percentiles in milliseconds, to three digits."""
    if not seconds:
        return {}
    histogram = HdrHistogram(1, _MICROSECONDS_MAX, 3)
    for value in seconds:
        histogram.record_value(min(max(1, round(value * 1e6)), _MICROSECONDS_MAX))
    found = {name: histogram.get_value_at_percentile(q) / 1000 for name, q in _QUANTILES.items()}
    return {**found, "max": max(seconds) * 1000, "mean": sum(seconds) / len(seconds) * 1000}
