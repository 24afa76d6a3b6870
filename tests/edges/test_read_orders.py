"""The reads over HTTP, on the application's routes and a real PostgreSQL."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from fastapi import FastAPI, Request, Response
from starlette.types import Message

from ordertrail.api.openapi import OUTCOMES, STATUSES
from ordertrail.api.problems import CONTENT_TYPE, ProblemError
from ordertrail.api.read_orders import read_router
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.events.waiting import OrderWaiting
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.execution_reads import PostgresExecutionReads
from ordertrail.storage.postgres.reads import PostgresReads

INSERT = """
INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, exchange_order_id)
SELECT 'order' || lpad(n::text, greatest(3, length(n::text)), '0'),
       timestamp '2026-11-22 09:30' + n * interval '1 second', 'limit', 'buy',
       'AAPL12345678', 150.25, 10, status::order_status_enum, CASE WHEN status = 'COMPLETED' THEN 'X-' || n END
  FROM generate_series($1::int, $2::int) AS n CROSS JOIN unnest(ARRAY['INITIATED', 'COMPLETED']) AS status
"""


# Each a trade of 2 at 150.25.
INSERT_EXECUTIONS = """
INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, last_qty, last_px, cum_qty,
                        leaves_qty, avg_px, transact_time)
SELECT $1, 1, 'E' || lpad(n::text, 3, '0'), 'first', n, 'trade', 'partially_filled', 2, 150.250, 2 * n, 0, 150.25,
       timestamptz '2026-11-27 09:30Z' + n * interval '1 second'
  FROM generate_series(1, $2::int) AS n
"""


async def insert_executions(database: Database, order_id: str, *, count: int) -> None:
    await database.fetch(INSERT, 1, 1)
    await database.fetch("INSERT INTO execution_epochs (venue, epoch, session) VALUES ('venue', 'first', 1)")
    await database.fetch(INSERT_EXECUTIONS, order_id, count)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    document: Any


Get = Callable[..., Awaitable[Answer]]


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return Response(error.body(), error.status, headers=error.headers, media_type=CONTENT_TYPE)


def not_waited() -> OrderWaiting:
    """Nothing here waits for an order."""
    unused: Any = None
    return OrderWaiting(unused)


def app_on(database: Database, **settings: float) -> FastAPI:
    app = FastAPI()
    app.include_router(
        read_router(
            PostgresReads(database, **settings), PostgresExecutionReads(database), not_waited(), venue="scripted"
        )
    )
    app.add_exception_handler(ProblemError, _problem)
    return app


async def get_json(app: FastAPI, path: str, query: str = "") -> Answer:
    """As a server would call it; `path` is decoded already."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": query.encode("ascii"),
        "headers": [],
    }
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], headers, json.loads(body))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, timeout_seconds=20, connections_max=2)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def get(database: Database) -> Get:
    app = app_on(database)

    async def get(path: str, **query: str) -> Answer:
        return await get_json(app, path, urlencode(query))

    return get


async def test_an_order_comes_with_its_trail_and_its_executions(database: Database, get: Get) -> None:
    await database.fetch(INSERT, 1, 1)

    answer = await get("/orders/order001")

    assert answer.status == 200
    assert answer.document["status"] == "COMPLETED" and answer.document["outcome"] == "placed"
    assert answer.document["venue"] == "scripted"
    assert answer.document["limit_price"] == 150.25
    expected: dict[str, Any] = {
        "cum_qty": 0,
        "leaves_qty": 10,
        "avg_px": None,
        "is_live": True,
        "busted": False,
        "overfilled": False,
        "executions_complete": True,
        "cancel_requested_at": None,
        "executions": [],
    }
    assert {name: answer.document[name] for name in expected} == expected
    assert [row["status"] for row in answer.document["trail"]] == ["INITIATED", "COMPLETED"]
    assert (await get("/orders/order001/trail")).document == {"trail": answer.document["trail"]}


