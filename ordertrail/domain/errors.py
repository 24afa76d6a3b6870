"""Our exceptions.

OrdertrailError
├── InvalidOrder        the caller's fault, with a pointer to each field
├── DatabaseAnswered    the database said no: the step has failed
├── DatabaseLost        no answer that proves anything: the step may have happened
└── CannotStart         a sentence for the person who starts the process
"""

from dataclasses import dataclass


class OrdertrailError(Exception):
    """What all of ours have in common."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with a request: `pointer` is a JSON pointer (RFC 6901), `detail` a sentence."""

    pointer: str
    detail: str


class InvalidOrder(OrdertrailError):
    """The request is no order."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.pointer or '(body)'} {p.detail}" for p in problems))
        self.problems = problems


class DatabaseAnswered(OrdertrailError):
    """The database answered with an error; nothing of the statement remains. `code` is its SQLSTATE."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    @property
    def is_about_the_data(self) -> bool:
        """Whether the same would be refused again: SQLSTATE classes 22 (data exception) and 23 (integrity).

        All else may pass: a deadlock, a server short of memory, one that is read-only until it is promoted.
        """
        return self.code[:2] in {"22", "23"}


class DatabaseLost(OrdertrailError):
    """The database gave no answer. `may_have_happened` is False where the statement was provably never sent."""

    def __init__(self, text: str, *, may_have_happened: bool) -> None:
        super().__init__(text)
        self.may_have_happened = may_have_happened


class CannotStart(OrdertrailError):
    """The process cannot start; the text says why and what to do."""
