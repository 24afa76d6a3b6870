"""The documents of SQL hold what is sent: PostgreSQL can prepare each statement, and its log has no other."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from asyncpg.introspection import INTRO_LOOKUP_TYPES

from ops.sql_documents import all_statements
from ops.sql_lists import LIST_SHAPES, ListShape
from ordertrail.domain.order import Side
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.placement.halting import Halting
from ordertrail.runtime.clock import SystemClock
from ordertrail.storage.order_reads import OrderFilter
from ordertrail.storage.postgres.migrate import migrate
from ordertrail.storage.postgres.reads import list_statement
from ordertrail.storage.postgres.switch import PostgresSwitch
from ordertrail.up.embedded_postgres import STOP_QUICKLY, EmbeddedPostgres
from tests.support.orders import LATER
from tests.support.postgres import OPTIONS, execute, open_folder, run
from tests.support.service import Running, running
from tests.support.switch import ALICE, WHY, resume
from tests.support.until import until

DOCUMENTS = Path(__file__).parents[4] / "docs" / "sql"
STATEMENTS = sorted(path for path in DOCUMENTS.glob("*.sql") if path.stem != "migrations")
WORDS = "|".join([*OrderStatus, *Outcome])
CHOSEN = re.compile(rf"((?:status IN \(|outcome = ))'(?:{WORDS})'")


def entries(document: Path) -> list[str]:
    """The statements of a document, without the comments above them."""
    bodies = re.split(r"(?<=;)\n\n", document.read_text().partition("\n\n")[2])
    return [re.sub(r"\A(?:--.*\n)+", "", body).strip().removesuffix(";") for body in bodies]


def test_every_statement_stands_in_a_document_as_it_is_sent() -> None:
    found = {entry for document in STATEMENTS if document.stem != "lists" for entry in entries(document)}

    assert found == {text.strip("\n") for statement in all_statements() for text in statement.texts.values()}


@pytest.mark.parametrize("document", STATEMENTS, ids=lambda path: path.stem)
async def test_postgresql_can_prepare_each_statement(database_url: str, document: Path) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for entry in entries(document):
            await connection.prepare(entry)
    finally:
        await connection.close()


# A list's filters may be combined in any way.


def general(line: str) -> str:
    """A line of a list whatever is asked for: any number, any status, any outcome."""
    return re.sub(r"\$\d+", "$n", CHOSEN.sub(r"\1'CHOSEN'", line))


def is_of_shape(text: str, shape: ListShape) -> bool:
    """Whether it is this shape with some of the lines that may come to it, in their order."""
    lines = iter(general(line) for line in text.strip("\n").splitlines())
    line = next(lines, None)
    for documented, is_always in shape.lines():
        if line == general(documented):
            line = next(lines, None)
        elif is_always:
            return False
    return line is None


def filters() -> Iterator[OrderFilter]:
    """Every combination of filters."""
    for status, outcome, instrument, side, key, after, before in itertools.product(
        (None, *OrderStatus),
        (None, *Outcome),
        (None, "AAPL12345678"),
        (None, Side.BUY),
        (None, "key"),
        (None, LATER),
        (None, LATER),
    ):
        yield OrderFilter(() if status is None else (status,), outcome, instrument, side, key, after, before)


def test_every_list_has_a_documented_shape() -> None:
    for wanted in filters():
        for before_id in (None, "id"):
            text, _ = list_statement(wanted, limit=1, before_id=before_id)

            assert any(is_of_shape(text, shape) for shape in LIST_SHAPES), (wanted, before_id)


def test_another_list_has_no_documented_shape() -> None:
    text, _ = list_statement(OrderFilter(side=Side.BUY), limit=1, before_id=None)

    assert not any(is_of_shape(text.replace("o.side = ", "o.side <> "), shape) for shape in LIST_SHAPES)
    assert not any(is_of_shape(text.replace("LIMIT $1", "LIMIT 5"), shape) for shape in LIST_SHAPES)


# What PostgreSQL itself says that it was sent.

SENT = re.compile(r"^<log> LOG:  (?:statement|execute [^:]+): (.*\n(?:\t.*\n)*)", re.MULTILINE)


# Once a connection the driver asks for types, without the JIT compiler.
OF_THE_DRIVER = (
    INTRO_LOOKUP_TYPES.strip(),
    "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
)


def is_of_the_driver(text: str) -> bool:
    return text in OF_THE_DRIVER or " ".join(text.split()) in OF_THE_DRIVER


def mark(server: EmbeddedPostgres, name: str) -> str:
    """A line of our own in the server's log, which comes there a moment after what it is about."""
    statement = f"SELECT '{name}'"
    execute(server.url, statement)
    until(lambda: statement in server.log.read_text(), what="the log has come so far")
    return statement


def sent_between(log: str, begin: str, end: str) -> set[str]:
    """The statements in a server's log between two marks."""
    between = log.partition(begin)[2].partition(end)[0]
    return {text.replace("\n\t", "\n").strip() for text in SENT.findall(between)}


async def use(service: Running) -> None:
    """Some of everything that a service does."""
    placed = await service.place(key="key")
    order_id = placed.body["id"]
    await service.place(key="key")
    await service.place(place_by=LATER.isoformat())
    await service.place(type="market", without=("limit_price",))
    for query in ("", "?side=buy", "?status=COMPLETED&limit=1", "?outcome=not_placed", "?client_order_id=key"):
        assert (await service.call("GET", f"/orders{query}")).status == 200
    assert (await service.call("GET", f"/orders/{order_id}")).status == 200
    await service.call("DELETE", f"/orders/{order_id}")
    await service.service.schedule.run_once()
    await service.service.housekeeping.run_once()
    await service.service.doubts.oldest(limit=1)
    halting = Halting(PostgresSwitch(service.service.database), SystemClock(), send_seconds=1)
    await halting.wait(await halting.halt(ALICE, WHY))
    await resume(PostgresSwitch(service.service.database))


async def test_nothing_else_is_in_the_servers_log(tmp_path: Path) -> None:
    with open_folder() as folder:
        options = {**OPTIONS, "log_statement": "all", "log_line_prefix": "<log> "}
        server = EmbeddedPostgres(folder / "postgres", options=options)
        server.start()
        try:
            run(migrate(server.url))
            begin = mark(server, "begin")
            async with running(server.url, tmp_path) as service:
                await use(service)
            end = mark(server, "end")
            sent = sent_between(server.log.read_text(), begin, end)
        finally:
            server.stop(STOP_QUICKLY)

    names = {text.strip(): statement.name for statement in all_statements() for text in statement.texts.values()}
    lists = {text for text in sent if any(is_of_shape(text, shape) for shape in LIST_SHAPES)}
    assert [text for text in sent - lists - names.keys() if not is_of_the_driver(text)] == []
    assert len(lists) == 5
    assert {names[text] for text in sent if text in names} >= {
        "INSERT_INITIATED",
        "INSERT_COMPLETED",
        "READ_ORDER",
        "ENQUEUE_DUE_BATCHES",
        "REQUEST_CANCEL",
        "LEASE_SWEEP",
        "BEGIN_READ_ONLY",
        "HALT",
        "LOCK_SWITCH",
        "RESUME",
        "HALT_UNDER_WAY",
        "SCHEMA_VERSION",
    }
