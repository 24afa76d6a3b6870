"""`GET /status` and `ordertrail status`: what is, and what to do, also where the database or the API is away."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordertrail.api import health
from ordertrail.cli.main import main
from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import Accepted, NoAnswer, Unknown
from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.metrics import TroubleCounters
from ordertrail.server.status_document import SECTIONS
from tests.support.postgres import execute
from tests.support.service import Running, ScriptedVenue

FIGURES = ("halted", "doubts", "parked", "orphans", "late_arrivals")


@pytest.fixture(autouse=True)
def counters(monkeypatch: pytest.MonkeyPatch) -> TroubleCounters:
    """Nothing has been counted, whatever the tests before this one made the process count."""
    counters = TroubleCounters(log_records_dropped=0, late_arrivals=0, invariants_broken={})
    monkeypatch.setattr(metrics, "trouble_counters", lambda: counters)
    return counters


async def status(service: Running) -> dict[str, Any]:
    await service.service.status.refresh(older_than_seconds=0)
    reply = await service.call("GET", "/status")
    assert reply.status == 200
    return reply.body


def an_order_in_trouble(database_url: str, order_id: str, *statuses: str) -> None:
    for one in ("INITIATED", *statuses):
        execute(
            database_url,
            "INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)"
            f" VALUES ('{order_id}', 'limit', 'buy', 'AAPL12345678', 150, 10, '{one}')",
        )


async def test_nothing_is_to_be_done_where_all_is_well(service: Running) -> None:
    await service.place()

    document = await status(service)

    assert list(document)[4:] == list(SECTIONS) == health._SECTIONS
    assert document["to_do"] == []
    assert document["ready"] == {"is_ready": True, "problems": [], "to_do": None}
    assert (document["database"]["is_up"], document["database"]["schema"]) == (True, "0007")
    assert document["database"]["since"] is not None
    assert (document["exchange"]["venue"], document["exchange"]["silent_since"]) == ("scripted", None)
    assert document["gate"]["worker"] == document["worker"]
    assert [budget["breaker"] for budget in document["gate"]["budgets"].values()] == ["closed"] * 3
    assert document["halted"]["is_halted"] is False
    assert "2026" < document["events"]["oldest_day"] <= (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert (document["events"]["misplaced"], document["events"]["to_do"]) == (0, None)
    assert document["events"]["horizon_seconds"] is not None
    assert (document["doubts"]["count"], document["parked"]["open"], document["orphans"]["open"]) == (0, 0, 0)
    assert (document["spool"]["trails"], document["spool"]["bytes_max"]) == (0, 64 * 1024 * 1024)
    assert document["figures_as_of"] is not None


async def test_what_waits_for_a_person_is_said_with_what_to_do(service: Running) -> None:
    url = service.database_url
    an_order_in_trouble(url, "unresolved", "UNRESOLVED")
    an_order_in_trouble(url, "late", "NOT_PLACED", "COMPLETED")
    an_order_in_trouble(url, "over", "NOT_PLACED", "COMPLETED", "CANCELED")
    execute(url, "INSERT INTO doubts (order_id) VALUES ('unresolved')")
    execute(url, "INSERT INTO sightings (order_id, exchange_order_id) VALUES ('late', 'E-1'), ('over', 'E-2')")
    execute(url, "INSERT INTO orphans (venue, epoch, client_order_id, exchange_order_id) VALUES ('v', '1', 'x', 'E-3')")
    execute(
        url,
        "INSERT INTO operator_actions (action, operator, origin, reason) VALUES ('halt', 'ada', 'cli', 'venue asked')",
    )

    document = await status(service)

    assert (document["doubts"]["count"], document["doubts"]["unresolved"]) == (1, 1)
    assert document["orphans"]["open"] == 1
    assert (document["late_arrivals"]["count"], document["late_arrivals"]["live"]) == (2, ["late"])
    assert (document["halted"]["by"], document["halted"]["why"]) == ("ada", "venue asked")
    assert len(document["to_do"]) == 4
    assert all(document[name]["to_do"] for name in ("halted", "doubts", "orphans", "late_arrivals"))


async def test_what_is_fed_queued_and_applied_is_read_from_the_rows(service: Running) -> None:
    url = service.database_url
    execute(
        url,
        "INSERT INTO feeds (venue, holder, leased_until, epoch, seq) "
        "VALUES ('http', 'host:1', clock_timestamp() + interval '1 hour', 'e2', 50)",
    )
    execute(
        url,
        "INSERT INTO execution_coverage (venue, epoch, seqs) VALUES ('http', 'e2', '{[1,11),[20,31)}'), "
        "('http', 'e2', '{[11,15)}'), ('http', 'e1', '{[1,100)}')",
    )
    execute(
        url,
        "INSERT INTO execution_inbox (venue, epoch, exec_id_scope, count, first_seq, last_seq, body, put_at) "
        "VALUES ('http', 'e2', 'order', 1, 50, 50, '[]', clock_timestamp() - interval '2 minutes')",
    )

    found = (await status(service))["executions"]

    assert (found["is_fed"], found["feed"], found["epoch"], found["tail"]) == (True, "host:1", "e2", 50)
    assert (found["applied_up_to"], found["behind"], found["queue_frames"]) == (14, 36, 1)
    assert found["oldest_seconds"] >= 120
    assert "ordertrail process" in found["to_do"]


async def test_exchange_that_answers_nothing_is_silent_until_it_answers(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = Unknown(Cause.TIMEOUT)
    venue.verification = NoAnswer(Cause.CONNECT_FAILED)
    await service.place()

    silent = (await status(service))["exchange"]
    venue.answer = Accepted("X-1")
    await service.place()
    answers = (await status(service))["exchange"]

    assert silent["silent_since"] is not None and silent["to_do"] is not None
    assert silent["last_trouble"] == answers["last_trouble"] == "connect_failed"
    assert (answers["silent_since"], answers["to_do"]) == (None, None)


async def test_status_is_answered_from_memory_while_the_database_is_away(service: Running) -> None:
    an_order_in_trouble(service.database_url, "unresolved", "UNRESOLVED")
    execute(service.database_url, "INSERT INTO doubts (order_id) VALUES ('unresolved')")
    before = await status(service)

    service.take_database_away()
    not_noticed_yet = await service.call("GET", "/status")
    await service.service.housekeeping.run_once()
    away = (await service.call("GET", "/status")).body

    assert not_noticed_yet.status == 200
    assert away["figures_as_of"] == before["figures_as_of"]
    assert away["as_of"] > before["as_of"]
    assert away["doubts"] == before["doubts"]
    assert (away["database"]["is_up"], away["ready"]["is_ready"]) == (False, False)
    assert [sentence[:22] for sentence in away["to_do"]] == ["Bring the database bac", "Orders wait for your w"]
    service.bring_database_back()


async def test_figures_that_were_never_read_are_null(service: Running) -> None:
    service.take_database_away()
    await service.service.housekeeping.run_once()
    document = (await service.call("GET", "/status")).body

    assert document["figures_as_of"] is None
    assert [document[name]["to_do"] for name in FIGURES] == [None] * 5
    assert (document["doubts"]["count"], document["orphans"]["open"]) == (None, None)
    assert document["late_arrivals"]["from"] == "the counter"
    service.bring_database_back()


async def test_what_must_never_happen_is_said(service: Running, counters: TroubleCounters) -> None:
    counters.invariants_broken["venue_raised"] = 2

    document = await status(service)

    assert document["invariants"]["broken"] == {"venue_raised": 2}
    assert document["to_do"] == [document["invariants"]["to_do"]]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["status", *arguments])
    shown = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, shown.out, shown.err


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, database_url: str) -> str:
    """An address at which no API answers; the settings name the test's database."""
    monkeypatch.setenv("ORDERTRAIL_DATABASE_URL", database_url)
    return "http://127.0.0.1:1"


