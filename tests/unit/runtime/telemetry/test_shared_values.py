"""Values that workers share: what is written is there, in a file where there is room, in memory where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import mmap_dict

from ordertrail.runtime.telemetry import shared_values
from ordertrail.runtime.telemetry.shared_values import BYTES, AllocatedDict

# Untyped in the library.
read_file: Any = mmap_dict.MmapedDict.read_all_values_from_file
KEYS = [f"a key of some length, as the library makes them {number}" for number in range(2000)]


@contextmanager
def a_dict(path: Path) -> Iterator[Any]:
    kept: Any = AllocatedDict(str(path))
    try:
        yield kept
    finally:
        kept.close()


def fill(kept: Any) -> None:
    for number, key in enumerate(KEYS):
        kept.write_value(key, float(number), 0.0)


def values_in(kept: Any) -> list[float]:
    return [kept.read_value(key)[0] for key in KEYS]


def test_library_reads_what_is_kept_beyond_the_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"

    with a_dict(path) as kept:
        fill(kept)

        assert values_in(kept) == [float(number) for number in range(2000)]
        assert [value for _, value, _, _ in read_file(str(path))] == values_in(kept)
    assert path.stat().st_size > BYTES
    assert path.stat().st_blocks * 512 >= path.stat().st_size  # all of it is there
    assert [each.name for each in tmp_path.iterdir()] == ["counter_1.db"]


def test_values_are_kept_in_memory_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_values, "_write_zeros", lambda *_: False)

    with a_dict(tmp_path / "counter_1.db") as kept:
        fill(kept)

        assert values_in(kept) == [float(number) for number in range(2000)]
    assert list(tmp_path.iterdir()) == []


def test_values_go_on_in_memory_where_there_is_no_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_dict(tmp_path / "counter_1.db") as kept:
        monkeypatch.setattr(shared_values, "_write_zeros", lambda *_: False)

        fill(kept)

        assert values_in(kept) == [float(number) for number in range(2000)]


def test_folder_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    with a_dict(tmp_path / "gone" / "counter_1.db") as kept:
        kept.write_value("a key", 1.0, 0.0)

        assert kept.read_value("a key")[0] == 1.0
