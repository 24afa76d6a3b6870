"""The operator's switch: how it stands, who turned it, when and why. Halted, nothing is placed."""

from dataclasses import dataclass
from datetime import datetime

REASON_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Switch:
    """As it was turned last; `turned_at` is the database's clock, and None where nobody has turned it yet.

    `id`: which turn it was, in the order of their commits.
    """

    is_halted: bool = False
    turned_at: datetime | None = None
    operator: str | None = None
    reason: str | None = None
    id: int | None = None

    @property
    def sentence(self) -> str:
        """One line for people: whether placing is halted; when, by whom and why."""
        if self.turned_at is None:
            return "Placing is not halted."
        deed = "Placing was halted" if self.is_halted else "Placing was resumed"
        at = self.turned_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{deed} at {at} by {as_line(self.operator or 'unknown')}{as_why(self.reason)}"


def as_why(reason: str | None) -> str:
    """The end of a sentence that may have a reason."""
    line = as_line(reason or "")
    return "." if not line else f": {line}" if line.endswith((".", "!", "?", "…")) else f": {line}."


def as_line(text: str) -> str:
    """What an operator wrote, as one line that can stand anywhere: of visible characters, and not too long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= REASON_LENGTH_MAX else line[: REASON_LENGTH_MAX - 1] + "…"
