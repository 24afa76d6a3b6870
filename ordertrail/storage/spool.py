"""The spool: trails that the database could not take, kept on disk until it can.

A folder of files, each locked by the process that writes it; a file whose lock is free was left by a process that
is gone, and the process that finds it adopts it. Every record is synced before its order is answered. A replayed
order is never sent; losing the folder loses records of failures and nothing else.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.order_rows import SpooledTrail

_log = get_logger()

RECORD_BYTES_MAX = 2048
SUFFIX = ".spool"


class SpoolFailed(Exception):
    """The spool could not take a record; the text says why."""


class _Row(msgspec.Struct, omit_defaults=True):
    status: OrderStatus
    reason: str | None = None
    exchange_order_id: str | None = None
    at: datetime | None = None  # not there in the files of a release before this one


class _Record(msgspec.Struct, omit_defaults=True):
    id: str
    type: OrderType
    side: Side
    instrument: str
    quantity: int
    rows: list[_Row]
    limit_price: Decimal | None = None
    client_order_id: str | None = None
    place_by: datetime | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Record)


class Spool:
    """One process's part of the folder. Blocking work runs in the event loop's threads."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        # Appending runs in a thread; the file must not be replaced under it.
        self._lock = threading.Lock()
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._total = 0
        # As of the last probe, less what we have written since: no question to the disk for each order.
        self._disk_free = 0
        self.problem: str | None = None

    async def open(self) -> None:
        """Make the folder and try it; `problem` says if it cannot be used."""
        await asyncio.to_thread(self.probe)

    async def close(self) -> None:
        """Give up the lock; an empty file is taken away, any other waits to be adopted."""
        await asyncio.to_thread(self._close)

    def has_room(self, *, orders_in_flight: int) -> bool:
        """Whether every order in flight, and one more, could be spooled now."""
        wanted = (orders_in_flight + 1) * RECORD_BYTES_MAX
        return self.problem is None and wanted <= min(self._bytes_max - self._total, self._disk_free)

    async def append(self, trails: Sequence[SpooledTrail]) -> list[None]:
        """Write the trails and sync; raises SpoolFailed where they are not certain to be there."""
        lines = b"".join(_line(trail) for trail in trails)
        try:
            await asyncio.to_thread(self._append, lines)
        except OSError as error:
            self.problem = f"The spool in {self._folder} cannot be written: {error.strerror}."
            raise SpoolFailed(self.problem) from error
        metrics.SPOOLED.inc(len(trails))
        return [None] * len(trails)

    def probe(self) -> None:
        """See whether the folder can be written, and how much lies in it."""
        with self._lock:
            self._probe()

    def _probe(self) -> None:
        if self._file is not None and self._path is not None and not self._path.exists():
            # Somebody deleted the file under us: records must go where they can be found.
            self._give_up_file()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._file is None:
                self._start_file()
            self._total = sum(path.stat().st_size for path in self._files())
            self._disk_free = shutil.disk_usage(self._folder).free
            self.problem = None
        except OSError as error:
            self.problem = f"The spool in {self._folder} cannot be used: {error.strerror}."
            return
        if self._total + RECORD_BYTES_MAX > self._bytes_max:
            self.problem = f"The spool in {self._folder} is full ({self._total} of {self._bytes_max} bytes)."
        elif self._disk_free < RECORD_BYTES_MAX:
            self.problem = f"The disk of the spool in {self._folder} is full."
        metrics.SPOOL_BYTES.set(self._total)

    @contextlib.contextmanager
    def adopted(self) -> Iterator[Iterator[tuple[Path, list[SpooledTrail]]]]:
        """Files that nobody writes any more, ours first, each with its trails; those done are taken away.

        The caller replays one file's trails and then asks for the next; only then is the file deleted.
        """
        held: list[int] = []

        def files() -> Iterator[tuple[Path, list[SpooledTrail]]]:
            mine = self._rotate(held)
            if mine is not None:
                yield mine, _read(mine)
                mine.unlink(missing_ok=True)
            for path in sorted(self._files()):
                if path == self._path:
                    continue
                handle = _lock(path)
                if handle is None:
                    continue
                held.append(handle)
                yield path, _read(path)
                path.unlink(missing_ok=True)

        try:
            yield files()
        finally:
            for handle in held:
                os.close(handle)

    def set_aside(self, path: Path, trail: SpooledTrail) -> None:
        """Keep for a person a trail that the database refuses."""
        with path.with_suffix(".refused").open("ab") as kept:
            kept.write(_line(trail))
            kept.flush()
            os.fsync(kept.fileno())

    def state(self) -> tuple[int, int, int, int]:
        """Trails that wait, the folder's bytes, their limit, files that wait for a person; it reads the files."""
        trails = total = 0
        for path in self._files():
            # Another process may have replayed and deleted it meanwhile.
            with contextlib.suppress(OSError), path.open("rb") as file:
                while piece := file.read(1 << 20):
                    total += len(piece)
                    trails += piece.count(b"\n")
        try:
            kept = [path for path in self._folder.iterdir() if path.suffix in (".refused", ".broken")]
        except OSError:
            kept = []
        return trails, total, self._bytes_max, len(kept)

    @property
    def has_trails(self) -> bool:
        """Whether there is something to replay, as of the last probe."""
        return self._total > 0

    def _rotate(self, held: list[int]) -> Path | None:
        """Begin another file if ours has something in it; the old one stays locked in `held`."""
        with self._lock:
            if self._file is None or self._path is None or self._size == 0:
                return None
            file, path = self._file, self._path
            self._start_file()
            held.append(file)
            return path

    def _append(self, lines: bytes) -> None:
        with self._lock:
            self._append_locked(lines)

    def _append_locked(self, lines: bytes) -> None:
        if self._file is None or self._path is None or not self._path.exists():
            self._probe()
        if self._file is None:
            raise OSError(5, self.problem or "the spool is not open")
        if self._total + len(lines) > self._bytes_max:
            raise OSError(28, "the spool is full")
        assert self._path is not None
        start = self._size
        try:
            _write(self._file, self._path, lines)
        except OSError:
            # What is half there must not be glued to the next record, nor can a file whose sync failed be trusted.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, start)
            self._give_up_file()
            raise
        self._size += len(lines)
        self._total += len(lines)
        self._disk_free -= len(lines)
        metrics.SPOOL_BYTES.set(self._total)

    def _start_file(self) -> None:
        """Begin a file of our own: locked before it gets the name under which others look for it."""
        name = f"{os.getpid()}-{uuid.uuid4().hex}"
        hidden, path = self._folder / f".{name}", self._folder / (name + SUFFIX)
        handle = os.open(hidden, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
        _sync(self._folder)
        _sync(self._folder.parent)
        self._file, self._path, self._size = handle, path, 0

    def _files(self) -> list[Path]:
        return list(self._folder.glob("*" + SUFFIX))

    def _close(self) -> None:
        with self._lock:
            if self._file is not None and self._path is not None:
                if self._size == 0:
                    self._path.unlink(missing_ok=True)
                self._give_up_file()

    def _give_up_file(self) -> None:
        """Leave the file to the process that adopts it."""
        assert self._file is not None
        os.close(self._file)
        self._file = None


def _write(file: int, path: Path, lines: bytes) -> None:
    written = 0
    while written < len(lines):
        written += os.write(file, lines[written:])
    os.fdatasync(file)
    if not path.exists():
        raise OSError(2, "the file was deleted while it was written")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(path: Path) -> int | None:
    """The file's lock, if its writer is gone and nobody else has adopted it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    if not path.exists():  # replayed and deleted between our look and our lock
        os.close(handle)
        return None
    return handle


def _line(trail: SpooledTrail) -> bytes:
    order = trail.order
    record = _encoder.encode(
        _Record(
            id=order.id,
            type=order.type,
            side=order.side,
            instrument=order.instrument,
            quantity=order.quantity,
            rows=[_Row(row.status, row.reason, row.exchange_order_id, row.created_at) for row in trail.rows],
            limit_price=order.limit_price,
            client_order_id=order.client_order_id,
            place_by=order.place_by,
        )
    )
    return b"%08x %s\n" % (zlib.crc32(record), record)


def _read(path: Path) -> list[SpooledTrail]:
    """The trails in a file. A torn last line was never acknowledged; any other broken line is kept for a person."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        _log.error("a file of the spool was deleted before it was replayed", file=str(path))
        return []
    torn = lines.pop()
    trails, broken = [], []
    for line in lines:
        trail = _parse(line)
        if trail is None:
            broken.append(line)
        else:
            trails.append(trail)
    if torn:
        _log.warning("the spool's last record was torn", file=str(path), bytes=len(torn))
    if broken:
        kept = path.with_suffix(".broken")
        with kept.open("wb") as file:
            file.write(b"\n".join(broken) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        metrics.INVARIANTS_BROKEN.labels("spool_record_broken").inc(len(broken))
        _log.error("the spool has broken records", file=str(kept), records=len(broken))
    return trails


def _parse(line: bytes) -> SpooledTrail | None:
    checksum, _, record = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(record):
            return None
        found = _decoder.decode(record)
    except ValueError:
        return None
    order = Order(
        found.id,
        found.type,
        found.side,
        found.instrument,
        found.limit_price,
        found.quantity,
        found.client_order_id,
        found.place_by,
    )
    return SpooledTrail(order, tuple(TrailRow(r.status, r.reason, r.exchange_order_id, r.at) for r in found.rows))
