"""Disks that are full: PostgreSQL's own, and the spool's; each is a small file system that the test fills.

Mounting one needs a right that not every account has.
"""

import asyncio
import contextlib
import os
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ordertrail.storage.postgres.migrate import migrate
from ordertrail.up.embedded_postgres import STOP_QUICKLY, EmbeddedPostgres
from tests.support.clients import Load, orders, session, until
from tests.support.counts import Count
from tests.support.postgres import OPTIONS, run
from tests.support.site import DEADLINE_SECONDS, FORGIVES_NOTHING, SETTINGS, Site
from tests.support.small_disks import fill, small_disk

pytestmark = [pytest.mark.machine, pytest.mark.timeout(5 * DEADLINE_SECONDS)]

CLIENTS = 5
CLIENT_SECONDS = 10
ANSWERS_MIN = 10
FRESH = 5

# Its log of changes may not take all of the small disk before the test does.
SMALL = {**OPTIONS, "max_wal_size": "32MB", "min_wal_size": "32MB"}
POSTGRES_MEGABYTES = 160
SPOOL_KILOBYTES = 64


@contextlib.contextmanager
def site_on(disk: Path, folder: Path, **settings: object) -> Iterator[Site]:
    """As `tests.support.site.site`, with PostgreSQL on that disk."""
    postgres = EmbeddedPostgres(disk / "postgres", options=SMALL)
    postgres.start()
    try:
        run(migrate(postgres.url))
        with contextlib.ExitStack() as stack:
            place = Site(postgres, folder, FORGIVES_NOTHING, {}, {**SETTINGS, **settings}, stack)
            try:
                yield place
            finally:
                place.close()
    finally:
        if postgres.is_running():
            postgres.stop(STOP_QUICKLY)


@contextlib.asynccontextmanager
async def under_load(place: Site) -> AsyncIterator[Load]:
    """An API with a reconciler beside it; the load has ended and everything is settled at the end of the block."""
    await asyncio.gather(place.start_api(), place.start_reconciler())
    async with session(timeout_seconds=CLIENT_SECONDS) as client, asyncio.TaskGroup() as group:
        load = Load(client, orders(("AAPL12345678",), prefix="full"), place.doors, random.Random(7), clients=CLIENTS)
        group.create_task(load.run())
        try:
            yield load
        finally:
            load.is_ending = True


async def judge(place: Site, load: Load, counted: Count) -> None:
    load.is_ending = True
    await load.until_finished(timeout_seconds=DEADLINE_SECONDS)
    await place.settle()
    await load.repeat_all()
    await place.settle()
    report = place.report(await place.evidence(), load.answers)
    counted(report.counts)
    report.assert_safe()


def answered(load: Load, start: int, *statuses: int) -> int:
    return sum(answer.status in statuses for answer in load.answers[start:])


async def placed_again(load: Load) -> None:
    start = len(load.answers)
    await until(lambda: answered(load, start, 201) >= FRESH, timeout_seconds=DEADLINE_SECONDS)


async def test_postgresql_on_a_full_disk_loses_and_doubles_nothing(counted: Count, tmp_path: Path) -> None:
    with (
        small_disk(Path(tempfile.mkdtemp(prefix="ordertrail-full-")), f"{POSTGRES_MEGABYTES}m") as disk,
        site_on(disk, tmp_path) as place,
    ):
        async with under_load(place) as load:
            await placed_again(load)
            start = len(load.answers)

            ballast = await asyncio.to_thread(fill, disk)
            await until(lambda: answered(load, start, 500) >= ANSWERS_MIN, timeout_seconds=DEADLINE_SECONDS)
            ballast.unlink()
            # Where not even its log of changes can grow it gives up, as its makers mean it to.
            if not place.postgres.is_running():
                await place.start_postgres()

            await placed_again(load)
            await judge(place, load, counted)


async def test_a_spool_on_a_full_disk_lets_no_order_begin_that_could_not_be_recorded(
    counted: Count, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "spool", f"{SPOOL_KILOBYTES}k") as disk,
        tempfile.TemporaryDirectory(prefix="ordertrail-full-") as data,
    ):
        os.chmod(data, 0o755)  # noqa: PTH101 - the server's account must enter it
        with site_on(Path(data), tmp_path) as place:
            async with under_load(place) as load:
                await placed_again(load)

                ballast = await asyncio.to_thread(fill, disk)
                start = len(load.answers)
                await until(lambda: answered(load, start, 503) >= ANSWERS_MIN, timeout_seconds=DEADLINE_SECONDS)
                # From here on nothing begins, so the database may go: no trail is without a place.
                await place.kill_postgres()
                start = len(load.answers)
                await until(lambda: answered(load, start, 503) >= ANSWERS_MIN, timeout_seconds=DEADLINE_SECONDS)
                assert answered(load, start, 500, 201) == 0
                ballast.unlink()
                await until(lambda: answered(load, start, 500) >= ANSWERS_MIN, timeout_seconds=DEADLINE_SECONDS)
                await place.start_postgres()

                await placed_again(load)
                await judge(place, load, counted)
