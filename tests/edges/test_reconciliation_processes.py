"""Reconciliation as real processes: the commands for a person on call, and replicas that are stopped or killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ordertrail.domain.trail import OrderStatus, TrailRow
from tests.support.http_calls import call
from tests.support.postgres import execute, fetch
from tests.support.programs import Program, exchange_program
from tests.support.reconciling import APPEND_ONLY, REVIEW, TIMES, limit_order
from tests.support.until import until


@dataclass
class Site:
    database_url: str
    exchange: Program
    folder: Path

    def environment(self, **settings: object) -> dict[str, str]:
        return {
            **os.environ,
            "ORDERTRAIL_DATABASE_URL": self.database_url,
            "ORDERTRAIL_EXCHANGE_URL": self.exchange.url,
            "ORDERTRAIL_DATA_DIR": str(self.folder),
            "ORDERTRAIL_EXCHANGE_TIMEOUT_SECONDS": "1",
            **{f"ORDERTRAIL_{name.upper()}": str(value) for name, value in settings.items()},
        }

    def command(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ordertrail", *arguments],
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **settings: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ordertrail", *arguments],
            env=self.environment(**settings),
            stdout=subprocess.PIPE,
            text=True,
        )

    def execute(self, sql: str) -> None:
        execute(self.database_url, sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(record) for record in fetch(self.database_url, sql)]

    def rows(self, order_id: str) -> list[tuple[str, str | None]]:
        return self.query(f"SELECT status::text, reason FROM orders WHERE id = '{order_id}' ORDER BY orders.status")

    def trail(self, *rows: tuple[str, str | None]) -> str:
        """An order as a process has left it a while ago."""
        order = limit_order()
        for status, reason in rows:
            row = TrailRow(OrderStatus(status), reason)
            execute(
                self.database_url,
                "INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status, reason, place_by,"
                f" send_by, accept_by) VALUES ('{order.id}', 'limit', 'buy', '{order.instrument}', {order.limit_price},"
                f" {order.quantity}, '{row.status}', {'NULL' if reason is None else repr(reason)},"
                " now() + interval '600 seconds', now(), now())",
            )
        execute(self.database_url, f"INSERT INTO doubts (order_id) VALUES ('{order.id}')")
        return order.id

    def pass_time(self, seconds: float) -> None:
        statements = [f"ALTER TABLE {table} DISABLE TRIGGER append_only" for table in APPEND_ONLY]
        for table, columns in TIMES.items():
            back = ", ".join(f"{column} = {column} - interval '{seconds} seconds'" for column in columns)
            statements.append(f"UPDATE {table} SET {back}")
        statements += [f"ALTER TABLE {table} ENABLE TRIGGER append_only" for table in APPEND_ONLY]
        execute(self.database_url, "BEGIN; " + "; ".join(statements) + "; COMMIT")

    def executions(self, order_id: str) -> list[str]:
        _, page = call("GET", f"{self.exchange.url}/v1/executions?after=0&limit=1000")
        return [each["exec_type"] for each in page["executions"] if each["client_order_id"] == order_id]


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with exchange_program(tmp_path / "exchange") as exchange:
        yield Site(database_url, exchange, tmp_path)


NEVER_SENT = (("INITIATED", None), ("EXCHANGE_CREATION_FAILED", "not_sent:closed"))
UNRESOLVED = (("INITIATED", None), ("UNRESOLVED", "differs_at_exchange"))


def test_once_says_what_it_did(site: Site) -> None:
    order_id = site.trail(*NEVER_SENT)

    first = site.command("reconcile", "--once", "--json")
    second = site.command("reconcile", "--once")

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    did = json.loads(first.stdout)
    assert (did["resent"], did["completed"], did["settled"], did["left"]["count"]) == (1, 1, 1, 0)
    assert did["observations"] == [{"order_id": order_id, "observation": "resent and accepted"}]
    assert second.stdout.endswith("0 in doubt are left, 0 of them unresolved.\n")
    assert site.rows(order_id)[-1] == ("COMPLETED", "resent")


def test_reconcile_runs_until_it_is_signalled(site: Site) -> None:
    order_id = site.trail(*NEVER_SENT)
    process = site.start("reconcile", reconcile_interval_seconds=0.1)

    until(lambda: site.rows(order_id)[-1] == ("COMPLETED", "resent"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode == 0


def test_doubts_are_listed_by_age(site: Site) -> None:
    old = site.trail(*UNRESOLVED)
    site.pass_time(100)
    young = site.trail(*NEVER_SENT)

    human, machine = site.command("doubts"), site.command("doubts", "--json")

    header, *lines = human.stdout.splitlines()
    assert header.split() == [
        "order",
        "age",
        "status",
        "instrument",
        "side",
        "quantity",
        "key",
        "tries",
        "last",
        "observation",
    ]
    assert [line.split()[:2] for line in lines[:1]] == [["!", old]]
    assert [line.split()[0] for line in lines[1:]] == [young, "2"]
    assert all(line.endswith("not asked yet") and "AAPL12345678  buy" in line for line in lines[:2])
    assert all(len(line) <= 180 for line in lines)
    document = json.loads(machine.stdout)
    assert (document["count"], document["unresolved"]) == (2, 1)
    assert [each["status"] for each in document["doubts"]] == ["UNRESOLVED", "EXCHANGE_CREATION_FAILED"]
    assert document["doubts"][0]["age_seconds"] >= 100
    assert [each["is_unresolved"] for each in document["doubts"]] == [True, False]
    assert [each["last_observation"] for each in document["doubts"]] == [None, None]


def test_parked_things_are_listed_shown_and_closed_with_evidence(site: Site) -> None:
    site.execute(
        "INSERT INTO parked (venue, kind, field, reason, raw, fingerprint, order_id, epoch, seq)"
        " VALUES ('http', 'open_order', 'leaves_qty', 'Expected `int`', '\\x7b1b5b324a00ff7d', '1', 'order-1', 'e', 7),"
        " ('http', 'execution_report', NULL, 'is nested too deeply', '[[', '2', NULL, NULL, NULL)"
    )
    [first, second] = json.loads(site.command("parked", "--json").stdout)["parked"]

    listed = site.command("parked", "list")
    no_words = site.command("parked", "close", str(first["id"]))
    closed = site.command("parked", "close", str(first["id"]), "--evidence", "their bug 7, mended")
    again = site.command("parked", "close", str(first["id"]), "--evidence", "their bug 7, mended")
    shown = site.command("parked", "show", str(first["id"]))

    assert (no_words.returncode, closed.returncode, again.returncode) == (2, 0, 1), closed.stderr
    assert "leaves_qty" in listed.stdout and listed.stdout.endswith("2 are open.\n")
    # What came may be written for a terminal, and not reach it.
    assert "\\x1b[2J\\x00\\xff" in shown.stdout and "\x1b" not in listed.stdout + shown.stdout
    assert "their bug 7, mended" in shown.stdout
    left = json.loads(site.command("parked", "list", "--json").stdout)
    assert ([each["id"] for each in left["parked"]], left["open"]) == ([second["id"]], 1)
    every = json.loads(site.command("parked", "list", "--all", "--json").stdout)
    assert [each["evidence"] for each in every["parked"]] == ["their bug 7, mended", None]
    assert [site.command("parked", "show", number).returncode for number in ("12345", "9" * 30)] == [1, 2]
    assert site.query("SELECT action, reason, subject, order_id FROM operator_actions") == [
        ("close_parked", "their bug 7, mended", str(first["id"]), "order-1")
    ]


def test_orphans_are_listed_shown_and_closed_with_evidence(site: Site) -> None:
    site.execute(
        "INSERT INTO orphans (venue, epoch, client_order_id, exchange_order_id, instrument, side, quantity)"
        " VALUES ('http', '1', 'theirs', 'E-7', 'AAPL12345678', 'buy', 10),"
        " ('http', '1', 'other', 'E-8', NULL, NULL, NULL)"
    )
    [first, second] = json.loads(site.command("orphans", "--json").stdout)["orphans"]

    listed = site.command("orphans")
    no_words = site.command("orphans", "close", str(first["id"]))
    closed = site.command("orphans", "close", str(first["id"]), "--evidence", "booked by hand")
    again = site.command("orphans", "close", str(first["id"]), "--evidence", "booked by hand")
    shown = site.command("orphans", "show", str(first["id"]))

    assert (no_words.returncode, closed.returncode, again.returncode) == (2, 0, 1), closed.stderr
    assert "AAPL12345678" in listed.stdout and "not shown" in listed.stdout
    assert listed.stdout.endswith("2 are open.\n")
    assert "booked by hand" in shown.stdout
    assert "nothing was changed" in again.stderr
    left = json.loads(site.command("orphans", "list", "--json").stdout)
    assert ([each["id"] for each in left["orphans"]], left["open"]) == ([second["id"]], 1)
    every = json.loads(site.command("orphans", "list", "--all", "--json").stdout)
    assert [each["evidence"] for each in every["orphans"]] == ["booked by hand", None]
    assert site.command("orphans", "show", "12345").returncode == 1
    assert site.query("SELECT action, reason, subject FROM operator_actions") == [
        ("close_orphan", "booked by hand", str(first["id"]))
    ]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["placed"], "COMPLETED"),
        (["not-placed"], "NOT_PLACED"),
        (["canceled", "--quantity", "1", "--price", "150.25"], "CANCELED"),
        (["expired"], "EXPIRED"),
        (["filled", "--quantity", "10", "--price", "150.25"], "FILLED"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_operator_settles_what_nobody_else_can(site: Site, words: list[str], status: str) -> None:
    order_id = site.trail(*UNRESOLVED)

    done = site.command("order", "resolve", order_id, *words, "--evidence", "the desk says so")
    again = site.command("order", "resolve", order_id, *words, "--evidence", "the desk says so")

    assert (done.returncode, again.returncode) == (0, 1), done.stderr
    last_status, reason = site.rows(order_id)[-1]
    assert last_status == status
    assert reason is not None and reason.startswith("operator:") and reason.endswith(": the desk says so")


def test_order_that_was_accepted_canceled_and_forgotten_is_no_dead_end(site: Site) -> None:
    order_id = site.trail(*UNRESOLVED[:1], ("COMPLETED", None))
    site.execute(f"INSERT INTO cancel_requests (order_id) VALUES ('{order_id}')")
    site.pass_time(100)
    site.command("reconcile", "--once")
    assert site.rows(order_id)[1:] == [("UNRESOLVED", "accepted_and_absent"), ("COMPLETED", None)]

    refused = site.command("order", "resolve", order_id, "not-placed", "--evidence", "x")
    done = site.command("order", "resolve", order_id, "canceled", "--evidence", "the desk says so")
    left = site.command("reconcile", "--once")

    assert (refused.returncode, done.returncode) == (1, 0), done.stderr
    assert "say how it ended" in refused.stderr
    assert left.stdout.endswith("0 in doubt are left, 0 of them unresolved.\n")


def test_operator_cannot_settle_what_is_not_unresolved(site: Site) -> None:
    never_sent = site.trail(*NEVER_SENT)
    placed = site.trail(*UNRESOLVED, ("COMPLETED", "verified"))

    for order_id in (never_sent, placed, "nobody"):
        refused = site.command("order", "resolve", order_id, "not-placed", "--evidence", "x")
        assert refused.returncode == 1
        assert "Nothing was changed" in refused.stderr
    assert site.rows(never_sent) == list(NEVER_SENT)
    assert "NOT_PLACED" not in dict(site.rows(placed))


def test_evidence_is_needed(site: Site) -> None:
    order_id = site.trail(*UNRESOLVED)

    assert site.command("order", "resolve", order_id, "placed").returncode == 2
    assert site.command("order", "resolve", order_id, "placed", "--evidence", " ").returncode == 2
    assert site.command("order", "resolve", order_id, "perhaps", "--evidence", "x").returncode == 2
    fill = ("--quantity", "10", "--price", "nan")
    assert site.command("order", "resolve", order_id, "filled", "--evidence", "x", *fill).returncode == 2
    assert site.command("order", "resolve", order_id, "filled", "--evidence", "x", *fill[:2]).returncode == 2


def test_halt_stops_resends_until_resume(site: Site) -> None:
    order_id = site.trail(*NEVER_SENT)

    assert site.command("halt", "--reason", "venue asked").returncode == 0
    site.command("reconcile", "--once")
    assert site.rows(order_id) == list(NEVER_SENT)
    assert site.query("SELECT action, reason FROM operator_actions") == [("halt", "venue asked")]

    assert site.command("resume").returncode == 0
    execute(site.database_url, "UPDATE doubts SET next_at = now()")
    site.command("reconcile", "--once")
    assert site.rows(order_id)[-1] == ("COMPLETED", "resent")


@pytest.mark.parametrize("arguments", [("doubts",), ("halt",), ("resume",), ("reconcile", "--once")])
def test_absent_database_is_said_in_a_sentence(site: Site, arguments: tuple[str, ...]) -> None:
    failed = site.command(*arguments, database_url="postgresql://nobody@127.0.0.1:1/nothing")

    assert failed.returncode == 2
    assert failed.stderr.startswith("ordertrail: The database could not be used")
    assert "Traceback" not in failed.stderr


@pytest.mark.kills
@pytest.mark.parametrize("point", ["after_lease", "after_claim", "after_resend", "after_answer", "before_apply"])
def test_killed_reconciler_leaves_nothing_lost_or_doubled(site: Site, point: str) -> None:
    order_id = site.trail(*NEVER_SENT)

    killed = site.command("reconcile", "--once", failpoints=f"{point}=kill")
    site.pass_time(REVIEW)
    site.pass_time(REVIEW)
    healed = site.command("reconcile", "--once")

    assert killed.returncode == -signal.SIGKILL
    assert healed.returncode == 0, healed.stderr
    assert site.rows(order_id)[-1][0] == "COMPLETED"
    assert site.executions(order_id) == ["new"]


@pytest.mark.kills
def test_stopped_lease_holder_that_wakes_late_sends_nothing(site: Site) -> None:
    order_id = site.trail(*NEVER_SENT)
    holder = site.start("reconcile", "--once", "--json", failpoints="after_claim=stop", send_window_seconds=0.2)
    until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED)
    site.pass_time(2 * REVIEW)
    assert site.query("SELECT count(*) FROM attempts") == [(1,)]

    other = site.command("reconcile", "--once", "--json")
    holder.send_signal(signal.SIGCONT)
    said = json.loads(holder.communicate(timeout=30)[0])

    assert json.loads(other.stdout)["resent"] == 1, other.stdout
    assert said["settled"] == 0
    assert site.query(
        "SELECT number, answer, reason FROM attempts LEFT JOIN attempt_answers USING (order_id, number) ORDER BY number"
    ) == [(2, "not_sent", "not_sent:send_window_passed"), (3, "accepted", "accepted")]
    assert site.executions(order_id) == ["new"]
    assert site.rows(order_id)[-1] == ("COMPLETED", "resent")
