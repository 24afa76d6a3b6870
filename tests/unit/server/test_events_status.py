"""The status says from when on events are kept, and what keeps new ones from their readers."""

from dataclasses import replace
from typing import Any

import pytest

from ordertrail.cli.status import lines_of
from ordertrail.events.log_upkeep import HELD_BACK_SECONDS_MAX
from ordertrail.server.status_document import EventsHorizon, figures_sections
from ordertrail.storage.event_rows import HorizonHolder
from ordertrail.storage.postgres.status import StatusFigures
from tests.support.clocks import NOON

FIGURES = StatusFigures(
    read_at=NOON,
    schema_version="1",
    doubts=0,
    unresolved=0,
    oldest_seconds=0.0,
    parked=0,
    orphans=0,
    late_arrivals=0,
    live_late_arrivals=[],
    is_halted=False,
    halt_operator=None,
    halt_acted_at=None,
    halt_reason=None,
    events_oldest_day="2026-01-01",
)
IN_A_SESSION = HorizonHolder(pid=42, database="elsewhere", prepared=None, seconds=HELD_BACK_SECONDS_MAX + 1)
NONE_HOLDS = EventsHorizon(None)


def events(figures: StatusFigures | None = FIGURES, horizon: EventsHorizon | None = NONE_HOLDS) -> dict[str, Any]:
    section: dict[str, Any] = figures_sections(figures, horizon=horizon)["events"]
    return section


def shown(section: dict[str, Any]) -> str:
    return "\n".join(lines_of({"as_of": "now", "figures_as_of": "now", "to_do": [], "events": section}))


def test_where_nothing_holds_events_back_there_is_nothing_to_do() -> None:
    found = events()

    assert found == {
        "oldest_day": "2026-01-01",
        "misplaced": 0,
        "horizon_seconds": 0.0,
        "held_by": None,
        "to_do": None,
    }
    assert "kept since 2026-01-01, none held back" in shown(found)


def test_what_was_not_read_is_not_known_and_never_0() -> None:
    found = events(None, None)

    assert (found["oldest_day"], found["misplaced"], found["horizon_seconds"], found["to_do"]) == (None,) * 4
    assert "kept since not known, held back: not known" in shown(found)


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (
            IN_A_SESSION,
            "database elsewhere has been open for 31 s; ask its owner, or `SELECT pg_terminate_backend(42)`",
        ),
        (
            replace(IN_A_SESSION, pid=None, prepared="left open"),
            "the prepared transaction left open in database elsewhere",
        ),
        (replace(IN_A_SESSION, pid=None, database=None), "this role may not see whose"),
    ],
)
def test_a_transaction_that_is_open_for_too_long_is_named_with_what_to_do(holder: HorizonHolder, words: str) -> None:
    found = events(horizon=EventsHorizon(holder))

    assert words in found["to_do"]
    assert (found["horizon_seconds"], found["held_by"]["pid"]) == (31.0, holder.pid)
    assert "held back for 31.0 s" in shown(found)


def test_a_transaction_that_is_not_open_for_long_is_no_trouble() -> None:
    found = events(horizon=EventsHorizon(replace(IN_A_SESSION, seconds=HELD_BACK_SECONDS_MAX)))

    assert found["to_do"] is None


def test_rows_without_a_day_are_said() -> None:
    found = events(replace(FIGURES, events_misplaced=3))

    assert "the database's clock" in found["to_do"]
    assert "3 rows in no day" in shown(found)
