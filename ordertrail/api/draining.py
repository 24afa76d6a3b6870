"""What a server that knows how to drain needs of the application; it finds it in the state of the lifespan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ordertrail.runtime.tasks import BackgroundTasks

_KEY = "drainable"


@dataclass(frozen=True, slots=True)
class Drainable:
    """`start_draining` makes /readyz say that the process stops; `orders_in_flight` gives the ids of what is begun.

    `background`: the tasks without which the process must not go on.
    """

    background: BackgroundTasks
    start_draining: Callable[[], None]
    orders_in_flight: Callable[[], list[str]]

    def as_state(self) -> dict[str, "Drainable"]:
        """For the lifespan to yield."""
        return {_KEY: self}


def drainable_of(state: Mapping[str, Any]) -> Drainable:
    """What the lifespan has yielded."""
    drainable = state[_KEY]
    assert isinstance(drainable, Drainable)
    return drainable
