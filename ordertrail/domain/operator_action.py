"""What operators do, and through which door: a row each in `operator_actions`, in the transaction of what was done."""

from dataclasses import dataclass
from enum import StrEnum


class OperatorAction(StrEnum):
    """What was done."""

    HALT = "halt"
    RESUME = "resume"
    RESOLVE = "resolve"
    CLOSE_PARKED = "close_parked"
    CLOSE_ORPHAN = "close_orphan"


class Origin(StrEnum):
    """The door through which an operator came."""

    CLI = "cli"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts."""

    name: str
    origin: Origin
