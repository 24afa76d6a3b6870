"""The children of `up` count in one folder, and the present moment of one that has ended is forgotten."""

from pathlib import Path

from ordertrail.up.shared_metrics import VARIABLE, SharedMetrics


def test_each_run_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "metrics" / "up"
    folder.mkdir(parents=True)
    (folder / "counter_7.db").touch()

    shared = SharedMetrics(folder)
    shared.begin()

    assert shared.environment == {VARIABLE: str(folder)}
    assert list(folder.iterdir()) == []


def test_what_an_ended_child_has_counted_stays_and_its_present_moment_goes(tmp_path: Path) -> None:
    shared = SharedMetrics(tmp_path / "up")
    shared.begin()
    for name in ("counter_7.db", "gauge_livemax_7.db", "gauge_livesum_7.db", "gauge_livemax_77.db"):
        (tmp_path / "up" / name).touch()

    shared.forget(7)

    assert {path.name for path in (tmp_path / "up").iterdir()} == {"counter_7.db", "gauge_livemax_77.db"}


def test_a_folder_that_cannot_be_made_leaves_each_to_count_for_itself(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    shared = SharedMetrics(tmp_path / "file" / "up")
    shared.begin()
    shared.forget(7)

    assert shared.environment == {}
