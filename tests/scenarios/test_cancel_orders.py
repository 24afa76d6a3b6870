"""`DELETE /orders/{id}` over HTTP: the wish is taken at once, and kept at until the exchange has canceled."""

from pathlib import Path
from typing import Any

import pytest

from ordertrail.storage.postgres import doubt_statements
from tests.support.http_calls import call, place
from tests.support.postgres import trail
from tests.support.programs import Program, api_program
from tests.support.service import ScriptedVenue, running
from tests.support.until import until


def cancel(api: Program, order_id: str) -> tuple[int, Any]:
    return call("DELETE", f"{api.url}/orders/{order_id}")


def test_a_live_order_is_canceled_and_the_wish_may_be_repeated(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path) as api:
        _, order = place(api)

        first, again = cancel(api, order["id"]), cancel(api, order["id"])

        assert (first[0], first[1]["id"]) == (202, order["id"])
        assert again[0] == 202
        # By the exchange's report or by a query, whichever comes first.
        until(lambda: "CANCELED" in dict(trail(database_url, order["id"])), what="it is canceled")
        status, canceled = cancel(api, order["id"])
        assert (status, canceled["status"]) == (202, "CANCELED")


def test_an_order_that_was_not_sent_is_settled_and_never_sent(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path) as api:
        status, failed = place(api, instrument="FAULTCLOSED0")
        assert (status, failed["outcome"]) == (500, "pending")

        accepted, order = cancel(api, failed["order_id"])

        assert (accepted, order["outcome"]) == (202, "not_placed")
        until(
            lambda: ("NOT_PLACED", "proved:not_sent:closed") in trail(database_url, failed["order_id"]),
            what="it is settled",
        )


def test_client_of_an_order_that_was_canceled_before_it_was_sent_learns_that(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path) as api:
        _, failed = place(api, instrument="FAULTCLOSED0", client_order_id="k")
        cancel(api, failed["order_id"])

        answers = [place(api, instrument="FAULTCLOSED0", client_order_id="k")]
        until(lambda: len(trail(database_url, failed["order_id"])) > 2, what="it is settled")
        answers.append(place(api, instrument="FAULTCLOSED0", client_order_id="k"))

    for status, answer in answers:
        assert (status, answer["type"], answer["outcome"]) == (500, "/problems/not-placed", "not_placed")
        assert (answer["certainty"], answer["advice"]) == ("proved", "new_key_is_safe")
        assert "was canceled before it was sent (" in answer["detail"]


def test_an_order_that_was_refused_cannot_be_canceled(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path) as api:
        _, failed = place(api, instrument="FAULTREFUSE0")

        assert cancel(api, failed["order_id"])[0] == 409


def test_an_order_that_nobody_placed_is_not_found(database_url: str, tmp_path: Path) -> None:
    with api_program(database_url, tmp_path) as api:
        status, problem = cancel(api, "nobody")

        assert (status, problem["type"]) == (404, "/problems/order-not-found")


async def test_statement_that_is_wrong_is_a_bug_of_ours_and_no_absence_of_the_database(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt_statements, "REQUEST_CANCEL", "SELECT FROM WHERE $1")
    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        order = await service.place()

        reply = await service.call("DELETE", f"/orders/{order.body['id']}")

    assert (reply.status, reply.body["type"]) == (500, "/problems/internal-error")


async def test_database_that_is_away_is_said_to_be(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        order = await service.place()
        service.take_database_away()

        reply = await service.call("DELETE", f"/orders/{order.body['id']}")

    assert (reply.status, reply.body["type"]) == (503, "/problems/database-unavailable")
    assert reply.headers["retry-after"] == "1"
