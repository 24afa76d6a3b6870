"""Structured logs: a fixed sentence plus fields, one line an event, JSON or text, to standard error.

Nothing here raises, waits for the sink, or changes what happens to an order: a line is rendered, cut where it is long,
and put into a queue (`log_writer`). What cannot be rendered is shown as far as it can be.
"""

import contextlib
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog

from ordertrail.runtime.telemetry.log_writer import FLUSH_SECONDS, LogWriter, flush_all
from ordertrail.runtime.telemetry.repeats import WINDOW_SECONDS, Repeats
from ordertrail.runtime.telemetry.streams import STDERR, writer_of

LINE_BYTES_MAX = 16 * 1024
FIELD_CHARS_MAX = 1000
FIELDS_MAX = 32

_UNSAYABLE = b'{"event":"a log line could not be rendered"}\n'
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

_encoder = msgspec.json.Encoder(enc_hook=str)
_encode = _encoder.encode
_second: tuple[int, str] = (0, "")
# Where text is written instead of JSON; until it is configured, as for a command of a person.
_console: Any = structlog.dev.ConsoleRenderer(colors=False)
_writer: LogWriter | None = None
_says_info = False


def configure_logs(*, level: str, log_format: str) -> None:
    """Set up logging for this process; call once, before the first line."""
    global _console, _says_info, _writer  # noqa: PLW0603 - as logging itself, one for the process
    _console = None if log_format == "json" else structlog.dev.ConsoleRenderer(colors=_is_terminal())
    _says_info = _LEVELS[level] <= _LEVELS["info"]
    _writer = writer_of(STDERR)
    _writer.dropped_line = _dropped_line
    if _close_window not in _writer.on_tick:
        _writer.on_tick.append(_close_window)
    structlog.configure(
        processors=[_render_structlog],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )


def get_logger() -> Any:
    """A logger for a module; usable before `configure_logs`."""
    return structlog.get_logger()


def info(event: str, **fields: Any) -> None:
    """A line as a logger's own `info` writes it, for what is logged of every order: in a quarter of the time.

    These are never gathered into one, however many there are.
    """
    if _writer is None:
        _log.info(event, **fields)
    elif _says_info:
        fields["event"] = event
        fields["level"] = "info"
        _put(fields)


def last_record(event: str, **fields: Any) -> None:
    """A critical line about what stands nowhere else: of a log that is full, it is what is dropped last."""
    if _writer is None:
        _log.critical(event, **fields)
    else:
        _writer.put_last_record(_rendered({**fields, "event": event, "level": "critical"}))


def flush(timeout_seconds: float = FLUSH_SECONDS) -> None:
    """Have all lines written before the process ends in a way of its own; no longer than the timeout."""
    _repeats.close_window(time.monotonic())
    flush_all(timeout_seconds)


class _Lines:
    """What structlog takes for the logger to write to."""

    def __init__(self, *_: Any) -> None:
        pass

    def msg(self, line: bytes) -> None:
        _write(line)

    debug = info = warning = error = critical = exception = msg


def _render_structlog(_logger: object, method: str, fields: MutableMapping[str, Any]) -> bytes:
    """structlog's only processor; nothing: the line is left out."""
    line = dict(fields)
    event = str(line.get("event"))
    level = "error" if method == "exception" else method
    if _repeats.is_too_many(level, event, time.monotonic()):
        return b""
    line["level"] = level
    return _rendered(line)


def _put(line: dict[str, Any]) -> None:
    assert _writer is not None
    _writer.put(_rendered(line))


def _write(line: bytes) -> None:
    if _writer is not None:
        if line:
            _writer.put(line)
        return
    # No server of ours: a command, whose lines stand between what it prints.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(line.decode())


def _rendered(line: dict[str, Any]) -> bytes:
    _stamp(line)
    try:
        if "exc_info" in line:
            line = dict(structlog.processors.format_exc_info(None, "", line))
        rendered = _to_bytes(line)
        if len(rendered) <= LINE_BYTES_MAX:
            return rendered
    except Exception:  # noqa: BLE001 - it is rendered another way
        line.pop("exc_info", None)
    return _rendered_plainly(line)


def _to_bytes(line: dict[str, Any]) -> bytes:
    if _console is None:
        return _encode(line) + b"\n"
    text: str = _console(None, "", dict(line))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _rendered_plainly(line: dict[str, Any]) -> bytes:
    """The line with fields that are sure to be rendered: short, and of plain characters."""
    try:
        shown = {_plain(name): _plain(value) for name, value in list(line.items())[:FIELDS_MAX]}
        return _to_bytes(shown | {"event": _plain(line.get("event")), "timestamp": line.get("timestamp")})
    except Exception:  # noqa: BLE001 - there is nothing left to try
        return _UNSAYABLE


def _plain(value: object) -> str:
    try:
        text = value if type(value) is str else str(value)
        return text[:FIELD_CHARS_MAX].encode("utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001 - a value whose own text raises
        return f"<{type(value).__name__} that cannot be shown>"


def _stamp(line: dict[str, Any]) -> None:
    """RFC 3339 in UTC; only the fraction is written anew for each line of a second."""
    global _second  # noqa: PLW0603 - what all lines of a second share
    now = time.time()
    second = int(now)
    if second != _second[0]:
        _second = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    line["timestamp"] = f"{_second[1]}.{int((now - second) * 1_000_000):06d}Z"


def _dropped_line(count: int) -> bytes:
    return _rendered({"event": "log records were dropped", "level": "error", "records": count})


def _report_repeats(level: str, event: str, count: int) -> None:
    _write(_rendered({"event": event, "level": level, "repeats": count, "seconds": WINDOW_SECONDS}))


def _close_window() -> None:
    _repeats.close_window_if_over(time.monotonic())


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


_repeats = Repeats(_report_repeats)
structlog.configure(processors=[_render_structlog], logger_factory=_Lines)
_log = get_logger()
