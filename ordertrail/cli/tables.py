"""Tables for people: a header, and columns as wide as what stands in them."""

# ruff: noqa: T201 - it talks to a person

from collections.abc import Sequence


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a line a row; what is None is left empty, and what no terminal should be given is escaped."""
    cells = [list(columns)] + [["" if value is None else printable(str(value)) for value in row] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """The text, with whatever may do something to a terminal written out: it may be an exchange's."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, length_max: int) -> str:
    """Cut in the middle where it is longer: keys often differ at their ends alone."""
    if len(text) <= length_max:
        return text
    half = (length_max - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
