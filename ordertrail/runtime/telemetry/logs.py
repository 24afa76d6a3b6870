"""Structured logs: a fixed sentence plus fields, one line an event, JSON or text, to standard error."""

import logging
import sys
import time
from typing import Any

import msgspec
import structlog

_encoder = msgspec.json.Encoder(enc_hook=str)
_encode = _encoder.encode
_second: list[Any] = [0, ""]
_log = structlog.get_logger()
_writes_json_of_info = False


def configure_logs(*, level: str, log_format: str) -> None:
    """Set up logging for this process; call once, before the first line."""
    global _writes_json_of_info  # noqa: PLW0603 - as logging itself, one for the process
    _writes_json_of_info = log_format == "json" and getattr(logging, level.upper()) <= logging.INFO
    shared: list[Any] = [
        structlog.processors.add_log_level,
        _stamp,
        structlog.processors.format_exc_info,
    ]
    renderer: list[Any] = (
        [structlog.processors.JSONRenderer(serializer=_to_json)]
        if log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()), _to_bytes]
    )
    structlog.configure(
        processors=shared + renderer,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


def get_logger() -> Any:
    """A logger for a module; usable before `configure_logs`."""
    return structlog.get_logger()


def info(event: str, **fields: Any) -> None:
    """A line as a logger's own `info` writes it, for what is logged of every order: in a quarter of the time."""
    if not _writes_json_of_info:
        _log.info(event, **fields)
        return
    line = {**fields, "event": event, "level": "info"}
    _stamp(None, "", line)
    stream = sys.stderr.buffer
    stream.write(_encode(line) + b"\n")
    stream.flush()


def _stamp(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """RFC 3339 in UTC; only the fraction is written anew for each line of a second."""
    now = time.time()
    second = int(now)
    if second != _second[0]:
        _second[:] = [second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))]
    event["timestamp"] = f"{_second[1]}.{int((now - second) * 1_000_000):06d}Z"
    return event


def _to_json(event: dict[str, Any], **_: Any) -> bytes:
    return _encoder.encode(event)


def _to_bytes(_logger: object, _method: str, text: str) -> bytes:
    return text.encode()
