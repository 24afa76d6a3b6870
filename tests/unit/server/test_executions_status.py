"""The status says whose the feed is, what waits, and what to do about it."""

from typing import Any

import pytest

from ordertrail.cli.status import lines_of
from ordertrail.server.queue_depth import QueueDepth
from ordertrail.server.status_document import figures_sections, to_do
from ordertrail.storage.postgres.status import StatusFigures
from tests.support.clocks import NOON

FED: dict[str, Any] = {
    "feed_venue": "http",
    "feed_holder": "host:1",
    "feed_is_owned": True,
    "feed_epoch": "e1",
    "feed_seq": 120,
    "applied_up_to": 100,
    "inbox_frames": 2,
    "inbox_oldest_seconds": 0.26,
    "last_trade_applied_at": NOON,
    "parked_reports": 1,
}


def sections(queue: QueueDepth | None = None, **changes: Any) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "read_at": NOON,
        "schema_version": "0007",
        "doubts": 0,
        "unresolved": 0,
        "oldest_seconds": 0.0,
        "parked": 0,
        "orphans": 0,
        "late_arrivals": 0,
        "live_late_arrivals": [],
        "is_halted": False,
        "halt_operator": None,
        "halt_acted_at": None,
        "halt_reason": None,
    }
    return figures_sections(StatusFigures(**(figures | changes)), queue)


def test_what_is_fed_and_applied_is_shown() -> None:
    found = sections(**FED)

    assert found["executions"] == {
        "is_fed": True,
        "feed": "host:1",
        "epoch": "e1",
        "tail": 120,
        "applied_up_to": 100,
        "behind": 20,
        "queue": "PostgreSQL",
        "queue_frames": 2,
        "queue_frames_are": "exact",
        "queue_problem": None,
        "oldest_seconds": 0.3,
        "parked_reports": 1,
        "last_trade_applied_at": "2026-01-01T12:00:00.000Z",
        "to_do": None,
    }


def shown(found: dict[str, Any]) -> str:
    return "\n".join(lines_of({"as_of": "now", "figures_as_of": "now", "to_do": [], **found}))


def test_of_a_broker_its_own_frames_are_shown_and_not_those_of_the_inbox() -> None:
    found = sections(QueueDepth("sqs://region/reports", 7, is_exact=False), **FED)

    assert (found["executions"]["queue_frames"], found["executions"]["queue_frames_are"]) == (7, "approximate")
    assert "about 7 frames wait in sqs://region/reports" in shown(found)


@pytest.mark.parametrize("fed", [FED, {}])
def test_a_broker_that_is_away_is_said_and_never_0(fed: dict[str, Any]) -> None:
    found = sections(QueueDepth("nats://host:4222", None, problem="NATS cannot be reached"), **fed)

    assert (found["executions"]["queue_frames"], found["executions"]["queue_frames_are"]) == (None, None)
    assert "cannot be reached" in " ".join(to_do(found))
    assert "not read, NATS cannot be reached" in shown(found)


def test_more_than_the_statement_counts_is_about_right() -> None:
    assert sections(**(FED | {"inbox_frames": 10_000}))["executions"]["queue_frames_are"] == "approximate"


def test_a_broker_is_shown_where_the_database_was_never_read() -> None:
    found = figures_sections(None, QueueDepth("nats://host:4222", 3))

    assert (found["executions"]["queue_frames"], found["executions"]["tail"]) == (3, None)


def test_where_nothing_was_ever_fed_nothing_is_to_be_done() -> None:
    found = sections()

    assert (found["executions"]["is_fed"], found["executions"]["to_do"]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"feed_is_owned": False, "feed_free_seconds": 20.0}, "start `ordertrail feed`"),
        ({"inbox_oldest_seconds": 61.0}, "start `ordertrail process`"),
    ],
)
def test_what_stands_still_is_said(changes: dict[str, Any], words: str) -> None:
    assert words in " ".join(to_do(sections(**(FED | changes))))


def test_a_standby_has_time_to_take_over() -> None:
    assert to_do(sections(**(FED | {"feed_is_owned": False, "feed_free_seconds": 4.0}))) == []


@pytest.mark.parametrize("changes", [FED, {}])
def test_a_person_can_read_it(changes: dict[str, Any]) -> None:
    document = {"as_of": "now", "figures_as_of": "now", "to_do": [], **sections(**changes)}

    assert any("executions" in line for line in lines_of(document))


def test_figures_that_were_never_read_are_not_known() -> None:
    assert set(figures_sections(None)["executions"].values()) == {None}
