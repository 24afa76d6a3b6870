"""The queue between what is said and where it is written: what it keeps, what it drops, and what it says of that."""

import os
import threading

from ordertrail.runtime.telemetry.log_writer import LogWriter
from tests.support.until import until


class Sink:
    """One that takes, refuses or holds up what is written, as a test says."""

    def __init__(self) -> None:
        self.written = b""
        self.refuses: OSError | None = None
        self.may_write = threading.Event()
        self.may_write.set()
        self.entered = threading.Event()

    def write(self, content: bytes) -> int:
        self.entered.set()
        assert self.may_write.wait(30)
        if self.refuses is not None:
            raise self.refuses
        self.written += content
        return len(content)

    @property
    def lines(self) -> list[bytes]:
        return self.written.splitlines()


def test_lines_are_written_in_their_order() -> None:
    sink = Sink()
    writer = LogWriter(sink.write)

    for number in range(1000):
        writer.put(b"%d\n" % number)

    assert writer.flush(30)
    assert sink.lines == [b"%d" % number for number in range(1000)]


def test_sink_that_takes_a_part_gets_the_rest() -> None:
    written: list[bytes] = []

    def write(content: bytes) -> int:
        written.append(content[:3])
        return len(content[:3])

    writer = LogWriter(write)
    writer.put(b"a long line\n")

    assert writer.flush(30)
    assert b"".join(written) == b"a long line\n"


def test_stalled_sink_holds_nobody_up_and_what_finds_the_queue_full_is_counted() -> None:
    sink = Sink()
    sink.may_write.clear()
    writer = LogWriter(sink.write, records_max=10)
    writer.put(b"under way\n")
    assert sink.entered.wait(30)

    for number in range(25):
        writer.put(b"%d\n" % number)

    assert writer.dropped == 15
    assert not writer.flush(0)
    sink.may_write.set()
    assert writer.flush(30)
    assert sink.lines == [b"under way", *(b"%d" % number for number in range(10)), b"15 log records were dropped"]


def test_bytes_are_bounded_too() -> None:
    sink = Sink()
    sink.may_write.clear()
    writer = LogWriter(sink.write, bytes_max=1000)

    for _ in range(100):
        writer.put(b"x" * 99 + b"\n")

    assert writer.dropped >= 80
    sink.may_write.set()
    assert writer.flush(30)


def test_sink_that_fails_is_tried_again_and_nothing_is_torn() -> None:
    sink = Sink()
    sink.refuses = BrokenPipeError()
    writer = LogWriter(sink.write)
    writer.put(b"first\n")
    assert sink.entered.wait(30)

    writer.put(b"second\n")
    sink.refuses = None

    assert writer.flush(30)
    assert sink.lines == [b"first", b"second"]
    assert writer.dropped == 0


def test_last_record_is_what_a_full_log_drops_last() -> None:
    sink = Sink()
    sink.may_write.clear()
    writer = LogWriter(sink.write, records_max=5)
    writer.put(b"under way\n")
    assert sink.entered.wait(30)
    for _ in range(10):
        writer.put(b"ordinary\n")

    writer.put_last_record(b"the trail\n")

    sink.may_write.set()
    assert writer.flush(30)
    assert sink.lines[:2] == [b"under way", b"the trail"]
    assert sink.lines.count(b"ordinary") == 5


def test_flush_of_a_sink_that_is_gone_is_bounded() -> None:
    sink = Sink()
    sink.refuses = OSError(28, "no space")
    writer = LogWriter(sink.write)
    writer.put(b"line\n")

    assert not writer.flush(0.05)
    sink.refuses = None
    assert writer.flush(30)


def test_writer_that_is_closed_tries_no_more_and_drops_what_is_left() -> None:
    sink = Sink()
    sink.refuses = OSError(28, "no space")
    writer = LogWriter(sink.write)
    writer.put(b"line\n")
    assert sink.entered.wait(30)

    assert not writer.close(0.05)

    until(lambda: writer._thread is not None and not writer._thread.is_alive())
    assert writer.is_idle
    writer.put(b"too late\n")
    writer.put_last_record(b"too late\n")
    assert writer.dropped == 2 and writer.waiting == 0


def test_error_that_is_no_sinks_ends_no_thread() -> None:
    lines: list[bytes] = []
    broken = [TypeError("a bug")]

    def write(content: bytes) -> int:
        if broken:
            raise broken.pop()
        lines.append(content)
        return len(content)

    writer = LogWriter(write)
    writer.put(b"line\n")

    until(lambda: lines == [b"line\n"])


def test_child_that_was_forked_writes_its_own_lines_only() -> None:
    sink = Sink()
    sink.may_write.clear()
    reader, pipe = os.pipe()
    writer = LogWriter(sink.write)
    writer.put(b"of the parent\n")
    assert sink.entered.wait(30)
    writer.put(b"of the parent too\n")

    child = os.fork()
    if child == 0:
        writer._write = lambda content: os.write(pipe, content)
        writer.put(b"of the child\n")
        os._exit(0 if writer.flush(30) else 1)

    _, status = os.waitpid(child, 0)
    os.close(pipe)
    with os.fdopen(reader, "rb") as said:
        assert (status, said.read()) == (0, b"of the child\n")
    sink.may_write.set()
    assert writer.flush(30)
    assert sink.lines == [b"of the parent", b"of the parent too"]
