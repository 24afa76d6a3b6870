"""One key, one order, for ever: whoever repeats it, how often, where, and whatever crashed in between."""

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import Absent, Accepted, NotSent, Refused, Unknown
from simulated_exchange.entries import AcceptedLine
from simulated_exchange.log import LOG_NAME
from tests.support.checker import ClientAnswer, Evidence, check, read_evidence_async
from tests.support.orders import SEED_ORDER, request_body
from tests.support.programs import Program, api_program, exchange_program
from tests.support.service import Reply, Running, ScriptedVenue, found

REPEATS = 100
PROCESSES = 3
DEADLINE_SECONDS = 60

# The same id may be used again and again: every send that arrives stands in the exchange's log.
COUNTS_EVERY_SEND = '{"client_order_id_unique": "never", "accepts_within_seconds": 1, "honours_accept_by": true}'


# Several processes, one key.


@dataclass
class Site:
    """An exchange that counts what it is sent, a database, and what the clients were told."""

    database_url: str
    folder: Path
    exchange: Program
    session: aiohttp.ClientSession
    answers: list[ClientAnswer] = field(default_factory=list)

    async def api(self, programs: contextlib.ExitStack, **settings: object) -> Program:
        starting = api_program(self.database_url, self.folder, exchange_url=self.exchange.url, **settings)
        return await asyncio.to_thread(programs.enter_context, starting)

    async def post(self, to: Program, key: str) -> tuple[int | None, dict[str, Any], dict[str, str]]:
        status, body, headers = None, {}, {}
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with self.session.post(
                to.url + "/orders", json=SEED_ORDER, headers={"Idempotency-Key": key}
            ) as response:
                body = await response.json(content_type=None)
                status, headers = response.status, {name.lower(): value for name, value in response.headers.items()}
        self.answers.append(ClientAnswer(key, SEED_ORDER, status, body, datetime.now(UTC)))
        return status, body, headers

    async def evidence(self) -> Evidence:
        return await read_evidence_async(self.folder / "exchange" / LOG_NAME, self.database_url)

    async def sends(self) -> int:
        """How many orders the exchange was sent, and accepted."""
        return sum(isinstance(line, AcceptedLine) for line in (await self.evidence()).lines)


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    with exchange_program(tmp_path / "exchange", "--profile", COUNTS_EVERY_SEND) as exchange:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        ) as session:
            yield Site(database_url, tmp_path, exchange, session)


async def test_one_key_a_hundred_times_at_once_over_three_processes_is_one_order(site: Site) -> None:
    with contextlib.ExitStack() as programs:
        apis = await asyncio.gather(*(site.api(programs, reconcile_in_api=False) for _ in range(PROCESSES)))

        replies = await asyncio.gather(*(site.post(apis[n % PROCESSES], "once") for n in range(REPEATS)))
        repeats = await asyncio.gather(*(site.post(apis[n % PROCESSES], "once") for n in range(PROCESSES)))

    statuses = Counter(status for status, _, _ in replies)
    assert statuses.keys() <= {201, 409} and statuses[201] >= 1, statuses
    assert [status for status, _, _ in repeats] == [201] * PROCESSES
    assert all("retry-after" in headers for status, _, headers in replies if status == 409)
    assert len({body["id"] for status, body, _ in [*replies, *repeats] if status == 201}) == 1
    evidence = await site.evidence()
    assert [row.status for row in evidence.rows].count("INITIATED") == 1
    assert await site.sends() == 1
    check(evidence, site.answers).assert_safe()


# Where a process dies, and how many orders the exchange has then.
DEATHS = {"before_initiated": 0, "after_initiated": 0, "after_send": 1}


