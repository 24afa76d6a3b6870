"""A child's log: all of it is in the files, they stay within their bytes, and none of it holds the child up."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ordertrail.up import log_files
from ordertrail.up.log_files import KEPT, LogFile, child_log

BYTES_MAX = 400_000


def files_of(path: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path.parent.glob(f"{path.name}*"), key=lambda file: file.suffix, reverse=True)


def lines_in(path: Path) -> list[str]:
    kept = [path.with_name(f"{path.name}.{number}") for number in range(KEPT, 0, -1)]
    return [line for file in (*kept, path) if file.exists() for line in file.read_text().splitlines()]


def run(path: Path, program: str, *, bytes_max: int = BYTES_MAX) -> int:
    """Run a child with such a log to its end."""
    with child_log(path, bytes_max=bytes_max) as log:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=log.output, stderr=log.output)
    code = child.wait(60)
    log.finish()
    return code


def test_file_is_rotated_while_the_child_runs_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    path = tmp_path / "child.log"

    # About three quarters of what may be kept.
    assert run(path, "for number in range(3000): print(f'{number:099d}')") == 0

    assert lines_in(path) == [f"{number:099d}" for number in range(3000)]
    assert len(files_of(path)) > 1


def test_files_stay_within_their_bytes_and_keep_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "child.log"

    assert run(path, "for number in range(20000): print(f'{number:099d}')") == 0

    assert sum(file.stat().st_size for file in files_of(path)) <= BYTES_MAX
    lines = lines_in(path)
    assert lines == [f"{number:099d}" for number in range(20000 - len(lines), 20000)]
    assert len(lines) > 1000


def test_more_at_once_than_a_file_may_have_is_shared_over_files(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "child.log", bytes_max=BYTES_MAX)
    content = b"".join(b"%099d\n" % number for number in range(2500))

    while content:
        content = content[log.write(content) :]
    log.close()

    assert sorted(file.stat().st_size for file in files_of(log.path)) == [50_000, 100_000, 100_000]


def test_log_is_appended_to_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "child.log"

    run(path, "print('first')")
    run(path, "print('second')")

    assert lines_in(path) == ["first", "second"]


def test_log_of_a_child_that_has_ended_holds_no_file_open(tmp_path: Path) -> None:
    path = tmp_path / "child.log"
    before = psutil.Process().num_fds()

    run(path, "print('words')")

    assert psutil.Process().num_fds() == before


def test_last_words_without_a_newline_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "child.log"

    run(path, "print('words', end='')")

    assert lines_in(path) == ["words"]


def test_earlier_log_that_is_larger_than_its_bound_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "child.log"
    for name in ("child.log", "child.log.1", "child.log.2"):
        (tmp_path / name).write_bytes(b"x" * BYTES_MAX)

    run(path, "print('words')")

    assert sum(file.stat().st_size for file in files_of(path)) <= BYTES_MAX
    assert lines_in(path)[-1] == "words"


def test_full_disk_holds_no_child_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_self: LogFile, _content: bytes) -> int:
        raise OSError(28, "no space left")

    monkeypatch.setattr(LogFile, "write", write)
    monkeypatch.setattr(log_files, "FINISH_SECONDS", 60)

    # Far more than a pipe holds, and than waits in memory.
    assert run(tmp_path / "child.log", "import os\nfor _ in range(400): os.write(1, b'x' * 99_999 + b'\\n')") == 0


def test_child_that_leaves_its_pipe_to_another_holds_up_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "FINISH_SECONDS", 0.1)
    held: list[int] = []

    with child_log(tmp_path / "child.log", bytes_max=BYTES_MAX) as log:
        held.append(os.dup(log.output))
        os.write(log.output, b"words\n")
    log.finish()

    os.close(held[0])
    assert lines_in(tmp_path / "child.log") == ["words"]
