"""Execution reports as they come: what a reader of the socket is sent, and a reader in this process just the same.

A reader that is slow is read for from the execution log, wherever it is; nothing is queued for it.
"""

import asyncio
from collections import deque
from math import inf

from simulated_exchange.exchange import Exchange
from simulated_exchange.execution_log import ExecutionLog
from simulated_exchange.faults import FrameFault
from simulated_exchange.log import Log, LogError
from simulated_exchange.noise import Noise
from simulated_exchange.results import Compacted, OtherEpoch

HEARTBEAT_SECONDS = 1.0
FRAME_REPORTS_MAX = 500


class ConnectionCut(ConnectionError):
    """The connection breaks here, as a network's does."""


class Publisher:
    """How far the execution log may be shown, which is as far as it is durable; and who waits for more."""

    def __init__(self, exchange: Exchange, log: Log) -> None:
        self.exchange = exchange
        self._flood_frame = FRAME_REPORTS_MAX
        self._flood_through: float = 0
        self.executions: ExecutionLog = exchange.executions_log
        self.shown = 0
        self.failure: LogError | None = None
        self.is_stopped = False
        self._log = log
        # In the order of their coming, so that equal runs are equal.
        self._followers: dict[Following, None] = {}
        self._publishing: asyncio.Task[None] | None = None
        self._noise_through = 0

    async def follow(self, after: int, epoch: str | None) -> "Following | OtherEpoch | Compacted":
        """LogError where the log is broken."""
        await self._show()
        refused = self.executions.refusal(after, epoch)
        if refused is not None:
            return refused
        following = Following(self, after)
        self._followers[following] = None
        self.exchange.on_report = self._begin
        # Of what came while nobody followed, nobody was called.
        self._begin()
        return following

    def leave(self, following: "Following") -> None:
        """The reader has gone; harmless if repeated."""
        self._followers.pop(following, None)
        if not self._followers:
            self.exchange.on_report = None

    def frame_size(self, after: int) -> int:
        """How many reports after this one are in a frame at most."""
        return self._flood_frame if after < self._flood_through else FRAME_REPORTS_MAX

    def flood_begins(self, frame: int) -> None:
        """From now on frames have this size."""
        self._flood_frame, self._flood_through = frame, inf

    def flood_ends(self) -> None:
        """Those that come later have not."""
        self._flood_through = self.exchange.executions_log.head

    def slowest_is_behind(self, reports: int) -> bool:
        """Whether a reader has more than that before it."""
        limit = self.exchange.executions_log.head - reports
        return any(following.position < limit for following in self._followers)

    def make_noise(self, noise: Noise, last: int) -> None:
        """A report that comes of nothing, once for all that was reported up to `last`; or noise would make noise."""
        if last <= self._noise_through or self.executions is not self.exchange.executions_log:
            return
        [about] = self.executions.views(last - 1, 1)
        self.exchange.report_noise(noise, about)
        self._noise_through = self.executions.head

    def stop(self) -> None:
        """Every reader comes to its end."""
        self.is_stopped = True
        self._wake_all()

    async def close(self) -> None:
        """Call once, after `stop`."""
        if self._publishing is not None:
            await asyncio.gather(self._publishing, return_exceptions=True)

    def _begin(self) -> None:
        if self._publishing is None:
            self._publishing = asyncio.get_running_loop().create_task(self._publish())

    async def _publish(self) -> None:
        try:
            while self.executions is not self.exchange.executions_log or self.shown < self.executions.head:
                await self._show()
                self._wake_all()
        except LogError as problem:
            self.failure = problem
            self._wake_all()
        finally:
            self._publishing = None

    async def _show(self) -> None:
        executions = self.exchange.executions_log
        head = executions.head
        if self._log.pending:
            await self._log.durable()
        if self.executions is not executions:
            self.executions, self.shown, self._noise_through = executions, 0, 0
        self.shown = max(self.shown, head)

    def _wake_all(self) -> None:
        for following in self._followers:
            following.wake()


