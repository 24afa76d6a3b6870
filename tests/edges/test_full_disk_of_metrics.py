"""The disk where workers keep their metrics is full: metrics may be wrong, and no worker dies of it."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.http_calls import place
from tests.support.programs import api_program, exchange_program
from tests.support.site import children_of
from tests.support.small_disks import fill, small_disk
from tests.support.until import until

pytestmark = pytest.mark.machine

WORKERS = 2


def test_worker_lives_and_is_replaced_on_a_full_disk(database_url: str, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "data" / "metrics", "16m") as disk,
        exchange_program(tmp_path / "exchange") as exchange,
        api_program(
            database_url,
            tmp_path / "data",
            "--workers",
            str(WORKERS),
            exchange_url=exchange.url,
        ) as api,
    ):
        before = {child.pid for child in children_of(api.process.pid, "spawn_main")}
        fill(disk)

        statuses = {place(api, instrument=f"AAPL{number:08d}")[0] for number in range(40)}

        assert statuses == {201}
        assert {child.pid for child in children_of(api.process.pid, "spawn_main")} == before

        os.kill(min(before), signal.SIGKILL)
        until(
            lambda: len({child.pid for child in children_of(api.process.pid, "spawn_main")} - {min(before)}) == WORKERS,
            what="it is replaced",
        )
        assert {place(api, instrument=f"AAPL{number:08d}")[0] for number in range(40)} == {201}
        assert api.stderr.count("a worker died") == 1
