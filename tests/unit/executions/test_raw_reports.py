"""A frame is taken apart by brackets and quotes, and what is wrong with a report is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.executions.raw_reports import fault_of, frame_of, split_reports
from tests.support.executions import frame, report

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=8), st.sampled_from([None, 1]), st.booleans())
def test_the_elements_are_those_of_the_array(elements: list[object], indent: int | None, is_ascii: bool) -> None:
    body = json.dumps(elements, indent=indent, ensure_ascii=is_ascii).encode()

    found = split_reports(body)

    assert found is not None
    assert [json.loads(each) for each in found] == elements


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'"["',
        b"[",
        b"]",
        b"[1]]",
        b"[[1]",
        b'["]',
        b"[1,]",
        b"[,]",
        b"[1}",
        b"[1] 2",
        b"x[1]",
        b"[1]x",
    ],
)
def test_what_is_no_array_has_no_elements(body: bytes) -> None:
    assert split_reports(body) is None


def test_an_element_that_nobody_can_read_spoils_none_beside_it() -> None:
    body = b'[{"a": 1}, {"a": "\\ud800"}, {"b": tru}, ' + b"[" * 5000 + b"]" * 5000 + b', {"c": "\xff"}, {"d": "\\"]"}]'

    found = split_reports(body)

    assert found is not None
    assert [each[:6] for each in found] == [b'{"a": ', b'{"a": ', b'{"b": ', b"[[[[[[", b'{"c": ', b'{"d": ']


def test_a_part_of_a_frame_covers_what_its_reports_say() -> None:
    whole = frame(report(1), report(2), report(3))
    reports = split_reports(whole.body)
    assert reports is not None

    part = frame_of(whole, reports[1:])

    assert (part.epoch, part.count, part.first, part.last) == (whole.epoch, 2, None, None)
    assert json.loads(part.body) == [report(2), report(3)]


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"seq": "7"}, "seq", "is no whole number"),
        ({"seq": 2**63}, "seq", "is out of range"),
        ({"seq": True}, "seq", "is no whole number"),
        ({"exec_id": None}, "exec_id", "is null"),
        ({"exec_id": 5}, "exec_id", "is no text"),
        ({"exec_id": "a\0b"}, "exec_id", "has a NUL in it"),
        ({"exec_id": "a\ud800"}, "exec_id", "has half a character in it"),
        ({"exec_id": "a" * 3000}, "exec_id", "is too long"),
        ({"last_qty": 1e30}, "last_qty", "is no whole number"),
        ({"last_qty": 10**30}, "last_qty", "is out of range"),
        ({"last_qty": "DIGITS"}, "last_qty", "is no whole number"),
        ({"cum_qty": -1}, "cum_qty", "is out of range"),
        ({"leaves_qty": None}, "leaves_qty", "is null"),
        ({"last_px": "abc"}, "last_px", "is no number"),
        ({"last_px": 150.25}, "last_px", "is no text"),
        ({"avg_px": "NaN"}, "avg_px", "is out of range"),
        ({"avg_px": "1e999999"}, "avg_px", "is out of range"),
        ({"transact_time": "yesterday"}, "transact_time", "is no time"),
        ({"transact_time": "2026-01-01T12:00:00"}, "transact_time", "has no offset"),
        ({"reject_reason": []}, "reject_reason", "is no text"),
        ({}, None, "as the database says"),
    ],
    ids=repr,
)
def test_the_field_that_breaks_a_report_is_named(changes: dict[str, object], field: str | None, why: str) -> None:
    raw = json.dumps(report(7) | changes).replace('"DIGITS"', "1" * 5000).encode()

    fault = fault_of(raw, otherwise="as the database says")

    assert (fault.field, fault.why) == (field, why)
    assert fault.seq == (None if field == "seq" else 7)


@pytest.mark.parametrize("name", ["exec_id", "client_order_id", "exec_type", "ord_status", "last_qty", "transact_time"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    raw = json.dumps({key: value for key, value in report(7).items() if key != name}).encode()

    assert (fault_of(raw, otherwise="").field, fault_of(raw, otherwise="").why) == (name, "is missing")


@pytest.mark.parametrize(
    ("raw", "why"),
    [(b"nul", "is no JSON"), (b"5", "is no object"), (b"[" * 100_000, "is no JSON"), (b"\xff", "is no JSON")],
)
def test_what_is_no_report_at_all(raw: bytes, why: str) -> None:
    assert fault_of(raw, otherwise="").why == why


@pytest.mark.parametrize(
    ("raw", "seq"),
    [
        (b'{"a": tru, "seq": 7}', 7),
        (b'{"seq" : 7 , "a": "\xff", ', 7),
        (b'{"a": tru, "b": "\\"seq\\": 8", "seq": 7}', 7),
        (b'{"a": tru, "b": {"seq": 8}}', None),
        (b'{"a": tru, "seq": 7, "seq": 8}', None),
        (b'{"a": tru, "seq": 7.5}', None),
        (b'{"a": tru, "b": "seq", "c": 7}', None),
        (b'{"a": tru, "seq": 99999999999999999999}', None),
    ],
)
def test_the_place_of_a_report_that_is_no_json(raw: bytes, seq: int | None) -> None:
    assert fault_of(raw, otherwise="").seq == seq
