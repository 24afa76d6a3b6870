"""What a line says; and that nothing that is in it can raise."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from typing_extensions import override

from ordertrail.runtime.telemetry import logs
from ordertrail.runtime.telemetry.log_writer import LogWriter
from ordertrail.runtime.telemetry.repeats import LINES_MAX, Repeats


class Recorded:
    """What was written."""

    def __init__(self) -> None:
        self._content = b""
        self.writer = LogWriter(self._take)

    def _take(self, content: bytes) -> int:
        self._content += content
        return len(content)

    @property
    def text(self) -> bytes:
        assert self.writer.flush(30)
        return self._content

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    recorded = Recorded()
    before = structlog.get_config()
    for name in ("_writer", "_console", "_says_info"):
        monkeypatch.setattr(logs, name, getattr(logs, name))
    monkeypatch.setattr(logs, "writer_of", lambda _: recorded.writer)
    monkeypatch.setattr(logs, "_repeats", Repeats(logs._report_repeats))
    logs.configure_logs(level="info", log_format="json")
    yield recorded
    structlog.configure(**before)


class Unshowable:
    @override
    def __str__(self) -> str:
        raise RuntimeError("no text of it")

    __repr__ = __str__


def cyclic() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["itself"] = found
    return found


def test_line_has_its_sentence_level_time_and_fields(recorded: Recorded) -> None:
    logs.get_logger().warning("a sentence", order_id="O-1", count=2)

    [line] = recorded.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "a sentence", "level": "warning", "order_id": "O-1", "count": 2}


def test_quick_way_says_the_same(recorded: Recorded) -> None:
    logs.info("a sentence", order_id="O-1")

    [line] = recorded.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "a sentence", "level": "info", "order_id": "O-1"}


@pytest.mark.parametrize("say", [logs.info, logs.last_record, lambda *a, **k: logs.get_logger().error(*a, **k)])
@pytest.mark.parametrize(
    "value",
    [Unshowable(), "\ud800 half a pair", cyclic(), 1 << 400, {Unshowable(): 1}, b"\xff", "x" * 10**6, float("nan")],
    ids=["unshowable", "surrogate", "cycle", "huge number", "odd key", "bytes", "long", "nan"],
)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_that_a_line_holds_can_raise(recorded: Recorded, say: Any, value: object, log_format: str) -> None:
    logs.configure_logs(level="info", log_format=log_format)

    say("a sentence", order_id="O-1", value=value)

    assert b"a sentence" in recorded.text and b"O-1" in recorded.text
    assert recorded.text.count(b"\n") == 1
    assert len(recorded.text) <= logs.LINE_BYTES_MAX


def test_exception_whose_text_raises_is_logged(recorded: Recorded) -> None:
    class Odd(Exception):
        @override
        def __str__(self) -> str:
            raise RuntimeError

    logs.get_logger().error("it failed", exc_info=Odd())

    [line] = recorded.lines
    assert line["event"] == "it failed" and line["level"] == "error"
    assert "Odd" in line["exception"]


def test_same_sentence_a_thousand_times_is_one_line_with_a_count(recorded: Recorded) -> None:
    for number in range(1000):
        logs.get_logger().critical("it is there", order_id=str(number))

    logs._repeats.close_window(0)

    assert len(recorded.lines) == LINES_MAX + 1
    assert recorded.lines[-1]["event"] == "it is there"
    assert recorded.lines[-1]["repeats"] == 1000 - LINES_MAX


def test_placed_orders_and_last_records_are_never_gathered(recorded: Recorded) -> None:
    for number in range(1000):
        logs.info("order placed", order_id=str(number))
        logs.last_record("the trail could not be written", order_id=str(number))

    assert len(recorded.lines) == 2000
