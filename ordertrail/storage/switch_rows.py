"""The operations on the operator's switch, each one transaction; PostgreSQL implements them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ordertrail.domain.operator_action import Operator
from ordertrail.domain.switch import Switch


@dataclass(frozen=True, slots=True)
class Turned:
    """Placing was halted; by the database's clock, and by which of its transactions."""

    at: datetime
    transaction: str


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What is still under way after a halt.

    `has_earlier_statements`: a statement is running that cannot have seen the halt; what it records is not counted yet.
    `startable`: sends that may still begin, by `last_send_by` at the latest; `unanswered`: sends without an answer.
    """

    at: datetime
    has_earlier_statements: bool
    startable: int
    last_send_by: datetime | None
    unanswered: int


class SwitchRows(Protocol):
    """What halting needs of a database."""

    async def read(self) -> Switch:
        """How the switch stands."""
        ...

    async def halt(self, operator: Operator, reason: str | None) -> Turned:
        """Halt, whatever stands; repeated after a lost answer it is the same once more."""
        ...

    async def resume(self, operator: Operator, reason: str | None, *, before: Switch) -> bool:
        """Resume, unless the switch was turned since it was read `before`: whether it is done."""
        ...

    async def under_way(self, halt: Turned) -> UnderWay:
        """What is under way that was begun before the halt, and what may be since."""
        ...
