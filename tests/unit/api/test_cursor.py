import base64
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.api.cursor import AFTER_ID, OtherFilters, UnreadableCursor, read_cursor, write_cursor
from ordertrail.domain.order import Side
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.storage.order_reads import OrderFilter

MOMENT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
EVERYTHING = OrderFilter(
    (OrderStatus.COMPLETED,), Outcome.PLACED, "AAPL12345678", Side.BUY, "key", MOMENT, MOMENT + timedelta(hours=1)
)

ids = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).rstrip(b"=").decode()


@given(ids)
def test_every_id_comes_back(last_id: str) -> None:
    cursor = write_cursor(last_id, EVERYTHING)

    assert read_cursor(cursor, EVERYTHING, AFTER_ID) == last_id


@given(ids)
def test_a_cursor_needs_no_escaping_in_a_query(last_id: str) -> None:
    cursor = write_cursor(last_id, EVERYTHING)

    assert cursor.replace("-", "").replace("_", "").isalnum() and cursor.isascii()


@pytest.mark.parametrize("name", [field.name for field in fields(OrderFilter)])
def test_a_cursor_of_other_filters_is_refused(name: str) -> None:
    cursor = write_cursor("an id", EVERYTHING)

    with pytest.raises(OtherFilters):
        read_cursor(cursor, replace(EVERYTHING, **{name: getattr(OrderFilter(), name)}), AFTER_ID)


def test_the_same_moment_in_another_spelling_is_the_same_filter() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(0)))

    cursor = write_cursor("an id", OrderFilter(created_after=MOMENT))

    assert read_cursor(cursor, OrderFilter(created_after=elsewhere), AFTER_ID) == "an id"


@given(st.text())
def test_any_other_text_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableCursor):
        read_cursor(text, OrderFilter(), AFTER_ID)


@pytest.mark.parametrize(
    "document",
    [None, 1, [], [1], [1, "x"], [2, "x", "id"], [1, "x", 5], [1, "x", "nul\0"], [1, "x", "\ud800"], {}],
    ids=repr,
)
def test_other_documents_are_unreadable(document: object) -> None:
    with pytest.raises(UnreadableCursor):
        read_cursor(encoded(document), OrderFilter(), AFTER_ID)


def test_deep_nesting_is_unreadable() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 100_000).decode()

    with pytest.raises(UnreadableCursor):
        read_cursor(nested, OrderFilter(), AFTER_ID)


def test_a_cursor_with_something_added_is_unreadable() -> None:
    cursor = write_cursor("an id", OrderFilter())

    for changed in (cursor + "=", cursor + "====", cursor + "A", cursor + " ", " " + cursor, cursor + "\n"):
        with pytest.raises(UnreadableCursor):
            read_cursor(changed, OrderFilter(), AFTER_ID)