@pytest.mark.parametrize("point", DEATHS)
async def test_repeat_after_a_crash_never_sends(site: Site, point: str) -> None:
    short = {
        "exchange_timeout_seconds": 0.5,
        "send_window_seconds": 0.5,
        "database_timeout_seconds": 2,
        "reconcile_in_api": False,
    }
    with contextlib.ExitStack() as programs:
        victim, other = await asyncio.gather(
            site.api(programs, failpoints=f"{point}=kill", **short), site.api(programs, **short)
        )

        lost = await site.post(victim, "crash")
        assert (lost[0], await asyncio.to_thread(victim.wait)) == (None, -signal.SIGKILL)
        if point == "before_initiated":
            first = await site.post(other, "crash")
            assert (first[0], await site.sends()) == (201, 1)
            return
        first = await site.post(other, "crash")
        reported = [first]
        async with asyncio.timeout(DEADLINE_SECONDS):
            while reported[-1][0] == 409:
                reported.append(await site.post(other, "crash"))

        assert first[0] == 409 and "retry-after" in first[2]
        assert reported[-1][0] == 500
        assert reported[-1][1]["outcome"] == "unknown"
        assert await site.sends() == DEATHS[point]

        # Only reconciliation finds out, and only it sends again.
        reconciling = await site.api(programs, **short | {"reconcile_in_api": True, "reconcile_interval_seconds": 0.2})
        async with asyncio.timeout(DEADLINE_SECONDS):
            while reported[-1][0] != 201:
                reported.append(await site.post(reconciling, "crash"))

    assert reported[-1][1]["id"] == first[1]["order_id"]
    assert await site.sends() == 1
    check(await site.evidence(), site.answers).assert_safe(hits={point: 1})


# What a repeat says.


async def repeat(service: Running, key: str = "k") -> Reply:
    return await service.place(key=key)


def said(reply: Reply) -> dict[str, Any]:
    """A body without what is each request's own."""
    return {name: value for name, value in reply.body.items() if name != "trace_id"}


async def reconcile(service: Running) -> None:
    """One pass of the schedule, with everything due."""
    await service.fetch("UPDATE doubts SET next_at = clock_timestamp()")
    await service.service.schedule.run_once()


async def test_repeat_of_a_placed_order_is_the_same_201(service: Running, venue: ScriptedVenue) -> None:
    first = await repeat(service)
    again = [await repeat(service) for _ in range(3)]

    assert [reply.status for reply in (first, *again)] == [201] * 4
    assert [said(reply) for reply in again] == [said(first)] * 3
    assert again[0].headers["location"] == first.headers["location"]
    assert len(venue.sent) == 1


