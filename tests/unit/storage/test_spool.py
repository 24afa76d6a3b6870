"""The spool's files: what is there after tearing, killing, filling up and deleting."""

# ruff: noqa: ASYNC220, ASYNC240 - nothing else runs in these event loops

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.trail import OrderStatus, TrailRow
from ordertrail.storage.order_rows import SpooledTrail
from ordertrail.storage.spool import RECORD_BYTES_MAX, SUFFIX, Spool, SpoolFailed

MEBIBYTE = 1024 * 1024
FAILED_AT = datetime(2026, 1, 1, 0, 0, 2, 500, tzinfo=UTC)
# As a release before this one wrote it.
OLD_RECORD = (
    b'{"id":"old","type":"market","side":"buy","instrument":"AAPL12345678","quantity":1,"rows":[{"status":"INITIATED"},'
    b'{"status":"DATABASE_PERSISTENCE_FAILED","reason":"not_sent:not_recorded"}]}'
)

# Spools one order and then waits to be killed.
WRITER = """
import asyncio, sys
from pathlib import Path
from ordertrail.storage.spool import Spool
from tests.unit.storage.test_spool import trail

async def main():
    spool = Spool(Path(sys.argv[1]), bytes_max=1024 * 1024)
    await spool.open()
    await spool.append([trail(sys.argv[2])])
    print("spooled", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def trail(order_id: str, *, client_order_id: str | None = None) -> SpooledTrail:
    order = Order(
        order_id,
        OrderType.LIMIT,
        Side.BUY,
        "AAPL12345678",
        Decimal("150.25"),
        10,
        client_order_id,
        datetime(2030, 1, 1, tzinfo=UTC),
    )
    return SpooledTrail(
        order,
        (
            TrailRow(OrderStatus.INITIATED, created_at=datetime(2026, 1, 1, tzinfo=UTC)),
            TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "not_sent:not_recorded", created_at=FAILED_AT),
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def opened(folder: Path, *, bytes_max: int = MEBIBYTE) -> Spool:
    spool = Spool(folder, bytes_max=bytes_max)
    await spool.open()
    return spool


def replayed(spool: Spool) -> list[str]:
    """The ids of everything that can be adopted, which is then gone, as after a replay."""
    with spool.adopted() as files:
        return [trail.order.id for _, trails in files for trail in trails]


def spool_files(folder: Path) -> Iterator[Path]:
    return folder.glob("*" + SUFFIX)


def only_file(folder: Path) -> Path:
    (path,) = (path for path in spool_files(folder) if path.stat().st_size)
    return path


async def test_trail_comes_back_as_it_went(folder: Path) -> None:
    spool = await opened(folder)
    went = trail("a", client_order_id="key")

    await spool.append([went])

    with spool.adopted() as files:
        assert [trails for _, trails in files] == [[went]]


async def test_what_was_replayed_does_not_come_again(folder: Path) -> None:
    spool = await opened(folder)
    await spool.append([trail("a")])

    assert replayed(spool) == ["a"]

    assert replayed(spool) == []
    spool.probe()
    assert not spool.has_trails


async def test_torn_last_record_is_left_out(folder: Path) -> None:
    spool = await opened(folder)
    await spool.append([trail("a"), trail("b")])
    await spool.close()
    path = only_file(folder)
    path.write_bytes(path.read_bytes()[:-20])

    assert replayed(await opened(folder)) == ["a"]


@pytest.mark.parametrize(
    "broken",
    [
        b"garbage\n",
        b"zzzzzzzz {}\n",
        b"00000000 {}\n",
        b"%08x {}\n" % zlib.crc32(b"{}"),
        b"%08x [1]\n" % zlib.crc32(b"[1]"),
        b"\xff\xfe\n",
        b"\n",
    ],
)
async def test_broken_record_is_kept_for_a_person_and_harms_no_other(folder: Path, broken: bytes) -> None:
    spool = await opened(folder)
    await spool.append([trail("a")])
    await spool.append([trail("b")])
    await spool.close()
    path = only_file(folder)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + broken + second)

    assert replayed(await opened(folder)) == ["a", "b"]

    assert path.with_suffix(".broken").read_bytes() == broken


async def test_file_of_a_living_process_is_not_adopted(folder: Path) -> None:
    living, other = await opened(folder), await opened(folder)
    await living.append([trail("a")])

    assert replayed(other) == []
    assert replayed(living) == ["a"]


async def test_file_of_a_killed_process_is_adopted_once(folder: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), "a"], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert writer.stdout is not None
    with writer, writer.stdout:
        assert writer.stdout.readline() == "spooled\n"
        first, second = await opened(folder), await opened(folder)
        assert replayed(first) == []

        writer.send_signal(signal.SIGKILL)
        writer.wait()

    with first.adopted() as files:
        _, trails = next(files)
        assert [trail.order.id for trail in trails] == ["a"]
        assert replayed(second) == []
    assert replayed(second) == ["a"]  # the first gave it up before it was done with it
    assert replayed(first) == []


async def test_replay_that_fails_leaves_everything_for_the_next(folder: Path) -> None:
    spool = await opened(folder)
    await spool.append([trail("a")])

    with spool.adopted() as files:
        next(files)

    assert replayed(spool) == ["a"]


async def test_full_spool_takes_nothing_and_says_so(folder: Path) -> None:
    spool = await opened(folder, bytes_max=2 * RECORD_BYTES_MAX)
    assert spool.has_room(orders_in_flight=1)
    assert not spool.has_room(orders_in_flight=2)

    with pytest.raises(SpoolFailed, match="full"):
        await spool.append([trail(str(number)) for number in range(100)])

    assert not spool.has_room(orders_in_flight=0)
    spool.probe()
    assert spool.has_room(orders_in_flight=0)
    assert replayed(spool) == []


async def test_full_disk_takes_nothing_before_anything_was_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(folder)
    free = 3 * RECORD_BYTES_MAX
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(free, 0, free))

    spool.probe()
    assert spool.has_room(orders_in_flight=2)
    assert not spool.has_room(orders_in_flight=3)
    await spool.append([trail("a")])
    assert not spool.has_room(orders_in_flight=2)

    free = RECORD_BYTES_MAX - 1
    spool.probe()
    assert not spool.has_room(orders_in_flight=0)
    assert spool.problem is not None and "disk" in spool.problem


async def test_what_others_have_spooled_counts(folder: Path) -> None:
    spool, other = [await opened(folder, bytes_max=2 * RECORD_BYTES_MAX) for _ in range(2)]
    await other.append([trail(str(number)) for number in range(12)])

    spool.probe()

    assert not spool.has_room(orders_in_flight=0)
    assert spool.problem is not None and "full" in spool.problem


async def test_folder_that_cannot_be_made_is_a_problem_until_it_can(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    spool = await opened(folder)
    assert not spool.has_room(orders_in_flight=0)
    assert spool.problem is not None and "\n" not in spool.problem

    with pytest.raises(SpoolFailed):
        await spool.append([trail("a")])

    folder.unlink()
    spool.probe()
    assert spool.has_room(orders_in_flight=0)
    await spool.append([trail("b")])
    assert replayed(spool) == ["b"]


async def test_folder_deleted_while_running_is_made_again(folder: Path) -> None:
    spool = await opened(folder)
    await spool.append([trail("lost")])
    for path in list(folder.iterdir()):
        path.unlink()
    folder.rmdir()

    await spool.append([trail("a")])

    assert replayed(await opened(folder)) == []
    assert replayed(spool) == ["a"]


async def test_files_deleted_while_they_are_replayed_are_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = await opened(folder)
    await died.append([trail("lost")])
    await died.close()
    spool = await opened(folder)
    await spool.append([trail("lost too")])

    def delete_all(path: Path) -> bytes:
        for each in folder.iterdir():
            each.unlink()
        return read_bytes(path)

    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", delete_all)

    assert replayed(spool) == []
    await spool.append([trail("a")])
    monkeypatch.undo()
    assert replayed(spool) == ["a"]


async def test_folder_replaced_by_a_file_while_running_takes_nothing(folder: Path) -> None:
    spool = await opened(folder)
    for path in list(folder.iterdir()):
        path.unlink()
    folder.rmdir()
    folder.write_text("")

    with pytest.raises(SpoolFailed):
        await spool.append([trail("a")])


async def test_failed_write_leaves_what_was_there_and_nothing_half(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(folder)
    await spool.append([trail("a")])
    write = os.write

    def half(file: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", fail)
        return write(file, data[: len(data) // 2])

    def fail(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context():
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(SpoolFailed, match="No space left"):
            await spool.append([trail("b")])
        monkeypatch.setattr(os, "write", write)
    await spool.append([trail("c")])

    assert sorted(replayed(spool)) == ["a", "c"]


async def test_half_a_record_that_cannot_be_taken_away_is_not_glued_to_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(folder)

    write = os.write

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    def half(file: int, data: bytes) -> int:
        broken.setattr(os, "write", fail)
        return write(file, data[: len(data) // 2])

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", half)
        broken.setattr(os, "ftruncate", fail)
        with pytest.raises(SpoolFailed):
            await spool.append([trail("half")])
    await spool.append([trail("a")])

    assert replayed(spool) == ["a"]


async def test_nothing_is_lost_while_files_are_rotated(folder: Path) -> None:
    spool, other = await opened(folder), await opened(folder)
    ids = [f"{number}" for number in range(200)]
    met: list[str] = []

    async def write(some: list[str], into: Spool) -> None:
        for order_id in some:
            await into.append([trail(order_id)])

    async def adopt() -> None:
        while len(met) < len(ids):
            for adopter in (spool, other):
                met.extend(await asyncio.to_thread(replayed, adopter))

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(write(ids[start::8], spool if start % 2 else other) for start in range(8)),
            adopt(),
        )

    assert sorted(met) == sorted(ids)


async def test_closing_leaves_no_empty_file(folder: Path) -> None:
    spool = await opened(folder)

    await spool.close()

    assert list(folder.iterdir()) == []


async def test_largest_order_fits_the_room_that_is_kept_for_it(folder: Path) -> None:
    spool = await opened(folder)
    order = Order(
        str(uuid.uuid4()),
        OrderType.MARKET,
        Side.SELL,
        "ZZZZZZZZZZZZ",
        Decimal("9999999999999.99"),
        2**31 - 1,
        "~" * 127 + '"' * 128,
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    )
    rows = (
        TrailRow(OrderStatus.INITIATED),
        TrailRow(OrderStatus.DATABASE_PERSISTENCE_FAILED, "accepted", "x" * 255),
    )

    await spool.append([SpooledTrail(order, rows)])

    assert only_file(folder).stat().st_size <= RECORD_BYTES_MAX


async def test_record_of_an_older_release_is_read_without_times(folder: Path) -> None:
    spool = await opened(folder)
    (folder / f"old{SUFFIX}").write_bytes(b"%08x %s\n" % (zlib.crc32(OLD_RECORD), OLD_RECORD))

    with spool.adopted() as files:
        [old] = [trail for _, trails in files for trail in trails]

    assert [row.status for row in old.rows] == [OrderStatus.INITIATED, OrderStatus.DATABASE_PERSISTENCE_FAILED]
    assert [row.created_at for row in old.rows] == [None, None]
    await spool.close()


async def test_record_keeps_the_times_of_its_steps(folder: Path) -> None:
    spool = await opened(folder)
    await spool.append([trail("order")])

    with spool.adopted() as files:
        [kept] = [each for _, trails in files for each in trails]

    assert kept == trail("order")
    await spool.close()
