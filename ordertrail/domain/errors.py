"""Our exceptions.

OrdertrailError
├── InvalidOrder        the caller's fault, with a pointer to each field
├── StatementFailed    (storage/errors.py) the database said no: the step has failed
├── StatementOutcomeUnknown        (storage/errors.py) no answer that proves anything: the step may have happened
└── CannotStart         (runtime/errors.py) a sentence for the person who starts the process
"""

from dataclasses import dataclass

from ordertrail.domain.order import Order


class OrdertrailError(Exception):
    """What all of ours have in common."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with a request: `pointer` is a JSON pointer (RFC 6901), `detail` a sentence."""

    pointer: str
    detail: str


class InvalidOrder(OrdertrailError):
    """The request is no order. `expired`: it would be one if its `place_by` had not passed, and may have been."""

    def __init__(self, problems: list[FieldProblem], *, expired: Order | None = None) -> None:
        super().__init__("; ".join(f"{p.pointer or '(body)'} {p.detail}" for p in problems))
        self.problems = problems
        self.expired = expired