async def test_repeat_of_a_refused_order_is_the_same_500(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = Refused("invalid_price")

    first = await repeat(service)
    venue.answer = Accepted("X-1")
    again = await repeat(service)

    assert (first.status, again.status) == (500, 500)
    assert said(again) == said(first)
    assert (again.body["outcome"], again.body["retryable"]) == ("not_placed", False)
    assert len(venue.sent) == 1


@pytest.mark.parametrize("answer", [NotSent("throttled", 7), Unknown("timeout")], ids=str)
async def test_repeat_of_an_undecided_order_is_the_same_500(
    service: Running, venue: ScriptedVenue, answer: NotSent | Unknown
) -> None:
    venue.answer = answer

    first = await repeat(service)
    again = await repeat(service)

    assert (first.status, again.status) == (500, 500)
    assert said(again) == said(first)
    assert again.body["retryable"] and int(again.headers["retry-after"]) >= 1
    assert len(venue.sent) == 1


async def test_repeat_of_an_unknown_order_is_500_until_reconciled_then_201(
    service: Running, venue: ScriptedVenue
) -> None:
    venue.answer = Unknown("timeout")

    first = await repeat(service)
    still = await repeat(service)
    venue.verification = lambda order: found(order)  # noqa: PLW0108 - a verification may also be one for all
    await reconcile(service)
    then = await repeat(service)

    assert [(reply.status, reply.body["outcome"]) for reply in (first, still)] == [(500, "unknown")] * 2
    assert (then.status, then.body["outcome"]) == (201, "placed")
    assert then.body["id"] == first.body["order_id"] == still.body["order_id"]
    assert len(venue.sent) == 1


async def test_after_a_short_outage_a_client_that_follows_the_advice_has_its_order_placed(
    service: Running, venue: ScriptedVenue
) -> None:
    """It is never left to find out by itself that its key has been used up."""
    service.take_database_away()

    away = await repeat(service)
    service.bring_database_back()
    await service.service.housekeeping.run_once()
    await service.service.housekeeping.run_once()
    back = await repeat(service)
    under_a_new_key = await repeat(service, "another")

    assert (away.status, away.body["outcome"], away.body["advice"]) == (500, "unknown", "wait_then_repeat_same_key")
    assert "retry-after" in away.headers
    assert (back.status, back.body["outcome"], back.body["certainty"]) == (500, "not_placed", "proved")
    assert back.body["advice"] == "new_key_is_safe"
    assert under_a_new_key.status == 201
    assert len(venue.sent) == 1


async def test_after_a_person_s_word_the_client_learns_that_and_not_who(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = Unknown("timeout")
    order_id = (await repeat(service)).body["order_id"]
    await service.fetch(
        "INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason)"
        " SELECT id, created_at, type, side, instrument, limit_price, quantity, 'NOT_PLACED', 'operator:joe: asked'"
        " FROM orders WHERE id = $1 AND status = 'INITIATED'",
        order_id,
    )

    again = await repeat(service)
    read = await service.call("GET", f"/orders/{order_id}")

    assert (again.status, again.body["type"], again.body["outcome"]) == (500, "/problems/not-placed", "not_placed")
    assert (again.body["certainty"], again.body["advice"]) == ("presumed", "never_repeat")
    assert b"joe" not in again.text and b"asked" not in again.text
    assert (read.body["outcome"], read.body["certainty"]) == ("not_placed", "presumed")


def halt(service: Running) -> str:
    service.service.gate.halt()
    return "halted"


def fill_the_spool(service: Running) -> str:
    service.service.spool.problem = "The spool is full."
    return "spool-full"


def overload(service: Running) -> str:
    service.service.admission._orders_in_flight_max = 0
    return "overloaded"


@pytest.mark.parametrize("shed", [halt, fill_the_spool, overload])
async def test_key_that_is_known_is_answered_with_the_truth_where_new_orders_are_shed(
    service: Running, venue: ScriptedVenue, shed: Callable[[Running], str]
) -> None:
    placed = await repeat(service, "placed")
    venue.answer = Unknown("timeout")
    in_doubt = await repeat(service, "in-doubt")
    problem = shed(service)

    again, still, another = await repeat(service, "placed"), await repeat(service, "in-doubt"), await repeat(service)
    reused = await service.place(key="placed", quantity=7)
    keyless = await service.place()

    assert (again.status, said(again)) == (201, said(placed))
    assert (still.status, said(still)) == (500, said(in_doubt))
    assert (reused.status, reused.body["type"]) == (422, "/problems/key-reused")
    assert (reused.body["advice"], reused.headers["location"]) == ("never_repeat", f"/orders/{placed.body['id']}")
    for new, advice in ((another, "wait_then_repeat_same_key"), (keyless, "repeat_request")):
        assert (new.status, new.body["type"], new.body["advice"]) == (503, f"/problems/{problem}", advice)
    assert len(venue.sent) == 2


async def test_repeat_is_answered_with_the_truth_after_its_place_by(service: Running, venue: ScriptedVenue) -> None:
    """The same request is valid once and not any more; "correct it, the key is free" would be wrong."""
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    placed = await service.place(key="k", place_by=soon)
    service.clock.wall_wrong_by = timedelta(seconds=60)

    again, new = await service.place(key="k", place_by=soon), await service.place(key="new", place_by=soon)

    assert (again.status, again.body["id"]) == (201, placed.body["id"])
    assert (new.status, new.body["type"], new.body["advice"]) == (
        422,
        "/problems/invalid-request",
        "correct_and_repeat",
    )
    assert len(venue.sent) == 1


async def test_repeat_while_the_first_is_being_placed_is_409(service: Running, venue: ScriptedVenue) -> None:
    venue.may_answer.clear()
    first = asyncio.create_task(repeat(service))
    await venue.arrived.wait()

    meanwhile = await repeat(service)
    venue.may_answer.set()
    then = await first

    assert (meanwhile.status, meanwhile.body["type"]) == (409, "/problems/request-in-progress")
    assert int(meanwhile.headers["retry-after"]) >= 1
    assert (then.status, meanwhile.body["order_id"]) == (201, then.body["id"])
    assert len(venue.sent) == 1


OTHERS: list[dict[str, Any]] = [
    {"side": "sell"},
    {"instrument": "AAPL12345679"},
    {"limit_price": 150.01},
    {"quantity": 11},
    {"type": "market", "without": ("limit_price",)},
]


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: next(iter(change)))
async def test_another_order_under_the_key_is_422(
    service: Running, venue: ScriptedVenue, change: dict[str, Any]
) -> None:
    first = await repeat(service)

    other = await service.place(key="k", **change)

    assert (other.status, other.body["type"]) == (422, "/problems/key-reused")
    assert other.body["order_id"] == first.body["id"]
    assert other.headers["location"] == first.headers["location"]
    assert len(venue.sent) == 1
    assert await service.rows() == 2


def in_other_bytes() -> dict[str, bytes]:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    seed = request_body()
    return {
        "150": seed.replace(b"150.0", b"150"),
        '"150.00"': seed.replace(b"150.0", b'"150.00"'),
        "1.5e2": seed.replace(b"150.0", b"1.5e2"),
        "10.0": seed.replace(b": 10", b": 10.0"),
        "fields reversed": json.dumps(dict(reversed(SEED_ORDER.items()))).encode(),
        "spaces": json.dumps(SEED_ORDER, indent=4).encode(),
        "escapes": seed.replace(b"buy", rb"b\u0075y"),
        "place_by": request_body(place_by=later),
    }


@pytest.mark.parametrize("name", in_other_bytes())
async def test_equal_order_in_other_bytes_is_the_same(service: Running, venue: ScriptedVenue, name: str) -> None:
    first = await repeat(service)

    again = await service.post(in_other_bytes()[name], **{"Idempotency-Key": "k"})

    assert (again.status, again.body["id"]) == (201, first.body["id"])
    assert len(venue.sent) == 1


async def test_header_and_body_spell_one_key(service: Running, venue: ScriptedVenue) -> None:
    by_header = await service.place(key="k")
    by_body = await service.place(client_order_id="k")
    by_both = await service.place(key="k", client_order_id="k")
    the_other_way = [await service.place(client_order_id="b"), await service.place(key="b")]

    assert {reply.body["id"] for reply in (by_header, by_body, by_both)} == {by_header.body["id"]}
    assert {reply.body["client_order_id"] for reply in (by_header, by_body, by_both)} == {"k"}
    assert the_other_way[0].body["id"] == the_other_way[1].body["id"]
    assert len(venue.sent) == 2


async def test_two_different_keys_in_one_request_are_422(service: Running, venue: ScriptedVenue) -> None:
    refused = await service.place(key="k", client_order_id="K")

    assert (refused.status, refused.body["type"]) == (422, "/problems/invalid-request")
    assert await service.fetch("SELECT 1 FROM order_keys") == []
    assert venue.sent == []


async def test_keys_that_differ_in_case_or_by_a_space_are_two(service: Running, venue: ScriptedVenue) -> None:
    ids = {(await service.place(key=key)).body["id"] for key in ("k", "K", "k.", "kk")}

    assert len(ids) == len(venue.sent) == 4


async def test_without_a_key_every_request_is_an_order(service: Running, venue: ScriptedVenue) -> None:
    ids = {(await service.place()).body["id"] for _ in range(3)}

    assert len(ids) == len(venue.sent) == 3


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (request_body(quantity=0), {}, 422),
        (b"{", {}, 422),
        (request_body(), {"Content-Type": "text/plain"}, 415),
        (b" " * 70_000 + request_body(), {}, 413),
    ],
    ids=["invalid", "no JSON", "no JSON by its type", "too large"],
)
async def test_key_of_a_refused_request_is_not_consumed(
    service: Running, venue: ScriptedVenue, body: bytes, headers: dict[str, str], status: int
) -> None:
    refused = await service.post(body, **{"Idempotency-Key": "k"} | headers)
    keys = await service.fetch("SELECT 1 FROM order_keys")
    placed = await service.place(key="k", quantity=7)

    assert (refused.status, keys, placed.status) == (status, [], 201)
    assert [order.quantity for order in venue.sent] == [7]


