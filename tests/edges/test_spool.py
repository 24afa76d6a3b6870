"""The spool with a real API process and a real database that goes away and comes back."""

import json
import os
import signal
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import asyncpg
import pytest

from tests.support.postgres import run
from tests.support.programs import WAIT_SECONDS, Program, api_program, exchange_program

ORDER = {"type": "limit", "side": "buy", "instrument": "AAPL12345678", "limit_price": 150.25, "quantity": 10}
NOT_RECORDED = [
    ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded"),
    ("INITIATED", None),
]
QUICK: dict[str, Any] = {"database_timeout_seconds": 2, "send_window_seconds": 1, "exchange_timeout_seconds": 1}


def call(url: str, body: object = None, *, key: str | None = None) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
    request = Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urlopen(request, timeout=WAIT_SECONDS) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def place(api: Program, key: str | None = None, **changes: object) -> tuple[int, dict[str, Any]]:
    return call(api.url + "/orders", ORDER | changes, key=key)


def readiness(api: Program) -> list[str]:
    problems: list[str] = call(api.url + "/readyz")[1]["problems"]
    return problems


def wait_until(what: str, is_so: Any) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what


def administer(url: str, *statements: str) -> None:
    """Run statements in the server's maintenance database, for the test's own takes no connections."""

    async def connect_and_execute() -> None:
        connection = await asyncpg.connect(url.rpartition("/")[0] + "/postgres")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    run(connect_and_execute())


def take_away(url: str) -> None:
    name = url.rpartition("/")[2]
    administer(
        url,
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )


def bring_back(url: str) -> None:
    administer(url, f"ALTER DATABASE {url.rpartition('/')[2]} ALLOW_CONNECTIONS true")


def fetch(url: str, sql: str, *arguments: object) -> list[Any]:
    async def read() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    return run(read())


def trail(url: str, order_id: str) -> list[tuple[str, str | None]]:
    records = fetch(url, "SELECT status::text, reason FROM orders WHERE id = $1 ORDER BY status::text", order_id)
    return [(record["status"], record["reason"]) for record in records]


def spooled(folder: Path) -> bytes:
    """What the spool holds; a file that is replayed and deleted while we look holds nothing."""
    kept = b""
    for path in folder.glob("spool/*.spool"):
        with suppress(FileNotFoundError):
            kept += path.read_bytes()
    return kept


def replayed(api: Program, data_dir: Path, url: str, count: int) -> None:
    wait_until(
        "the spool is replayed",
        lambda: fetch(url, "SELECT count(DISTINCT id) FROM orders")[0][0] >= count and not spooled(data_dir),
    )


def test_orders_of_an_outage_are_spooled_replayed_and_never_sent(database_url: str, tmp_path: Path) -> None:
    with (
        exchange_program(tmp_path / "exchange") as exchange,
        api_program(database_url, tmp_path, exchange_url=exchange.url, **QUICK) as api,
    ):
        assert place(api)[0] == 201
        take_away(database_url)

        failed = [place(api), place(api, key="spooled"), place(api, instrument="MSFT12345678", type="limit")]

        assert [(status, body["type"]) for status, body in failed] == [(500, "/problems/not-recorded")] * 3
        ids = [body["order_id"] for _, body in failed]
        assert all(order_id.encode() in spooled(tmp_path) for order_id in ids)

        bring_back(database_url)
        replayed(api, tmp_path, database_url, 4)
        assert [trail(database_url, order_id) for order_id in ids] == [NOT_RECORDED] * 3
        status, again = place(api, key="spooled")
        assert (status, again["order_id"], again["outcome"]) == (500, ids[1], "not_placed")
        known = [call(f"{exchange.url}/v1/orders/{order_id}")[0] for order_id in ids]
        assert known == [404] * 3
        assert place(api)[0] == 201


def test_another_process_adopts_what_a_killed_one_left(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path, **QUICK) as first:
        assert place(first)[0] == 201
        take_away(database_url)
        _, failed = place(first, key="left")
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert failed["order_id"].encode() in spooled(tmp_path), (failed, first.stderr, list(tmp_path.glob("spool/*")))

    bring_back(database_url)
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
            wait_until("the spool is found well again", lambda: not readiness(api))
            assert place(api)[0] == 201


@pytest.mark.parametrize("poison", [{"instrument": "A\0"}, {"quantity": 2**40}], ids=["refused", "not even sent"])
def test_poison_is_set_aside_and_the_others_go_on(database_url: str, tmp_path: Path, poison: dict[str, object]) -> None:
    with api_program(database_url, tmp_path, **QUICK) as api:
        place(api)
        take_away(database_url)
        good = [place(api)[1]["order_id"] for _ in range(2)]
        api.send_signal(signal.SIGKILL)
        api.wait()
    bring_back(database_url)
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
        take_away(database_url)
        _, late = place(first, key="contested")
        first.send_signal(signal.SIGKILL)
        first.wait()
    bring_back(database_url)
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
        take_away(database_url)
        _, failed = place(api, key="twice")
        api.send_signal(signal.SIGKILL)
        api.wait()
    bring_back(database_url)
    (path,) = (path for path in tmp_path.glob("spool/*.spool") if path.stat().st_size)
    copy = path.read_bytes()
    with api_program(database_url, tmp_path, **QUICK) as api:
        replayed(api, tmp_path, database_url, 2)
        before = fetch(database_url, "SELECT * FROM orders ORDER BY id, status")

        (tmp_path / "spool" / f"{os.getpid()}-copy.spool").write_bytes(copy)
        wait_until("the copy is replayed", lambda: not spooled(tmp_path))

        assert fetch(database_url, "SELECT * FROM orders ORDER BY id, status") == before
        assert trail(database_url, failed["order_id"]) == NOT_RECORDED
