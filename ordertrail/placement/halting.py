"""Halting: it returns when nothing that was begun before it can leave any more.

No process has to be told: the statements that record and that claim read the switch, so what has not seen the halt was
begun before it, and may not leave after its `send_by`.

What if we die here: the halt is committed first, and stands; only nobody waits for what is under way.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from ordertrail.domain.operator_action import Operator
from ordertrail.domain.switch import Switch
from ordertrail.runtime.clock import Clock
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.switch_rows import SwitchRows, Turned, UnderWay

POLL_SECONDS = 0.1
TURNS_MAX = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Halted:
    """Placing is halted. `under_way`: what was left when the wait was over; None: that could not be read."""

    at: datetime
    under_way: UnderWay | None


class Halting:
    """Turns the switch, and waits until a halt means that nothing leaves; `send_seconds`: how long a send may wait."""

    def __init__(self, rows: SwitchRows, clock: Clock, *, send_seconds: float) -> None:
        self._rows = rows
        self._clock = clock
        self._send_seconds = send_seconds

    async def resume(self, operator: Operator, reason: str | None, *, before: Switch) -> Switch | None:
        """Place again, if the switch stands as it did `before`. Raises StatementFailed and StatementOutcomeUnknown.

        Returns the newer halt where one stands, and then has changed nothing; None: orders are placed.
        """
        if await self._repeat(lambda: self._rows.resume(operator, reason, before=before)):
            return None
        # Ours has been done before its answer was lost, or it is somebody else's turn that stands.
        standing = await self._rows.read()
        return standing if standing.is_halted else None

    async def halt(self, operator: Operator, reason: str | None) -> Turned:
        """Place nothing that is recorded from now on. Raises StatementFailed and StatementOutcomeUnknown."""
        return await self._repeat(lambda: self._rows.halt(operator, reason))

    async def wait(self, halt: Turned, *, on_wait: Callable[[], None] = lambda: None) -> Halted:
        """Wait until nothing can leave any more that was begun before the halt; `on_wait`: it takes a while."""
        # Whoever has not seen the halt has begun before it, and its window with it: its own clock says so as ours does.
        own_end = self._clock.monotonic() + self._send_seconds
        end = halt.at + timedelta(seconds=self._send_seconds)
        last_send_by: datetime | None = None
        is_first = True
        while True:
            try:
                under_way = await self._rows.under_way(halt)
            except (StatementFailed, StatementOutcomeUnknown):
                if self._clock.monotonic() >= own_end:
                    return Halted(halt.at, None)
            else:
                if not under_way.has_earlier_statements or under_way.at >= end:
                    # All that has not seen the halt is counted. What comes later has seen it: nobody waits for it.
                    last_send_by = last_send_by or under_way.last_send_by
                    if last_send_by is None or under_way.startable == 0 or under_way.at >= last_send_by:
                        return Halted(halt.at, under_way)
            if is_first:
                on_wait()
            is_first = False
            await self._clock.sleep(POLL_SECONDS)

    async def _repeat(self, turn: Callable[[], Awaitable[T]]) -> T:
        for _ in range(TURNS_MAX - 1):
            try:
                return await turn()
            except StatementOutcomeUnknown as error:
                if not error.may_have_happened:
                    raise
        return await turn()