async def test_key_of_a_request_that_was_shed_is_not_consumed(service: Running, venue: ScriptedVenue) -> None:
    service.service.gate.halt()
    halted = await repeat(service)
    service.service.gate.resume()

    placed = await repeat(service)

    assert (halted.status, placed.status) == (503, 201)
    assert len(venue.sent) == 1


# The database goes away.


async def test_order_that_only_the_spool_has_keeps_its_key_after_the_replay(
    service: Running, venue: ScriptedVenue
) -> None:
    service.take_database_away()
    first = await repeat(service)
    service.bring_database_back()

    await service.service.housekeeping.run_once()
    again = await repeat(service)
    other = await service.place(key="k", quantity=11)

    assert (first.status, again.status, other.status) == (500, 500, 422)
    assert (again.body["order_id"], again.body["outcome"]) == (first.body["order_id"], "not_placed")
    assert await service.trail(first.body["order_id"]) == [
        ("INITIATED", None, None),
        ("DATABASE_PERSISTENCE_FAILED", "not_sent:not_recorded", None),
    ]
    assert venue.sent == []


async def test_repeats_while_the_database_is_away_leave_one_owner_of_the_key(
    service: Running, venue: ScriptedVenue
) -> None:
    service.take_database_away()
    replies = [await repeat(service) for _ in range(2)]
    service.bring_database_back()

    await service.service.housekeeping.run_once()
    again = await repeat(service)

    owners = await service.fetch("SELECT order_id FROM order_keys")
    assert [owner["order_id"] for owner in owners] == [again.body["order_id"]]
    assert again.body["order_id"] in {reply.body["order_id"] for reply in replies}
    assert (again.status, again.body["outcome"]) == (500, "not_placed")
    assert venue.sent == []


