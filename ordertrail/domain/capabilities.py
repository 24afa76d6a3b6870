"""What a venue promises, as data; what may be done with an order in doubt follows from it."""

from dataclasses import dataclass
from typing import Literal

UNBOUNDED = float("inf")
# What is longer than a calendar has room for is for ever.
FOR_EVER_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A venue's promises. The defaults are the weakest: they promise nothing.

    `client_order_id_unique`: for how long a used id is refused again; a number is in seconds.
    `visible_within_seconds`: an accepted order can be queried after this long at the latest.
    `accepts_within_seconds`: a request that reached the venue is accepted after this long at the latest, or never.
    `honours_accept_by`: an order not accepted by its `accept_by` is refused.
    `epoch`: changes when the venue forgets its history.
    `replays_executions`: its socket sends again what came before, from any position on; else orders are queried.
    `exec_id_unique`: an exec id is never used again for an order, or only within an epoch.
    """

    epoch: str = ""
    client_order_id_unique: Literal["forever", "while_open", "never"] | float = "never"
    visible_within_seconds: float = UNBOUNDED
    accepts_within_seconds: float = UNBOUNDED
    honours_accept_by: bool = False
    replays_executions: bool = True
    exec_id_unique: Literal["order", "epoch"] = "order"

    @property
    def need_not_show_orders(self) -> bool:
        """Whether it may never show an order that it has accepted, as where only open ones can be queried."""
        return self.visible_within_seconds > FOR_EVER_SECONDS


PROMISES_NOTHING = Capabilities()
