"""Where a worker keeps its metrics, on a disk that may be full.

The metrics library maps a file into memory whose bytes are not there before they are written. Where the disk is full by
then, the kernel ends the process in the middle of an order (SIGBUS). Here the bytes are written first; where that
fails, the values are kept in memory, and `/metrics` of other workers does not have them.
"""

import mmap
import os
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from typing_extensions import override

from ordertrail.runtime.telemetry.logs import get_logger

BYTES = 64 * 1024
# Of an entry beside its key: a length, padding, two numbers.
_ENTRY_BYTES_MAX = 32

_log = get_logger()


class AllocatedDict(MmapedDict):
    """The library's, over bytes that are there."""

    _f: Any
    _m: Any
    _used: int
    _capacity: int
    _positions: dict[str, int]

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if read_mode or Path(filename).exists() or _allocate(Path(filename)):
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # untyped in the library
            return
        _log.error("the metrics of this process are not shared: their file cannot be made", file=filename)
        self._f, self._m, self._capacity = None, mmap.mmap(-1, BYTES), BYTES
        self._positions, self._used = {}, 8
        self._m[:4] = self._used.to_bytes(4, "little")

    @override
    def _init_value(self, key: str) -> None:
        while self._used + len(key.encode()) + _ENTRY_BYTES_MAX > self._capacity:
            self._grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]  # untyped in the library

    def _grow(self) -> None:
        grown: Any = None
        if self._f is not None and _write_zeros(self._f.fileno(), self._capacity):
            grown = mmap.mmap(self._f.fileno(), 2 * self._capacity)
        else:
            grown = mmap.mmap(-1, 2 * self._capacity)
            grown[: self._used] = self._m[: self._used]
        self._m, self._capacity = grown, 2 * self._capacity


def install() -> None:
    """Have the library keep shared values so; before the first metric is made."""
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]  # the library has no other way in


def _allocate(path: Path) -> bool:
    """Make the file, whole or not at all; whether it is there."""
    unfinished = path.with_suffix(".unfinished")
    try:
        file = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o644)
    except OSError:
        return False
    try:
        is_there = _write_zeros(file, BYTES)
    finally:
        os.close(file)
    try:
        if is_there:
            unfinished.rename(path)
        else:
            unfinished.unlink()
    except OSError:
        return False
    return is_there


def _write_zeros(file: int, count: int) -> bool:
    """Append so many bytes to a file; one that takes only a part is left as it was."""
    size = os.fstat(file).st_size
    try:
        left = count
        while left:
            left -= os.write(file, bytes(left))
    except OSError:
        os.ftruncate(file, size)
        return False
    return True
