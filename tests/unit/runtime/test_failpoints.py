"""What a test arms ends or stops the process at its place, and not before what the process has said is out."""

import os
import threading
from collections.abc import Iterator

import pytest

from ordertrail.runtime import failpoints
from ordertrail.runtime.telemetry.log_writer import LogWriter

WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_what_was_said_is_out_before_the_process_dies_or_stops(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, written_by_then = bytearray(), []
    is_wanted = threading.Event()

    def write_when_wanted(chunk: bytes) -> int:
        """As slow as a thread that has no turn."""
        is_wanted.wait(WAIT_SECONDS)
        written.extend(chunk)
        return len(chunk)

    writer = LogWriter(write_when_wanted)
    flush = writer.flush

    def want(seconds: float) -> bool:
        is_wanted.set()
        return flush(seconds)

    monkeypatch.setattr(writer, "flush", want)
    monkeypatch.setattr(os, "kill", lambda *_: written_by_then.append(bytes(written)))
    failpoints.arm_from(f"there={action}")

    writer.put(b"started\n")
    failpoints.reach("there")
    is_wanted.set()
    writer.close(WAIT_SECONDS)

    assert written_by_then == [b"started\n"]
