"""The spool with a real API process and a real database that goes away and comes back."""

import json
import os
import signal
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_calls import call, place
from tests.support.postgres import allow_connections, fetch, refuse_connections, trail
from tests.support.programs import Program, api_program, exchange_program
from tests.support.until import until

NOT_RECORDED = [
    ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded"),
    ("INITIATED", None),
]
QUICK: dict[str, Any] = {"database_timeout_seconds": 2, "send_window_seconds": 1, "exchange_timeout_seconds": 1}


def readiness(api: Program) -> list[str]:
    problems: list[str] = call("GET", api.url + "/readyz")[1]["problems"]
    return problems


def spooled(folder: Path) -> bytes:
    """What the spool holds; a file that is replayed and deleted while we look holds nothing."""
    kept = b""
    for path in folder.glob("spool/*.spool"):
        with suppress(FileNotFoundError):
            kept += path.read_bytes()
    return kept


def replayed(api: Program, data_dir: Path, url: str, count: int) -> None:
    until(
        lambda: fetch(url, "SELECT count(DISTINCT id) FROM orders")[0][0] >= count and not spooled(data_dir),
        what="the spool is replayed",
    )


def test_orders_of_an_outage_are_spooled_replayed_and_never_sent(database_url: str, tmp_path: Path) -> None:
    with (
        exchange_program(tmp_path / "exchange") as exchange,
        api_program(database_url, tmp_path, exchange_url=exchange.url, **QUICK) as api,
    ):
        assert place(api)[0] == 201
        refuse_connections(database_url)

        failed = [place(api), place(api, key="spooled"), place(api, instrument="MSFT12345678", type="limit")]

        assert [(status, body["type"]) for status, body in failed] == [(500, "/problems/not-recorded")] * 3
        ids = [body["order_id"] for _, body in failed]
        assert all(order_id.encode() in spooled(tmp_path) for order_id in ids)

        allow_connections(database_url)
        replayed(api, tmp_path, database_url, 4)
        assert [trail(database_url, order_id) for order_id in ids] == [NOT_RECORDED] * 3
        status, again = place(api, key="spooled")
        assert (status, again["order_id"], again["outcome"]) == (500, ids[1], "not_placed")
        known = [call("GET", f"{exchange.url}/v1/orders/{order_id}")[0] for order_id in ids]
        assert known == [404] * 3
        assert place(api)[0] == 201


def test_another_process_adopts_what_a_killed_one_left(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path, **QUICK) as first:
        assert place(first)[0] == 201
        refuse_connections(database_url)
        _, failed = place(first, key="left")
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert failed["order_id"].encode() in spooled(tmp_path), (failed, first.stderr, list(tmp_path.glob("spool/*")))

    allow_connections(database_url)
    with api_program(database_url, tmp_path, **QUICK) as second:
        replayed(second, tmp_path, database_url, 2)
        assert trail(database_url, failed["order_id"]) == NOT_RECORDED
        assert place(second, key="left")[1]["order_id"] == failed["order_id"]


@pytest.mark.parametrize("how", ["full", "unwritable"])
def test_spool_that_takes_nothing_sheds_orders_before_a_row(database_url: str, tmp_path: Path, how: str) -> None:
    bytes_max = 1 if how == "full" else 1_000_000
    if how == "unwritable":
        (tmp_path / "spool").write_text("a file where the folder should be")
    with api_program(database_url, tmp_path, spool_bytes_max=bytes_max, **QUICK) as api:
        status, problem = place(api)

        assert (status, problem["type"]) == (503, "/problems/spool-full")
        assert any("spool" in sentence for sentence in readiness(api))
        assert fetch(database_url, "SELECT count(*) FROM orders")[0][0] == 0
        if how == "unwritable":
            (tmp_path / "spool").unlink()
            until(lambda: not readiness(api), what="the spool is found well again")
            assert place(api)[0] == 201


@pytest.mark.parametrize("poison", [{"instrument": "A\0"}, {"quantity": 2**40}], ids=["refused", "not even sent"])
def test_poison_is_set_aside_and_the_others_go_on(database_url: str, tmp_path: Path, poison: dict[str, object]) -> None:
    with api_program(database_url, tmp_path, **QUICK) as api:
        place(api)
        refuse_connections(database_url)
        good = [place(api)[1]["order_id"] for _ in range(2)]
        api.send_signal(signal.SIGKILL)
        api.wait()
    allow_connections(database_url)
    poisoned = put_poison(tmp_path, poison)

    with api_program(database_url, tmp_path, **QUICK) as api:
        replayed(api, tmp_path, database_url, 3)

        assert [trail(database_url, order_id) for order_id in good] == [NOT_RECORDED] * 2
        (kept,) = (tmp_path / "spool").glob("*.refused")
        assert kept.read_bytes() == poisoned
        assert place(api)[0] == 201


def put_poison(data_dir: Path, changes: dict[str, object]) -> bytes:
    """Put between two trails one that no database takes."""
    (path,) = (path for path in data_dir.glob("spool/*.spool") if path.stat().st_size)
    first, second = path.read_bytes().splitlines(keepends=True)
    record = json.loads(first.partition(b" ")[2]) | {"id": "poison"} | changes
    text = json.dumps(record, separators=(",", ":")).encode()
    line = b"%08x %s\n" % (zlib.crc32(text), text)
    path.write_bytes(first + line + second)
    return line


def test_key_that_another_order_took_meanwhile_stays_its_own(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path / "first", **QUICK) as first:
        place(first)
        refuse_connections(database_url)
        _, late = place(first, key="contested")
        first.send_signal(signal.SIGKILL)
        first.wait()
    allow_connections(database_url)
    with api_program(database_url, tmp_path / "second", **QUICK) as second:
        status, winner = place(second, key="contested")
        assert status == 201

    with api_program(database_url, tmp_path / "first", **QUICK) as again:
        replayed(again, tmp_path / "first", database_url, 3)

        assert trail(database_url, late["order_id"]) == NOT_RECORDED
        assert place(again, key="contested")[1]["id"] == winner["id"]


def test_spool_replayed_twice_changes_nothing(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path, **QUICK) as api:
        place(api)
        refuse_connections(database_url)
        _, failed = place(api, key="twice")
        api.send_signal(signal.SIGKILL)
        api.wait()
    allow_connections(database_url)
    (path,) = (path for path in tmp_path.glob("spool/*.spool") if path.stat().st_size)
    copy = path.read_bytes()
    with api_program(database_url, tmp_path, **QUICK) as api:
        replayed(api, tmp_path, database_url, 2)
        before = fetch(database_url, "SELECT * FROM orders ORDER BY id, status")

        (tmp_path / "spool" / f"{os.getpid()}-copy.spool").write_bytes(copy)
        until(lambda: not spooled(tmp_path), what="the copy is replayed")

        assert fetch(database_url, "SELECT * FROM orders ORDER BY id, status") == before
        assert trail(database_url, failed["order_id"]) == NOT_RECORDED
