"""The seed's "other potential failure scenarios": the exact rows, and the exact answer, of each."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import Absent, Accepted, Found, NoAnswer, NotSent, PlaceAnswer, Refused, Unknown
from ordertrail.runtime import failpoints
from ordertrail.up.tcp_ports import free_port
from tests.support.orders import LATER, request_body
from tests.support.service import WAIT_SECONDS, Reply, Row, Running, ScriptedVenue, found, running

INITIATED: Row = ("INITIATED", None, None)
MARKET: dict[str, Any] = {"type": "market", "without": ("limit_price",)}


def reported(reply: Reply) -> tuple[str, str, str, bool, str | None]:
    """What an answer to a failed order says, after checking what all of them have in common."""
    body, headers = reply.body, reply.headers
    assert reply.status == 500
    assert headers["content-type"] == "application/problem+json"
    assert headers["location"] == body["instance"] == f"/orders/{body['order_id']}"
    assert body["message"] == "Internal server error while placing the order"
    assert body["status"] == 500
    assert body["title"]
    assert body["detail"]
    assert ("retry-after" in headers) is body["retryable"]
    return (
        body["type"].removeprefix("/problems/"),
        body["order_status"],
        body["outcome"],
        body["retryable"],
        body["exchange_order_id"],
    )


ANSWERS: list[tuple[PlaceAnswer, Row, tuple[str, str, str, bool, None]]] = [
    (
        Refused("unknown_instrument"),
        ("EXCHANGE_CREATION_FAILED", "refused:unknown_instrument", None),
        ("exchange-refused", "EXCHANGE_CREATION_FAILED", "not_placed", False, None),
    ),
    (
        NotSent("throttled", 7),
        ("EXCHANGE_CREATION_FAILED", "not_sent:throttled", None),
        ("exchange-throttled", "EXCHANGE_CREATION_FAILED", "pending", True, None),
    ),
    (
        NotSent("closed"),
        ("EXCHANGE_CREATION_FAILED", "not_sent:closed", None),
        ("exchange-unavailable", "EXCHANGE_CREATION_FAILED", "pending", True, None),
    ),
    (
        NotSent("connection_refused"),
        ("EXCHANGE_CREATION_FAILED", "not_sent:connection_refused", None),
        ("exchange-unavailable", "EXCHANGE_CREATION_FAILED", "pending", True, None),
    ),
    (
        NotSent("circuit_open"),
        ("EXCHANGE_CREATION_FAILED", "not_sent:circuit_open", None),
        ("circuit-open", "EXCHANGE_CREATION_FAILED", "pending", True, None),
    ),
    (
        Unknown("timeout"),
        ("EXCHANGE_OUTCOME_UNKNOWN", "unknown:timeout", None),
        ("outcome-unknown", "EXCHANGE_OUTCOME_UNKNOWN", "unknown", True, None),
    ),
]


@pytest.mark.parametrize(("answer", "row", "expected"), ANSWERS, ids=[str(answer) for answer, _, _ in ANSWERS])
async def test_each_answer_of_the_exchange_has_its_row_and_its_problem(
    service: Running, venue: ScriptedVenue, answer: PlaceAnswer, row: Row, expected: object
) -> None:
    venue.answer = answer

    reply = await service.place()

    assert reported(reply) == expected
    assert await service.trail(reply.body["order_id"]) == [INITIATED, row]
    assert len(venue.sent) == 1


async def test_retry_after_is_the_exchange_s_own(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = NotSent("throttled", 6.2)

    reply = await service.place()

    assert reply.headers["retry-after"] == "7"


@pytest.mark.parametrize("place_by", [None, LATER.isoformat()])
async def test_a_market_order_that_was_not_sent_waits_only_if_its_owner_said_until_when(
    service: Running, venue: ScriptedVenue, place_by: str | None
) -> None:
    venue.answer = NotSent("closed")

    reply = await service.place(**MARKET, place_by=place_by)

    outcome = "not_placed" if place_by is None else "pending"
    assert reported(reply) == (
        "exchange-unavailable",
        "EXCHANGE_CREATION_FAILED",
        outcome,
        place_by is not None,
        None,
    )
    assert (reply.body["place_by"] is None) is (place_by is None)


async def test_unknown_and_found_is_placed_with_two_rows(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = Unknown("connection_lost")
    venue.verification = found

    reply = await service.place()

    assert reply.status == 201
    assert reply.body["exchange_order_id"] == "X-9"
    assert await service.trail(reply.body["id"]) == [INITIATED, ("COMPLETED", None, "X-9")]
    assert venue.queried == [reply.body["id"]]
    assert len(venue.sent) == 1


async def test_unknown_and_found_as_rejected_is_refused(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = Unknown("connection_lost")
    venue.verification = lambda order: found(order, ord_status="rejected", reject_reason="price_band")

    reply = await service.place()

    assert reported(reply) == ("exchange-refused", "EXCHANGE_CREATION_FAILED", "not_placed", False, None)
    assert await service.trail(reply.body["order_id"]) == [
        INITIATED,
        ("EXCHANGE_CREATION_FAILED", "refused:price_band", None),
    ]


def differing(order: Order) -> Found:
    return found(order, quantity=order.quantity + 1)


@pytest.mark.parametrize(
    ("verification", "reason"),
    [
        (Absent(), "unknown:connection_lost"),
        (NoAnswer("timeout"), "unknown:connection_lost"),
        (differing, "unknown:differs_at_exchange"),
    ],
    ids=["not found", "no answer", "found but different"],
)
async def test_unknown_and_not_found_stays_unknown(
    service: Running, venue: ScriptedVenue, verification: Any, reason: str
) -> None:
    venue.answer = Unknown("connection_lost")
    venue.verification = verification

    reply = await service.place()

    assert reported(reply) == ("outcome-unknown", "EXCHANGE_OUTCOME_UNKNOWN", "unknown", True, None)
    assert await service.trail(reply.body["order_id"]) == [INITIATED, ("EXCHANGE_OUTCOME_UNKNOWN", reason, None)]
    assert len(venue.queried) == 1


async def test_an_adapter_that_raises_leaves_the_order_in_doubt(service: Running, venue: ScriptedVenue) -> None:
    def fail(order: Order) -> PlaceAnswer:
        raise RuntimeError("a bug")

    venue.answer = fail

    reply = await service.place()

    assert reported(reply) == ("outcome-unknown", "EXCHANGE_OUTCOME_UNKNOWN", "unknown", True, None)
    assert await service.trail(reply.body["order_id"]) == [
        INITIATED,
        ("EXCHANGE_OUTCOME_UNKNOWN", "unknown:adapter_raised", None),
    ]


async def test_an_exchange_that_takes_too_long_leaves_the_order_in_doubt(
    database_url: str, tmp_path: Path, venue: ScriptedVenue
) -> None:
    venue.may_answer.clear()

    async with running(database_url, tmp_path, venue, exchange_timeout_seconds=0.5) as service:
        reply = await service.place()

    assert reported(reply) == ("outcome-unknown", "EXCHANGE_OUTCOME_UNKNOWN", "unknown", True, None)
    assert await service.trail(reply.body["order_id"]) == [
        INITIATED,
        ("EXCHANGE_OUTCOME_UNKNOWN", "unknown:timeout", None),
    ]


async def test_an_exchange_that_is_down_was_not_sent_anything(database_url: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with running(database_url, tmp_path, exchange_url=url) as service:
        reply = await service.place()

        assert reported(reply) == ("exchange-unavailable", "EXCHANGE_CREATION_FAILED", "pending", True, None)
        [first, (status, reason, _)] = await service.trail(reply.body["order_id"])
        assert first == INITIATED
        assert status == "EXCHANGE_CREATION_FAILED"
        assert reason is not None
        assert reason.startswith("not_sent:")


FAULTS: list[tuple[str, tuple[str, str, str]]] = [
    ("FAULTREFUSE0", ("exchange-refused", "not_placed", "refused:")),
    ("FAULTTHROTTL", ("exchange-throttled", "pending", "not_sent:throttled")),
    ("FAULTCLOSED0", ("exchange-unavailable", "pending", "not_sent:closed")),
]


@pytest.mark.parametrize(("instrument", "expected"), FAULTS)
async def test_instruments_that_fail_on_purpose_fail_as_their_names_say(
    database_url: str, tmp_path: Path, instrument: str, expected: tuple[str, str, str]
) -> None:
    problem, outcome, reason = expected
    async with running(database_url, tmp_path) as service:
        reply = await service.place(instrument=instrument)

        assert reported(reply) == (problem, "EXCHANGE_CREATION_FAILED", outcome, outcome == "pending", None)
        [first, (status, last_reason, _)] = await service.trail(reply.body["order_id"])
        assert (first, status) == (INITIATED, "EXCHANGE_CREATION_FAILED")
        assert last_reason is not None
        assert last_reason.startswith(reason)


@pytest.mark.parametrize("instrument", ["FAULTERROR00", "FAULTGARBAGE", "FAULTRESET00", "FAULTLOST000"])
async def test_an_answer_that_got_lost_is_queried_and_found(database_url: str, tmp_path: Path, instrument: str) -> None:
    async with running(database_url, tmp_path, exchange_timeout_seconds=0.5) as service:
        reply = await service.place(instrument=instrument)

        assert reply.status == 201
        assert await service.trail(reply.body["id"]) == [
            INITIATED,
            ("COMPLETED", None, reply.body["exchange_order_id"]),
        ]


@pytest.mark.parametrize(("answer", "row", "expected"), ANSWERS, ids=[str(answer) for answer, _, _ in ANSWERS])
async def test_a_failing_row_that_is_refused_is_replaced_by_one_that_keeps_its_reason(
    service: Running, venue: ScriptedVenue, answer: PlaceAnswer, row: Row, expected: tuple[str, str, str, bool, None]
) -> None:
    status, reason, _ = row
    venue.answer = answer
    service.refuse_rows(status)

    reply = await service.place()

    _, _, outcome, retryable, _ = expected
    assert reported(reply) == ("not-recorded", "DATABASE_PERSISTENCE_FAILED", outcome, retryable, None)
    assert await service.trail(reply.body["order_id"]) == [INITIATED, ("DATABASE_PERSISTENCE_FAILED", reason, None)]


@pytest.mark.parametrize(("answer", "row", "expected"), ANSWERS[:2], ids=["refused", "throttled"])
async def test_when_both_failing_rows_fail_the_answer_is_the_same_and_the_row_comes_later(
    service: Running, venue: ScriptedVenue, answer: PlaceAnswer, row: Row, expected: tuple[str, str, str, bool, None]
) -> None:
    status, reason, _ = row
    venue.answer = answer
    service.refuse_rows(status)
    service.refuse_rows("DATABASE_PERSISTENCE_FAILED", first=1)

    reply = await service.place()

    _, _, outcome, retryable, _ = expected
    assert reported(reply) == ("not-recorded", "DATABASE_PERSISTENCE_FAILED", outcome, retryable, None)
    assert await service.trail(reply.body["order_id"]) == [INITIATED]

    await service.service.housekeeping.run_once()
    await service.service.housekeeping.run_once()

    assert await service.trail(reply.body["order_id"]) == [INITIATED, ("DATABASE_PERSISTENCE_FAILED", reason, None)]
    assert len(venue.sent) == 1


async def test_when_the_failing_row_of_an_accepted_order_fails_too_it_comes_later(
    service: Running, venue: ScriptedVenue
) -> None:
    service.refuse_rows("COMPLETED")
    service.refuse_rows("DATABASE_PERSISTENCE_FAILED", first=1)

    reply = await service.place()

    assert reported(reply) == ("not-recorded", "DATABASE_PERSISTENCE_FAILED", "placed", True, "X-1")
    assert await service.trail(reply.body["order_id"]) == [INITIATED]

    await service.service.housekeeping.run_once()
    await service.service.housekeeping.run_once()

    assert await service.trail(reply.body["order_id"]) == [
        INITIATED,
        ("DATABASE_PERSISTENCE_FAILED", "accepted", "X-1"),
    ]


async def test_an_order_of_which_no_row_can_be_written_is_never_sent_and_its_trail_comes_later(
    service: Running, venue: ScriptedVenue
) -> None:
    service.refuse_rows("INITIATED", first=2)

    reply = await service.place()

    assert reported(reply) == ("not-recorded", "DATABASE_PERSISTENCE_FAILED", "not_placed", False, None)
    assert await service.rows() == 0

    await service.service.housekeeping.run_once()
    await service.service.housekeeping.run_once()

    assert sorted(await service.trail(reply.body["order_id"])) == [
        ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded", None),
        INITIATED,
    ]
    assert venue.sent == []


async def test_database_away_before_the_order(service: Running, venue: ScriptedVenue) -> None:
    service.take_database_away()
    await service.service.housekeeping.run_once()

    reply = await service.place()

    assert reported(reply) == ("not-recorded", "DATABASE_PERSISTENCE_FAILED", "not_placed", False, None)
    assert venue.sent == []

    await come_back(service)

    assert sorted(await service.trail(reply.body["order_id"])) == [
        ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded", None),
        INITIATED,
    ]
    assert (await service.place()).status == 201


async def test_database_away_from_the_very_start(
    service: Running, venue: ScriptedVenue, database_url: str, tmp_path: Path
) -> None:
    service.take_database_away()
    async with running(database_url, tmp_path / "second", venue) as second:
        second.clock.hurry()
        unready = await second.call("GET", "/readyz")
        alive = await second.call("GET", "/livez")
        reply = await second.place()
        await come_back(second)
        placed = await second.place()

    assert (unready.status, alive.status) == (503, 200)
    assert "The database" in unready.body["problems"][0]
    assert reported(reply) == ("not-recorded", "DATABASE_PERSISTENCE_FAILED", "not_placed", False, None)
    assert placed.status == 201
    assert len(venue.sent) == 1


AWAY_BETWEEN: list[tuple[PlaceAnswer, Row, str]] = [
    (Accepted("X-1"), ("DATABASE_PERSISTENCE_FAILED", "accepted", "X-1"), "placed"),
    (Refused("price"), ("DATABASE_PERSISTENCE_FAILED", "refused:price", None), "not_placed"),
    (NotSent("closed"), ("DATABASE_PERSISTENCE_FAILED", "not_sent:closed", None), "pending"),
    (Unknown("timeout"), ("DATABASE_PERSISTENCE_FAILED", "unknown:timeout", None), "unknown"),
]


@pytest.mark.parametrize("case", AWAY_BETWEEN, ids=[str(answer) for answer, _, _ in AWAY_BETWEEN])
@pytest.mark.parametrize("moment", ["before_send", "after_send"])
async def test_database_away_between_the_two_rows(
    service: Running, venue: ScriptedVenue, case: tuple[PlaceAnswer, Row, str], moment: str
) -> None:
    venue.answer, row, outcome = case
    failpoints.arm(moment, service.take_database_away)

    reply = await service.place()
    failpoints.disarm()

    assert reported(reply) == (
        "not-recorded",
        "DATABASE_PERSISTENCE_FAILED",
        outcome,
        outcome != "not_placed",
        row[2],
    )

    await come_back(service)

    assert await service.trail(reply.body["order_id"]) == [INITIATED, row]
    assert len(venue.sent) == 1


async def test_database_away_for_a_moment_between_the_two_rows_goes_unnoticed(
    service: Running, venue: ScriptedVenue
) -> None:
    failpoints.arm("before_completed", lambda: away_for_a_moment(service))

    reply = await service.place()

    assert reply.status == 201
    assert await service.trail(reply.body["id"]) == [INITIATED, ("COMPLETED", None, "X-1")]


async def test_database_away_for_a_moment_before_the_first_row_goes_unnoticed(
    service: Running, venue: ScriptedVenue
) -> None:
    await service.place()
    failpoints.arm("before_initiated", lambda: away_for_a_moment(service))

    reply = await service.place()

    assert reply.status == 201
    assert await service.trail(reply.body["id"]) == [INITIATED, ("COMPLETED", None, "X-1")]
    assert len(venue.sent) == 2


async def test_database_away_after_both_rows(service: Running) -> None:
    failpoints.arm("after_completed", service.take_database_away)

    reply = await service.place()
    failpoints.disarm()

    assert reply.status == 201
    await come_back(service)
    assert await service.trail(reply.body["id"]) == [INITIATED, ("COMPLETED", None, "X-1")]


@pytest.mark.parametrize(
    "moment",
    ["before_initiated", "after_initiated", "after_send", "before_completed", "after_completed"],
)
async def test_a_bug_between_two_steps_is_an_answer_that_claims_nothing(
    service: Running, venue: ScriptedVenue, moment: str
) -> None:
    def fail() -> None:
        raise failpoints.FailpointError

    failpoints.arm(moment, fail)

    reply = await service.place()

    assert reported(reply) == ("internal-error", "INITIATED", "unknown", True, None)
    assert "Failpoint" not in reply.text.decode()
    failpoints.disarm()
    assert (await service.place()).status == 201


async def test_a_client_that_hangs_up_changes_nothing(service: Running, venue: ScriptedVenue) -> None:
    venue.may_answer.clear()
    body = request_body()
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    writer.write(body)
    await writer.drain()
    async with asyncio.timeout(10):
        await venue.arrived.wait()

    writer.transport.abort()
    assert (await service.call("GET", "/livez")).status == 200
    venue.may_answer.set()

    [order] = venue.sent
    both: list[Row] = [INITIATED, ("COMPLETED", None, "X-1")]
    await service.until(lambda: is_trail(service, order.id, both))


async def test_a_client_that_hangs_up_within_its_request_has_placed_nothing(service: Running) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()

    assert (await service.place()).status == 201
    assert await service.rows() == 2


async def test_the_order_that_is_sent_is_the_order_that_came(service: Running, venue: ScriptedVenue) -> None:
    reply = await service.place(limit_price="9999999999999.99", side="sell", quantity=2147483647)

    [sent] = venue.sent
    assert reply.status == 201
    assert (f"{sent.limit_price:f}", sent.side, sent.quantity) == ("9999999999999.99", "sell", 2147483647)
    assert b'"limit_price":9999999999999.99,' in reply.text
    [row] = await service.fetch("SELECT DISTINCT limit_price FROM orders")
    assert repr(row["limit_price"]) == "9999999999999.99"


async def is_trail(service: Running, order_id: str, rows: list[Row]) -> bool:
    return await service.trail(order_id) == rows


def away_for_a_moment(service: Running) -> None:
    service.take_database_away(for_good=False)
    service.bring_database_back()


async def come_back(service: Running) -> None:
    """The database is back, and the watch has seen it and replayed what was spooled."""
    service.bring_database_back()
    await service.service.housekeeping.run_once()
    await service.service.housekeeping.run_once()


async def spooled_and_replayed(service: Running, *, wrong_by: timedelta) -> tuple[str, datetime]:
    """An order whose trail went to the spool while the process's clock was wrong, and was replayed."""
    service.take_database_away()
    service.clock.wall_wrong_by = wrong_by
    order_id = (await service.place()).body["order_id"]
    service.clock.wall_wrong_by = timedelta(0)
    service.bring_database_back()
    before = datetime.now(UTC)
    await service.service.housekeeping.run_once()
    await service.service.housekeeping.run_once()
    return order_id, before


