"""`Prefer` as RFC 7240 has it: several headers, quotes, parameters, and what means nothing to us."""

import pytest

from ordertrail.api.prefer import Preferences, parse_prefer


def parsed(*values: str) -> Preferences:
    return parse_prefer([(b"host", b"x"), *((b"prefer", value.encode("latin-1")) for value in values)])


@pytest.mark.parametrize(
    ("value", "respond_async", "wait_seconds"),
    [
        ("respond-async", True, None),
        ("wait=10", False, 10),
        ("respond-async, wait=10", True, 10),
        ("Respond-Async ,  WAIT = 5", True, 5),
        ('wait="7"', False, 7),
        ("wait=0", False, 0),
        ("wait=10; foo=bar, respond-async; baz", True, 10),
        ('foo="a, wait=3", wait=4', False, 4),
        (r'foo="a\", wait=3", wait=4', False, 4),
        ('foo; bar="x, wait=1", wait=9', False, 9),
        (", ,wait=3,", False, 3),
        ("return=minimal, handling=lenient, wait=2", False, 2),
    ],
)
def test_what_a_client_prefers_is_read(value: str, respond_async: bool, wait_seconds: float | None) -> None:
    assert parsed(value) == Preferences(respond_async, wait_seconds)
    assert parsed(value) == parsed(value + " " * 64) == Preferences(respond_async, wait_seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "wait",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "wait=1e3",
        "wait=ten",
        "wait=\xb2",
        "a wait=3",
        "wait 3",
        'x="never closed, wait=3',
        "wait=12345678901234567890",
    ],
)
def test_what_means_nothing_is_ignored(value: str) -> None:
    assert parsed(value) == Preferences(respond_async=False, wait_seconds=None)


def test_several_headers_are_one_list_of_which_the_first_counts() -> None:
    assert parsed("wait=3", "respond-async, wait=30") == Preferences(respond_async=True, wait_seconds=3)


def test_a_request_without_the_header_prefers_nothing() -> None:
    assert parsed() == Preferences(respond_async=False, wait_seconds=None)
