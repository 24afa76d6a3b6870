"""What people are told of the switch is one line, whatever an operator wrote."""

from datetime import UTC, datetime

import pytest

from ordertrail.domain.switch import REASON_LENGTH_MAX, Switch, as_line

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("switch", "sentence"),
    [
        (Switch(), "Placing is not halted."),
        (
            Switch(True, NOON, "alice", "venue asked"),
            "Placing was halted at 2026-01-01T12:00:00Z by alice: venue asked.",
        ),
        (Switch(True, NOON, "alice", "Stop!"), "Placing was halted at 2026-01-01T12:00:00Z by alice: Stop!"),
        (Switch(True, NOON, "alice", None), "Placing was halted at 2026-01-01T12:00:00Z by alice."),
        (Switch(True, NOON, "alice", " \n"), "Placing was halted at 2026-01-01T12:00:00Z by alice."),
        (Switch(False, NOON, "bob", None), "Placing was resumed at 2026-01-01T12:00:00Z by bob."),
    ],
)
def test_sentence_says_who_when_and_why(switch: Switch, sentence: str) -> None:
    assert switch.sentence == sentence


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\nb\r\n c\x00d\x1b[31m", "a b c d [31m"), ("x" * 1000, "x" * (REASON_LENGTH_MAX - 1) + "…"), ("\u202e", "")],
)
def test_line_is_one_of_visible_characters(text: str, line: str) -> None:
    assert as_line(text) == line