async def test_command_shows_what_the_api_says(service: Running, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = await asyncio.to_thread(run, capsys, "--url", service.url)
    _, machine, _ = await asyncio.to_thread(run, capsys, "--url", service.url, "--json")

    assert code == 0
    assert "Nothing is to be done." in shown
    assert all(name.replace("_", " ") in shown for name in SECTIONS)
    assert max(map(len, shown.splitlines())) <= 120
    assert json.loads(machine)["to_do"] == []


async def test_command_says_what_to_do(service: Running, capsys: pytest.CaptureFixture[str]) -> None:
    an_order_in_trouble(service.database_url, "unresolved", "UNRESOLVED")
    execute(service.database_url, "INSERT INTO doubts (order_id) VALUES ('unresolved')")
    await service.service.status.refresh(older_than_seconds=0)

    code, shown, _ = await asyncio.to_thread(run, capsys, "--url", service.url)

    assert code == 1
    assert "1 in doubt" in shown and "`ordertrail doubts` marks them" in shown


def test_command_asks_the_database_where_no_api_answers(nowhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, said = run(capsys, "--url", nowhere)

    assert code == 1
    assert "No connection to http://127.0.0.1:1" in said
    assert "0 in doubt" in shown and "No API answers" in shown and "schema 0007" in shown


def test_command_says_that_nothing_can_be_reached(
    nowhere: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORDERTRAIL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")

    code, shown, said = run(capsys, "--url", nowhere)

    assert (code, shown) == (2, "")
    assert "Nor could the database be read" in said
