"""What is printed goes to the writer, whole lines at a time, and never raises."""

# ruff: noqa: T201 - it prints

import logging
import sys

import pytest

from ordertrail.runtime.telemetry import streams
from ordertrail.runtime.telemetry.log_writer import LogWriter
from ordertrail.runtime.telemetry.repeats import LINES_MAX


class Printed:
    def __init__(self) -> None:
        self._content = b""
        self.writer = LogWriter(self._take)

    def _take(self, content: bytes) -> int:
        self._content += content
        return len(content)

    @property
    def lines(self) -> list[str]:
        assert self.writer.flush(30)
        return self._content.decode().splitlines()


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Printed:
    printed = Printed()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(streams, "writer_of", lambda _: printed.writer)
    return printed


def test_whatever_is_printed_goes_to_the_writer(printed: Printed) -> None:
    handler = logging.StreamHandler(sys.stderr)
    logging.root.addHandler(handler)
    try:
        streams.protect()

        print("a line")
        print("begun,", end=" ", file=sys.stderr)
        print("and ended", file=sys.stderr)
        sys.stdout.buffer.write(b"bytes\n")
        logging.root.warning("of a library")
    finally:
        logging.root.removeHandler(handler)

    assert printed.lines == ["a line", "begun, and ended", "bytes", "of a library"]


def test_half_a_pair_does_not_raise(printed: Printed) -> None:
    streams.protect()

    print("\ud800")

    assert printed.lines == ["\\ud800"]


def test_second_time_changes_nothing(printed: Printed) -> None:
    streams.protect()
    before = sys.stdout, sys.stderr

    streams.protect()

    assert (sys.stdout, sys.stderr) == before


def test_what_is_flushed_is_written_though_it_is_no_line(printed: Printed) -> None:
    streams.protect()

    print("a question: ", end="", flush=True)

    assert printed.lines == ["a question: "]


def test_same_line_a_thousand_times_is_one_with_a_count(printed: Printed) -> None:
    streams.protect()
    assert isinstance(sys.stderr, streams.QueuedStream)

    for _ in range(1000):
        print("the same", file=sys.stderr)
    sys.stderr._repeats.close_window(0)

    assert printed.lines == ["the same"] * LINES_MAX + [f"the same ({1000 - LINES_MAX} times more in 10 seconds)"]
