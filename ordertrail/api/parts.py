"""What the API serves: made elsewhere, ready to be used, and handed to the application."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.switch import Switch
from ordertrail.events.watching import Watching
from ordertrail.placement.admission import Admission
from ordertrail.placement.cancel_order import Canceling
from ordertrail.placement.order_intake import OrderIntake
from ordertrail.placement.place_order import Placing
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.storage.execution_reads import ExecutionReads
from ordertrail.storage.order_reads import OrderReads


@dataclass(frozen=True, slots=True)
class ApiParts:
    """The parts and the bounds of one process.

    `readiness_problems`: sentences that say why no orders can be taken now. `status`: what `/status` answers; it never
    waits for a database that is away. `start_draining`: from now on one of the sentences says that the process stops.
    `switch`: the operator's, as the process has read it last. `venue`: the exchange as a person knows it.
    `seconds_after_send_by`: how long an order may still be on its way after its `send_by`.
    """

    clock: Clock
    admission: Admission
    placing: Placing
    order_intake: OrderIntake
    canceling: Canceling
    reads: OrderReads
    execution_reads: ExecutionReads
    watching: Watching
    readiness_problems: Callable[[], list[str]]
    status: Callable[[], Awaitable[dict[str, Any]]]
    start_draining: Callable[[], None]
    switch: Callable[[], Switch]
    venue: str
    background: BackgroundTasks
    deadlines: Deadlines
    seconds_after_send_by: float
    body_bytes_max: int


# Open from the start of a server to its end, in its event loop.
OpenParts = Callable[[], AbstractAsyncContextManager[ApiParts]]