async def test_placed_order_whose_row_only_the_spool_has_is_201_once_reconciled(
    service: Running, venue: ScriptedVenue
) -> None:
    def accept_and_lose_the_database(order: Order) -> Accepted:
        service.take_database_away()
        return Accepted("X-9")

    venue.answer = accept_and_lose_the_database
    first = await repeat(service)
    away = await repeat(service)
    service.bring_database_back()

    await service.service.housekeeping.run_once()
    replayed = await repeat(service)
    venue.verification = lambda order: found(order)  # noqa: PLW0108
    await reconcile(service)
    then = await repeat(service)

    assert [(reply.status, reply.body["outcome"]) for reply in (first, replayed)] == [(500, "placed")] * 2
    assert away.status == 500
    assert (then.status, then.body["id"]) == (201, first.body["order_id"])
    assert len(venue.sent) == 1


async def test_absent_order_is_resent_by_reconciliation_alone(service: Running, venue: ScriptedVenue) -> None:
    venue.answer = NotSent("closed")
    first = await repeat(service)
    venue.answer, venue.verification = Accepted("X-9"), Absent()

    repeats = [await repeat(service) for _ in range(3)]
    sent_by_repeats = len(venue.sent)
    await reconcile(service)
    then = await repeat(service)

    assert [reply.status for reply in repeats] == [500] * 3
    assert sent_by_repeats == 1
    assert (then.status, then.body["id"]) == (201, first.body["order_id"])
    assert len(venue.sent) == 2
