"""The operations on what the exchange sent and nobody can understand, each one transaction; PostgreSQL implements them.

Such a thing is kept as it came, once, until an operator closes it; nothing is ever read into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ordertrail.domain.operator_action import Operator

PARKED_OPEN_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ParkedThing:
    """What could not be understood. `kind` is an open word; what has the same `fingerprint` is the same thing."""

    kind: str
    field: str | None
    reason: str
    raw: bytes
    fingerprint: bytes
    order_id: str | None = None
    epoch: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class ParkedView:
    """A thing that is kept, for a person."""

    id: int
    parked_at: datetime
    venue: str
    kind: str
    field: str | None
    reason: str
    raw: bytes
    order_id: str | None
    epoch: str | None
    seq: int | None
    closed_at: datetime | None
    closed_by: str | None
    evidence: str | None


class ParkedRows(Protocol):
    """What those who hear the exchange, and the operator, need of a database."""

    async def park(
        self, venue: str, things: Sequence[ParkedThing], *, new_max: int, open_max: int = PARKED_OPEN_MAX
    ) -> dict[bytes, bool]:
        """Keep things, each once for ever; returns the fingerprints of those that are kept, and whether they are new.

        No more than `new_max` are new, and none where `open_max` are open.
        """
        ...

    async def count_parked(self) -> int:
        """How many are open, counted up to PARKED_OPEN_MAX."""
        ...

    async def parked(self, *, limit: int, is_open: bool = True) -> list[ParkedView]:
        """Things that are kept, oldest first; not `is_open`: closed ones, too."""
        ...

    async def parked_thing(self, parked_id: int) -> ParkedView | None:
        """One of them."""
        ...

    async def close_parked(self, parked_id: int, *, operator: Operator, evidence: str) -> bool:
        """Close one, with the operator's action in the same transaction; False: none such is open."""
        ...