async def test_spooled_rows_have_the_time_of_their_steps_and_beside_it_when_they_were_written(
    service: Running, venue: ScriptedVenue
) -> None:
    """The database came back 37 seconds later: the trail said that all had happened then."""
    order_id, replayed_after = await spooled_and_replayed(service, wrong_by=timedelta(seconds=-37))

    reply = await service.call("GET", f"/orders/{order_id}/trail")

    first, second = reply.body["trail"]
    assert [first["status"], second["status"]] == ["INITIATED", "DATABASE_PERSISTENCE_FAILED"]
    for row in (first, second):
        happened, written = (datetime.fromisoformat(row[name]) for name in ("created_at", "recorded_at"))
        assert written >= replayed_after - timedelta(seconds=1)
        assert timedelta(seconds=30) < written - happened < timedelta(seconds=37 + WAIT_SECONDS)
    assert first["created_at"] <= second["created_at"]


@pytest.mark.parametrize("wrong_by", [timedelta(days=365), timedelta(days=-365 * 50), timedelta(seconds=90)], ids=str)
async def test_time_of_a_step_that_cannot_be_is_the_databases_own(
    service: Running, venue: ScriptedVenue, wrong_by: timedelta
) -> None:
    order_id, replayed_after = await spooled_and_replayed(service, wrong_by=wrong_by)

    reply = await service.call("GET", f"/orders/{order_id}/trail")

    for row in reply.body["trail"]:
        assert row["recorded_at"] is None
        happened = datetime.fromisoformat(row["created_at"])
        assert abs(happened - replayed_after) < timedelta(seconds=WAIT_SECONDS)
