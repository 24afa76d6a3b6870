"""A cursor is read back exactly, or refused: in whatever way it was changed, it is never another place."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.events.cursor import TEXT_LENGTH, Cursor, read_cursor, write_cursor
from ordertrail.storage.event_rows import LogMark

LETTERS = string.ascii_letters + string.digits + "-_"
LARGE = st.integers(0, 2**63 - 1)
MARKS = st.builds(LogMark, LARGE, st.integers(0, 2**32 - 1), LARGE, LARGE, LARGE)
CURSORS = st.builds(Cursor, MARKS, st.integers(0, 2**32 - 1), LARGE)
CURSOR = Cursor(LogMark(7_215_000_000_000_001, 3, 7421, 88_213, 5_112_233_445_566), 2, 991)


@given(CURSORS)
def test_a_cursor_is_read_back_as_it_was_written(cursor: Cursor) -> None:
    assert read_cursor(write_cursor(cursor)) == cursor


@given(CURSORS, CURSORS)
def test_two_places_have_two_texts(one: Cursor, other: Cursor) -> None:
    assert (write_cursor(one) == write_cursor(other)) == (one == other)


@pytest.mark.parametrize("index", range(TEXT_LENGTH))
def test_a_cursor_with_one_letter_changed_is_none(index: int) -> None:
    text = write_cursor(CURSOR)
    changed = [text[:index] + letter + text[index + 1 :] for letter in LETTERS if letter != text[index]]

    assert {read_cursor(each) for each in changed} == {None}


@given(CURSORS, st.integers(0, TEXT_LENGTH - 1), st.characters())
def test_no_letter_whatever_makes_another_place(cursor: Cursor, index: int, letter: str) -> None:
    text = write_cursor(cursor)

    assert read_cursor(text[:index] + letter + text[index + 1 :]) in (None, cursor)


@pytest.mark.parametrize("index", range(54))
def test_a_cursor_with_one_byte_changed_is_none(index: int) -> None:
    whole = base64.urlsafe_b64decode(write_cursor(CURSOR))
    changed = [whole[:index] + bytes([byte]) + whole[index + 1 :] for byte in range(256) if byte != whole[index]]

    assert {read_cursor(base64.urlsafe_b64encode(each).decode()) for each in changed} == {None}


@given(CURSORS)
def test_a_cursor_needs_no_padding_and_nothing_escaped(cursor: Cursor) -> None:
    assert set(write_cursor(cursor)) <= set(LETTERS)


@pytest.mark.parametrize("text", ["", "0", "x", "A" * TEXT_LENGTH, "é" * TEXT_LENGTH, write_cursor(CURSOR) + "A"])
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert read_cursor(text) is None


@pytest.mark.parametrize("change", [lambda text: text[1:], lambda text: text + "==", lambda text: " " + text])
def test_a_cursor_that_is_cut_or_padded_is_none(change: "type[str]") -> None:
    assert read_cursor(change(write_cursor(CURSOR))) is None
