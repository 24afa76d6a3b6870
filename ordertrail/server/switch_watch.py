"""Has this process shed new orders while placing is halted, and tells who turned the switch.

What is recorded and claimed reads the switch by itself: nothing is sent because this one is late, or dead.
"""

from ordertrail.domain.switch import Switch
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.switch_rows import SwitchRows
from ordertrail.venues.gate.gate import Gate

_log = get_logger()


class SwitchWatch:
    """One process's; `switch` is how it was when it was read last."""

    def __init__(self, rows: SwitchRows, gate: Gate) -> None:
        self._rows = rows
        self._gate = gate
        self.switch = Switch()

    async def run_once(self) -> None:
        """Read the switch and obey it. Raises StatementFailed and StatementOutcomeUnknown."""
        switch = await self._rows.read()
        before, self.switch = self.switch, switch
        if switch.is_halted:
            self._gate.halt()
        else:
            self._gate.resume()
        # A process that starts where nobody has halted says nothing of a resume of long ago.
        if switch != before and (switch.is_halted or before.is_halted):
            _log.warning(
                "placing is halted" if switch.is_halted else "placing is resumed",
                at=None if switch.turned_at is None else switch.turned_at.isoformat(),
                operator=switch.operator,
                reason=switch.reason,
            )
