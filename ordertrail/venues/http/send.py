"""The body of a placing request, which knows whether its first byte has left.

aiohttp keeps a request's headers back until its body is written and hands over both in one step. So this is
the last moment before the first byte: what decides whether the order may still go is checked here, on a
connection that has been got, and not before waiting for one.
"""

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.payload import BytesPayload
from typing_extensions import override

from ordertrail.runtime.clock import Clock


class NotWrittenError(Exception):
    """The body was wanted when it could not leave any more."""


class SendOnce(BytesPayload):
    """An order's bytes, to be written at most once and not after `send_by` (monotonic seconds)."""

    def __init__(self, body: bytes, *, send_by: float, clock: Clock) -> None:
        super().__init__(body, content_type="application/json")
        self._send_by = send_by
        self._clock = clock
        self._is_closed = False
        self.has_begun = False
        self.window_has_passed = False

    def close_window(self) -> None:
        """From now on nothing can leave; `has_begun` is final."""
        self._is_closed = True

    @override
    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self.has_begun or self._is_closed or _is_gone(writer):
            raise NotWrittenError
        if self._clock.monotonic() >= self._send_by:
            self.window_has_passed = True
            raise NotWrittenError
        self.has_begun = True
        await super().write_with_length(writer, content_length)


def _is_gone(writer: AbstractStreamWriter) -> bool:
    """A kept connection may have been closed by the venue since it was got; writing to it would send nothing."""
    if not isinstance(writer, StreamWriter):
        return False
    transport = writer.transport
    return transport is None or transport.is_closing()
