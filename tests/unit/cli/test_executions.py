"""`ordertrail executions compare`: what a person and a program learn."""

import asyncio
import json
from typing import Any, cast

import pytest

from ordertrail.cli import executions
from ordertrail.executions.compare import CannotCompare
from ordertrail.storage.comparison_rows import Comparison

EXAMPLE = {"seq": 7, "order_id": "o-1", "exec_id": "x-7"}
DIFFERENT = Comparison("v", "e", 9, 5, 2, 1, 0, {"from_seq": 5, "parked": 3, "examples": {"missing": [EXAMPLE]}})


class Service:
    """In the place of a process's parts."""

    def __init__(self, result: Comparison | CannotCompare) -> None:
        self.result = result
        self.comparer = self
        self.is_open = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def run_once(self) -> Comparison:
        assert self.is_open
        if isinstance(self.result, CannotCompare):
            raise self.result
        return self.result


def compare(result: Comparison | CannotCompare, *, as_json: bool = False) -> int:
    service = Service(result)
    code = asyncio.run(executions._compare(cast("Any", service), as_json=as_json))
    assert not service.is_open
    return code


def test_what_is_equal_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(Comparison("v", "e", 9, 9, 0, 0, 0)) == 0

    assert capsys.readouterr().out.splitlines() == [
        "v, epoch e, seq 1 to 9: 9.",
        "Our executions equal the exchange's.",
    ]


def test_what_differs_is_counted_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(DIFFERENT) == 1

    assert capsys.readouterr().out.splitlines() == [
        "v, epoch e, seq 5 to 9: 5.",
        "2 are missing here, 1 differ, 0 of ours the exchange does not have.",
        "3 more are parked: see `ordertrail parked`.",
        "missing: seq 7, order o-1, execution x-7",
    ]


def test_program_gets_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(DIFFERENT, as_json=True) == 1

    document = json.loads(capsys.readouterr().out)
    assert (document["missing"], document["is_equal"], document["details"]["from_seq"]) == (2, False, 5)


def test_what_cannot_be_compared_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(CannotCompare("no feed brings its reports")) == 1

    assert "no feed brings its reports" in capsys.readouterr().err
