"""The operations of comparing executions with the venue's, each one transaction; PostgreSQL implements them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ExecutionKey:
    """What makes an execution one within its session; of rising keys a walk goes on after the last."""

    order_id: str
    session: int
    exec_id: str


FIRST_KEY = ExecutionKey("", -1, "")


@dataclass(frozen=True, slots=True)
class KeptExecution:
    """A row of `executions`, as far as it is compared. `is_counted`: it is one of those that the walk counts."""

    order_id: str
    exec_id: str
    seq: int | None
    exec_type: str
    last_qty: int
    last_px: Decimal | None
    exec_ref_id: str | None
    is_counted: bool


@dataclass(frozen=True, slots=True)
class ComparedRange:
    """Reports of one epoch; rows that were recorded since `begun_at` are compared, and not counted."""

    venue: str
    epoch: str
    session: int
    first: int
    last: int
    begun_at: datetime


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison came to, as `execution_comparisons` has it."""

    venue: str
    epoch: str
    up_to_seq: int
    reports: int
    missing: int
    different: int
    unknown: int
    details: Mapping[str, Any] = field(default_factory=dict)
    compared_at: datetime | None = None

    @property
    def is_equal(self) -> bool:
        """Whether all that the venue has is here as it has it, and nothing else."""
        return not self.missing and not self.different and not self.unknown


class ComparisonRows(Protocol):
    """What a comparison needs of a database."""

    async def epoch_session(self, venue: str, epoch: str) -> tuple[int, datetime] | None:
        """The session of an epoch, and the time by the database's clock; None: nothing of it was ever applied."""
        ...

    async def kept(
        self, compared: ComparedRange, *, order_ids: Sequence[str], exec_ids: Sequence[str], first: int, last: int
    ) -> list[KeptExecution]:
        """Rows of these orders that have one of these exec ids, or a `seq` of the epoch from `first` to `last`."""
        ...

    async def parked_seqs(self, compared: ComparedRange, seqs: Sequence[int]) -> set[int]:
        """Which of them are parked, open or closed."""
        ...

    async def count_kept(self, compared: ComparedRange, after: ExecutionKey) -> tuple[int, ExecutionKey | None]:
        """How many of the next rows are of the range, and the last of them; None: there are no more."""
        ...

    async def keep_comparison(self, comparison: Comparison) -> None:
        """Keep what one came to."""
        ...

    async def newest_comparison(self, venue: str) -> Comparison | None:
        """What the last one came to; None: there has been none."""
        ...
