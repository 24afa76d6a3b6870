"""What mutation is told of the tree is still there: a name that is gone would leave code unbroken in silence."""

from dataclasses import replace

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation.__main__ import Survivor, Target, all_targets, explained_survivors, stale_entries

TRAIL = "ordertrail/domain/trail.py"


@pytest.fixture(scope="module")
def targets() -> list[Target]:
    return list(all_targets())


def test_targets_and_survivors_name_what_is_there(targets: list[Target]) -> None:
    assert stale_entries(targets, explained_survivors()) == []


def test_every_target_has_tests_and_mutants(targets: list[Target]) -> None:
    assert [target.path for target in targets if not target.tests or not target.mutants] == []


def test_no_survivor_is_explained_twice() -> None:
    survivors = explained_survivors()

    assert survivors
    assert len(set(survivors)) == len(survivors)


def test_survivor_that_is_no_more_is_stale(targets: list[Target]) -> None:
    trail = next(target for target in targets if target.path == TRAIL)
    line = trail.line(trail.mutants[0])
    survivors = [
        Survivor("ordertrail/domain/gone.py", line, trail.mutants[0].change),
        Survivor(TRAIL, "gone = 1", trail.mutants[0].change),
        Survivor(TRAIL, line, "gone → here"),
        Survivor(TRAIL, line, trail.mutants[0].change),
    ]

    assert stale_entries(targets, survivors) == [
        "survivors.toml: ordertrail/domain/gone.py is no target",
        f"survivors.toml: {TRAIL} has no line 'gone = 1'",
        f"survivors.toml: 'gone → here' is no mutant of {line!r} in {TRAIL}",
    ]


def test_tests_that_are_gone_are_stale(targets: list[Target]) -> None:
    first, *others = targets
    broken = replace(first, tests=(*first.tests, "tests/unit/gone.py"))

    assert stale_entries([broken, *others], []) == [f"{first.path}: its tests tests/unit/gone.py are not there"]


def test_function_that_is_gone_is_stale(targets: list[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    tests, _ = mutation.TARGETS[TRAIL]
    monkeypatch.setitem(mutation.TARGETS, TRAIL, (tests, ("fold_status", "gone")))

    assert stale_entries(targets, []) == [f"{TRAIL}: there is no function gone"]


def test_word_that_nobody_says_is_stale(targets: list[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "WORDS", (*mutation.WORDS, ("ACCEPTED", "GONE")))

    assert stale_entries(targets, []) == ["WORDS: no target says GONE"]


def test_file_that_is_gone_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mutation.TARGETS, "ordertrail/domain/gone.py", (("tests/unit/domain",), None))

    with pytest.raises(FileNotFoundError):
        list(all_targets())