async def test_an_order_comes_with_what_was_executed_of_it(database: Database, get: Get) -> None:
    await insert_executions(database, "order001", count=3)
    await database.fetch("INSERT INTO cancel_requests VALUES ('order001', '2026-11-27 10:00Z')")

    answer = await get("/orders/order001")

    assert answer.status == 200
    document = answer.document
    assert (document["cum_qty"], document["leaves_qty"], document["avg_px"]) == (6, 4, "150.25")
    assert (document["is_live"], document["cancel_requested_at"]) == (True, "2026-11-27T10:00:00.000000Z")
    assert document["executions"] == (await get("/orders/order001/executions")).document["executions"]
    assert [(each["exec_id"], each["last_px"]) for each in document["executions"]] == [
        ("E001", "150.25"),
        ("E002", "150.25"),
        ("E003", "150.25"),
    ]


async def test_executions_come_in_pages_and_the_newest_with_the_order(database: Database, get: Get) -> None:
    await insert_executions(database, "order001", count=101)

    newest = (await get("/orders/order001")).document["executions"]
    first = (await get("/orders/order001/executions", limit="60")).document
    second = (await get("/orders/order001/executions", limit="41", cursor=first["next_cursor"])).document

    pages = [*first["executions"], *second["executions"]]
    assert [each["seq"] for each in pages] == list(range(1, 102))
    assert newest == pages[1:]
    assert second["next_cursor"] is None


async def test_positions_come_in_pages_by_instrument(database: Database, get: Get) -> None:
    await insert_executions(database, "order001", count=1)
    await database.fetch(
        "INSERT INTO position_sums (instruments, sides, quantities, notionals, as_of) VALUES"
        " ('{BBBB00000000,AAAA00000000,BBBB00000000}', '{buy,sell,sell}', '{4,3,5}', '{601,1,500}',"
        " '2026-11-27 10:00Z')"
    )

    first = (await get("/positions", limit="1")).document
    second = (await get("/positions", limit="1", cursor=first["next_cursor"])).document

    assert first["positions"] == [
        {
            "instrument": "AAAA00000000",
            "buy_qty": 0,
            "buy_avg_px": None,
            "sell_qty": 3,
            "sell_avg_px": "0.33333333",
            "net_qty": -3,
        }
    ]
    [position] = second["positions"]
    assert (position["instrument"], position["buy_avg_px"], position["net_qty"]) == ("BBBB00000000", "150.25", -1)
    assert (second["next_cursor"], second["executions_as_of"]) == (None, "2026-11-27T10:00:00.000000Z")


async def test_a_cursor_is_for_the_executions_of_its_own_order(database: Database, get: Get) -> None:
    await insert_executions(database, "order001", count=2)
    await database.fetch(INSERT, 2, 2)
    cursor = (await get("/orders/order001/executions", limit="1")).document["next_cursor"]

    for path in ("/orders/order002/executions", "/positions"):
        answer = await get(path, cursor=cursor)

        assert answer.status == 422
        assert [error["pointer"] for error in answer.document["errors"]] == ["/query/cursor"]


async def test_pages_follow_each_other_to_the_last(database: Database, get: Get) -> None:
    await database.fetch(INSERT, 1, 25)

    first = await get("/orders", limit="10", side="buy")
    await database.fetch(INSERT, 26, 40)
    second = await get("/orders", limit="10", side="buy", cursor=first.document["next_cursor"])
    third = await get("/orders", limit="5", side="buy", cursor=second.document["next_cursor"])

    pages = [*first.document["orders"], *second.document["orders"], *third.document["orders"]]
    assert [order["id"] for order in pages] == [f"order{number:03}" for number in range(25, 0, -1)]
    assert third.document["next_cursor"] is None
    assert "trail" not in pages[0]


async def test_a_cursor_is_refused_under_other_filters(database: Database, get: Get) -> None:
    await database.fetch(INSERT, 1, 5)
    cursor = (await get("/orders", limit="2")).document["next_cursor"]

    answer = await get("/orders", cursor=cursor, side="buy")

    assert answer.status == 422
    assert [error["pointer"] for error in answer.document["errors"]] == ["/query/cursor"]


