"""Closed loop: every connection sends its next request as soon as it has its answer. It measures the top rate."""

import time
from collections.abc import Callable

from bench.load.connections import Connections
from bench.load.result import ClosedResult

DRAIN_SECONDS_MAX = 30.0


def run_closed(
    opened: Connections, next_request: Callable[[], bytes], *, warm_seconds: float, seconds: float
) -> ClosedResult:
    """Warm up, count what is answered within `seconds`, then wait for what is still under way."""
    start = time.perf_counter()
    numbers = list(opened.sockets)
    for begun, number in enumerate(numbers):
        # Spread over half of the warm-up, or a slow exchange answers everybody at the same moment for ever.
        _run_until(opened, next_request, start + warm_seconds / 2 * begun / len(numbers))
        opened.send(number, next_request())
    _run_until(opened, next_request, start + warm_seconds)

    before, cpu_before, from_seconds = opened.answers.copy(), time.process_time(), time.perf_counter()
    _run_until(opened, next_request, from_seconds + seconds)
    measured = time.perf_counter() - from_seconds
    cpu = time.process_time() - cpu_before
    within = opened.answers - before

    opened.drain(DRAIN_SECONDS_MAX)
    return ClosedResult(
        seconds=measured,
        generator_cpu_share=cpu / measured,
        statuses={status.decode(): count for status, count in sorted(within.items())},
        statuses_in_all=opened.by_status(),
        lost=opened.lost,
    )


def _run_until(opened: Connections, next_request: Callable[[], bytes], end: float) -> None:
    """Give the next request to each connection that is ready."""
    poll, receive, send, clock = opened.epoll.poll, opened.receive, opened.send, time.perf_counter
    while (left := end - clock()) > 0:
        for number, _ in poll(left):
            if receive(number) is not None:
                send(number, next_request())
