"""What a process does every so many seconds beside its work, each thing however the others and its last time went."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ordertrail.runtime.clock import Clock

# What is done seldom is tried again sooner, where it failed.
FAILED_SECONDS_MAX = 60.0


class Trouble(Protocol):
    """What is said where a duty fails."""

    def report(self, error: Exception) -> None:
        """It went wrong, again perhaps."""
        ...

    def is_over(self) -> None:
        """It went well."""
        ...


@dataclass(slots=True)
class Duty:
    """Something that is done every so many seconds; at once, to begin with."""

    act: Callable[[], Awaitable[None]]
    every_seconds: float
    trouble: Trouble
    due_at: float = float("-inf")

    def make_due(self) -> None:
        """Do it the next time, however long that would have been."""
        self.due_at = float("-inf")


async def perform(duties: Iterable[Duty], clock: Clock) -> None:
    """Everything that is due; what fails is reported and due again, and the rest is done all the same."""
    for duty in duties:
        now = clock.monotonic()
        if now < duty.due_at:
            continue
        try:
            await duty.act()
        except Exception as error:  # noqa: BLE001 - said and counted
            duty.trouble.report(error)
            duty.due_at = now + min(duty.every_seconds, FAILED_SECONDS_MAX)
        else:
            duty.trouble.is_over()
            duty.due_at = now + duty.every_seconds