@pytest.mark.parametrize("order_id", ["nobody", "nul\0", "x" * 10_000, "ü😀", "' OR 1=1 --"], ids=ascii)
@pytest.mark.parametrize("rest", ["", "/trail", "/executions"])
async def test_an_unknown_id_is_not_found_whatever_it_is(get: Get, order_id: str, rest: str) -> None:
    answer = await get(f"/orders/{order_id}{rest}")

    assert answer.status == 404
    assert answer.document["type"] == "/problems/order-not-found"
    assert answer.headers["content-type"] == CONTENT_TYPE


@pytest.mark.parametrize(
    ("path", "query", "pointer"),
    [
        ("/orders", "side=buy&side=buy", "/query/side"),
        ("/orders", "client_order_id=%00", "/query/client_order_id"),
        ("/orders", "instrument=AAPL1234567%00", "/query/instrument"),
        ("/orders", "limit=501", "/query/limit"),
        ("/orders", "cursor=%00", "/query/cursor"),
        ("/orders", "page=2", "/query/page"),
        ("/orders", "%ff=%ff", "/query/\ufffd"),
        ("/orders/order001", "expand=trail", "/query/expand"),
        ("/orders/order001/trail", "limit=1", "/query/limit"),
        ("/orders/order001/executions", "limit=0", "/query/limit"),
        ("/orders/order001/executions", "side=buy", "/query/side"),
        ("/positions", "instrument=AAPL12345678", "/query/instrument"),
        ("/positions", "cursor=%00", "/query/cursor"),
    ],
)
async def test_a_query_that_is_not_valid_is_pointed_at(database: Database, path: str, query: str, pointer: str) -> None:
    answer = await get_json(app_on(database), path, query)

    assert answer.status == 422
    assert answer.document["type"] == "/problems/invalid-request"
    assert [error["pointer"] for error in answer.document["errors"]] == [pointer]


@pytest.mark.parametrize(
    "path",
    ["/orders", "/orders/order001", "/orders/order001/trail", "/orders/order001/executions", "/positions"],
)
async def test_a_database_that_is_away_is_said_to_be(path: str) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", timeout_seconds=1, connections_max=1)
    await nowhere.open()

    answer = await get_json(app_on(nowhere), path)

    assert (answer.status, answer.document["type"]) == (503, "/problems/database-unavailable")
    assert answer.headers["retry-after"] == "1"
    await nowhere.close()


@pytest.mark.parametrize("path", ["/orders", "/orders/order001"])
async def test_a_database_without_tables_is_one_that_cannot_be_used_yet(empty_database_url: str, path: str) -> None:
    empty = Database(empty_database_url, timeout_seconds=20, connections_max=1)
    await empty.open()

    answer = await get_json(app_on(empty), path)

    assert (answer.status, answer.document["type"]) == (503, "/problems/database-unavailable")
    await empty.close()


async def test_a_list_that_takes_too_long_is_a_problem_of_its_own(database: Database) -> None:
    await database.fetch(INSERT, 1, 30_000)
    app = app_on(database, list_timeout_seconds=0.003)

    answer = await get_json(app, "/orders", "outcome=unknown")

    assert (answer.status, answer.document["type"]) == (503, "/problems/too-slow")
    assert answer.headers["retry-after"] == "1"


async def test_the_documentation_names_every_parameter_and_every_problem(database: Database) -> None:
    paths = app_on(database).openapi()["paths"]

    parameters = {parameter["name"] for parameter in paths["/orders"]["get"]["parameters"]}
    assert parameters == {
        "limit",
        "cursor",
        "status",
        "outcome",
        "instrument",
        "side",
        "client_order_id",
        "created_after",
        "created_before",
    }
    assert paths["/orders"]["get"]["responses"].keys() == {"200", "422", "503"}
    assert paths["/orders/{order_id}"]["get"]["responses"].keys() == {"200", "404", "422", "503"}
    assert paths["/orders/{order_id}/trail"]["get"]["responses"].keys() == {"200", "404", "422", "503"}


def test_the_documentation_knows_the_statuses_and_outcomes_there_are() -> None:
    assert list(OrderStatus) == STATUSES
    assert list(Outcome) == OUTCOMES
