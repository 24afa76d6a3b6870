"""The status says how many orders wait for a worker, and what to do where they wait for long."""

from typing import Any

from ordertrail.server.status_document import ORDERS_MAY_WAIT_SECONDS, figures_sections, to_do
from tests.unit.server.test_executions_status import sections, shown

LONG = ORDERS_MAY_WAIT_SECONDS + 12


def queued(**changes: Any) -> dict[str, Any]:
    return sections(**{"queued_orders": 7, "queued_oldest_seconds": 0.26, **changes})


def test_what_waits_is_shown_and_nothing_is_to_be_done() -> None:
    found = queued()

    assert found["order_queue"] == {"orders": 7, "oldest_seconds": 0.3, "to_do": None}
    assert "7 orders wait for a worker, the oldest for 0.3 s" in shown(found)


def test_an_empty_queue_has_no_oldest() -> None:
    found = sections()

    assert found["order_queue"] == {"orders": 0, "oldest_seconds": None, "to_do": None}
    assert "0 orders wait for a worker" in shown(found)


def test_where_they_wait_for_long_workers_are_missing() -> None:
    [sentence] = to_do(queued(queued_oldest_seconds=LONG))

    assert f"7 orders wait in the queue, the oldest for {LONG:.0f} s" in sentence
    assert "ordertrail place" in sentence


def test_halted_they_wait_for_the_operator() -> None:
    halted = {"is_halted": True, "halt_operator": "ada", "halt_reason": "x"}
    sentence = queued(queued_oldest_seconds=LONG, **halted)["order_queue"]["to_do"]

    assert "placing is halted" in sentence
    assert "ordertrail place" not in sentence


def test_what_could_not_be_read_is_not_known() -> None:
    assert figures_sections(None, None)["order_queue"] == {"orders": None, "oldest_seconds": None, "to_do": None}
