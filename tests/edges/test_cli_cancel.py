"""`ordertrail order cancel` as a program: one order or all, while halted, and what it makes of every odd answer."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ordertrail.cli import cancel_orders
from ordertrail.cli.api_client import ApiReply
from tests.support.http_calls import call, place
from tests.support.orders import new_id
from tests.support.postgres import trail
from tests.support.programs import Program, api_program, exchange_program
from tests.support.until import until

WAIT_SECONDS = 60
AAPL, MSFT = "AAPL12345678", "MSFT12345678"
ID = "01900000-0000-7000-8000-000000000001"


@dataclass
class Site:
    api: Program
    exchange: Program
    database_url: str

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            **os.environ,
            "ORDERTRAIL_API_URL": self.api.url,
            "ORDERTRAIL_EXCHANGE_URL": self.exchange.url,
            "ORDERTRAIL_DATABASE_URL": self.database_url,
            **settings,
        }

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return command(*arguments, environment=self.environment(**settings))

    def open_at_exchange(self) -> list[str]:
        _, page = call("GET", f"{self.exchange.url}/v1/orders?open=true")
        return sorted(order["client_order_id"] for order in page["orders"])

    def placed(self, *instruments: str) -> list[str]:
        ids = []
        for instrument in instruments:
            status, order = place(self.api, instrument=instrument)
            assert status == 201
            ids.append(order["id"])
        return ids


def command(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ordertrail", *arguments],
        env=environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with (
        exchange_program(tmp_path / "exchange") as exchange,
        api_program(database_url, tmp_path / "api", exchange_url=exchange.url) as api,
    ):
        yield Site(api, exchange, database_url)


def test_all_of_an_instrument_and_then_all_are_canceled_while_halted(site: Site) -> None:
    first, other, second = site.placed(AAPL, MSFT, AAPL)
    assert site.command("halt", "--reason", "stop trading now").returncode == 0

    some = site.command("order", "cancel", "--all", "--instrument", AAPL, "--yes")

    assert some.returncode == 0, some.stderr
    assert sorted(line.split()[1] for line in some.stdout.splitlines()[:2]) == sorted([first, second])
    assert "not halted" not in some.stderr
    until(lambda: site.open_at_exchange() == [other], what="the exchange has canceled them")
    all_ = site.command("order", "cancel", "--all", "--yes", "--json")
    assert [each["id"] for each in json.loads(all_.stdout)["orders"]] == [other]
    until(lambda: site.open_at_exchange() == [], what="the exchange has canceled it")
    again = site.command("order", "cancel", "--all", "--yes")
    assert (again.returncode, again.stdout) == (0, "There is nothing to cancel.\n")


def test_order_that_waits_for_its_send_is_never_sent(site: Site) -> None:
    status, failed = place(site.api, instrument="FAULTCLOSED0")
    assert (status, failed["outcome"]) == (500, "pending")

    done = site.command("order", "cancel", "--all", "--yes")

    assert done.returncode == 0, done.stderr
    until(lambda: trail(site.database_url, failed["order_id"])[-1][0] == "NOT_PLACED", what="it is settled")
    assert "Placing is not halted" in done.stderr


def test_nobody_cancels_all_by_mistake(site: Site) -> None:
    [order_id] = site.placed(AAPL)

    unsure = site.command("order", "cancel", "--all")
    unclear = site.command("order", "cancel", ID, "--all", "--yes")
    not_confirmed = confirm(site, b"\n")

    assert (unsure.returncode, unclear.returncode, not_confirmed) == (2, 2, 2)
    assert f"This would cancel 1 order at SIMULATED at {site.exchange.url}" in unsure.stderr or (
        f"This would cancel 1 order at {site.exchange.url}" in unsure.stderr
    )
    assert site.open_at_exchange() == [order_id]

    assert confirm(site, b"y\n") == 0
    until(lambda: site.open_at_exchange() == [])


def confirm(site: Site, answer: bytes) -> int:
    """How it ends where a person at a terminal answers so."""
    ours, theirs = pty.openpty()
    canceling = subprocess.Popen(
        [sys.executable, "-m", "ordertrail", "order", "cancel", "--all"],
        env=site.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    try:
        os.write(ours, answer)
        canceling.communicate(timeout=WAIT_SECONDS)
    finally:
        canceling.kill()
        os.close(ours)
    return canceling.returncode


def test_order_at_the_exchange_that_is_not_ours_is_named(site: Site) -> None:
    stranger = new_id()
    order = {"type": "limit", "side": "buy", "instrument": AAPL, "limit_price": "1", "quantity": 1}
    call("POST", f"{site.exchange.url}/v1/orders", {"client_order_id": stranger, **order})

    done = site.command("order", "cancel", "--all", "--yes")

    assert done.returncode == 1
    assert f"Order {stranger} is no order of this installation." in done.stdout


def test_every_placed_order_is_tried_where_the_exchange_is_out_of_reach(site: Site) -> None:
    [order_id] = site.placed(AAPL)

    done = site.command("order", "cancel", "--all", "--yes", ORDERTRAIL_EXCHANGE_URL="http://127.0.0.1:1")

    assert done.returncode == 0, done.stderr
    assert "every placed order is tried" in done.stderr
    assert f"Order {order_id} is being canceled" in done.stdout


def test_one_order_is_canceled_and_none_that_is_over_or_not_ours(site: Site) -> None:
    [order_id] = site.placed(AAPL)
    _, refused = place(site.api, instrument="FAULTREFUSE0")

    first = site.command("order", "cancel", order_id)
    over, stranger = site.command("order", "cancel", refused["order_id"]), site.command("order", "cancel", ID)
    until(lambda: site.open_at_exchange() == [])
    until(lambda: ("CANCELED", "verified") in trail(site.database_url, order_id))
    again = site.command("order", "cancel", order_id)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert again.stdout == f"Order {order_id} is canceled (CANCELED).\n"
    assert (over.returncode, stranger.returncode) == (1, 1)
    assert "is over already (EXCHANGE_CREATION_FAILED)" in over.stdout


ODD: list[tuple[int, dict[str, Any] | list[Any]]] = [
    (202, {}),
    (202, []),
    (202, {"id": ID}),
    (200, {}),
    (404, {}),
    (404, {"type": "/problems/not-found"}),
    (409, {"type": "about:blank"}),
    (503, {"type": "/problems/database-unavailable", "detail": "away"}),
    (500, {"type": "/problems/internal-error"}),
]


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Any], None]:
    """Whatever is asked is answered so."""

    def answer(status: int, body: Any) -> None:
        reply = ApiReply(status, body if isinstance(body, dict) else {})
        monkeypatch.setattr(cancel_orders, "request", lambda *_, **__: reply)
        monkeypatch.setattr(cancel_orders, "PAUSE_SECONDS", 0)

    return answer


@pytest.mark.parametrize(("status", "body"), ODD, ids=str)
def test_odd_answer_proves_nothing(status: int, body: Any, answer_with: Callable[[int, Any], None]) -> None:
    answer_with(status, body)

    assert cancel_orders.cancel(ID, url="http://127.0.0.1:1") == 3


@pytest.mark.parametrize(("status", "body"), ODD, ids=str)
def test_list_that_cannot_be_read_cancels_nothing(
    status: int, body: Any, answer_with: Callable[[int, Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(status, body)

    assert cancel_orders.cancel(all=True, yes=True, url="http://127.0.0.1:1") == 2
    assert "Nothing was canceled." in capsys.readouterr().err


def test_no_connection_is_said_and_nothing_was_sent() -> None:
    failed = command("order", "cancel", ID, "--url", "http://127.0.0.1:1", environment={**os.environ})

    assert failed.returncode == 2
    assert "No connection" in failed.stdout
