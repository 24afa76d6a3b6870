"""What a table for people looks like, whatever stands in it."""

import pytest

from ordertrail.cli.tables import print_table, shortened


def test_columns_are_as_wide_as_what_stands_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "what"], [[1, None], [22, "x y"]])

    assert capsys.readouterr().out == "id  what\n1\n22  x y\n"


def test_what_a_terminal_would_obey_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id"], [["a\x1b[2Jb\n\u202e"]])

    assert capsys.readouterr().out == "id\na\\x1b[2Jb\\n\\u202e\n"


@pytest.mark.parametrize(
    ("text", "shown"), [("", ""), ("k" * 8, "k" * 8), ("abcdefghi", "abc…ghi"), ("0123456789-end", "012…end")]
)
def test_long_text_is_cut_in_the_middle(text: str, shown: str) -> None:
    assert shortened(text, 8) == shown