class Following:
    """A connection over which reports come: `async for frame in following`, each the JSON text of a frame in bytes.

    The first is `{"epoch", "head"}`; then come arrays of reports, and `{"epoch", "head"}` as a heartbeat. The end of
    the epoch, or of the exchange, is the end of the iteration; LogError where the log is broken; ConnectionCut
    where the connection is. `__anext__` may be cancelled, and nothing is lost by that. `close` must be called.
    """

    def __init__(self, publisher: Publisher, after: int) -> None:
        self.epoch = publisher.executions.epoch
        self.head = publisher.shown
        self._publisher = publisher
        self._executions = publisher.executions
        self.position = after
        self._ready: deque[bytes] = deque((self._heartbeat(),))
        self._waiting: asyncio.Future[None] | None = None
        self._heartbeat_at = 0.0
        self._stalled_until = 0.0
        self._held: bytes | None = None

    def __aiter__(self) -> "Following":
        return self

    async def __anext__(self) -> bytes:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # a reader with much to catch up on lets the others go on
        while not self._ready:
            publisher = self._publisher
            if publisher.failure is not None:
                raise publisher.failure
            if publisher.is_stopped or publisher.executions is not self._executions:
                raise StopAsyncIteration
            if self.position < self._executions.dropped:
                raise StopAsyncIteration  # too slow: it is told what is kept when it comes again
            now = loop.time()
            if now >= self._heartbeat_at:
                self._let_go()
                self._ready.append(self._heartbeat())
                self._heartbeat_at = now + HEARTBEAT_SECONDS
            elif now < self._stalled_until:
                await self._wait(min(self._heartbeat_at, self._stalled_until) - now)
            elif self.position < publisher.shown:
                self._read(now)
            else:
                await self._wait(self._heartbeat_at - now)
        if not self._heartbeat_at:
            self._heartbeat_at = loop.time() + HEARTBEAT_SECONDS
        return self._ready.popleft()

    def wake(self) -> None:
        """There may be something to read."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """The reader has gone; harmless if repeated."""
        self._publisher.leave(self)

    def _read(self, now: float) -> None:
        """Make the next frame ready, or what a fault leaves of it."""
        publisher = self._publisher
        after = self.position
        last = min(publisher.shown, after + publisher.frame_size(after))
        frames: list[bytes] = []
        match publisher.exchange.dice.frame():
            case None:
                frames = [self._executions.frame(after, last)]
            case FrameFault.GAP:
                pass
            case FrameFault.DUPLICATE:
                frames = [self._executions.frame(after, last)] * 2
            case FrameFault.SHUFFLE:
                frames = self._shuffled(after, last)
            case FrameFault.STALL:
                self._stalled_until = now + publisher.exchange.faults.socket.stall_seconds
                return
            case FrameFault.CUT:
                raise ConnectionCut("cut on purpose")
            case FrameFault.GARBAGE:
                frames = [_garbage(self._executions.frame(after, last))]
            case FrameFault.UNKNOWN_TYPE | FrameFault.STRANGER as noise:
                frames = [self._executions.frame(after, last)]
                publisher.make_noise(Noise(noise.value), last)
        self.position = last
        self._ready.extend(frames)
        if frames and self._held is not None:
            self._let_go()

    def _shuffled(self, after: int, last: int) -> list[bytes]:
        """The reports in another order, or the frame after its successor."""
        dice = self._publisher.exchange.dice
        if self._held is None and (last - after == 1 or dice.coin()):
            self._held = self._executions.frame(after, last)
            return []
        return [b"[" + b",".join(dice.shuffled(self._executions.encoded(after, last - after))) + b"]"]

    def _let_go(self) -> None:
        if self._held is not None:
            self._ready.append(self._held)
            self._held = None

    def _heartbeat(self) -> bytes:
        return b'{"epoch":"%s","head":%d}' % (self.epoch.encode(), self._publisher.shown)

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None


def _garbage(frame: bytes) -> bytes:
    """As of a proxy that fails in the middle: no JSON, whatever the frame was."""
    return frame[: len(frame) // 2] + b"<html>502 Bad Gateway</html>"
