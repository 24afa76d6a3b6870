import json
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.queues.splitting import ReportTooLarge, split
from tests.support.queues import frame


def seq_of(report: dict[str, Any]) -> int:
    return int(report["seq"])


def test_a_frame_that_fits_is_left_as_it_is() -> None:
    whole = frame(1, 3)

    assert split(whole, bytes_max=len(whole.body)) == (whole,)


@given(st.integers(1, 60), st.integers(40, 400), st.booleans(), st.randoms())
def test_parts_follow_on_each_other_fit_and_lose_nothing(
    count: int, bytes_max: int, is_numbered: bool, random: Random
) -> None:
    reports: list[dict[str, Any]] = [{"seq": 100 + n, "text": "ü" * random.randrange(5)} for n in range(count)]
    random.shuffle(reports)
    body = json.dumps(reports, ensure_ascii=False).encode()
    whole = replace(frame(100, 99 + count), body=body)
    whole = whole if is_numbered else replace(whole, first=None, last=None)

    parts = split(whole, bytes_max=bytes_max)

    assert len(parts) == 1 or all(len(part.body) <= bytes_max for part in parts)
    found = [report for part in parts for report in json.loads(part.body)]
    assert sorted(found, key=str) == sorted(reports, key=str)
    assert [part.count for part in parts] == [len(json.loads(part.body)) for part in parts]
    if is_numbered:
        assert (parts[0].first, parts[-1].last) == (whole.first, whole.last)
        assert all(one.last is not None and one.last + 1 == other.first for one, other in pairwise(parts))
        if len(parts) > 1:
            assert found == sorted(reports, key=seq_of)
    else:
        assert found == reports


def test_a_report_is_kept_byte_for_byte() -> None:
    reports = [b'{"seq": 1, "x": 1.10}', b'{ "seq":2 }', b'{"seq":3,"x":"\\u0000"}']
    whole = replace(frame(1, 3), body=b"[ " + b" ,\n".join(reports) + b"]")

    assert [part.body for part in split(whole, bytes_max=23 + 2)] == [b"[" + report + b"]" for report in reports]


@pytest.mark.parametrize(
    "body", [b'[{"seq":1,"text":"%s"}]' % (b"x" * 100), b"x" * 100, b'[{"no":1},%s]' % (b"1," * 50)]
)
def test_what_cannot_be_cut_is_said(body: bytes) -> None:
    with pytest.raises(ReportTooLarge):
        split(replace(frame(1, 1), body=body), bytes_max=50)
