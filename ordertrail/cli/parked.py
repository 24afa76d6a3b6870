"""`ordertrail parked`: what the exchange sent and nobody can understand, and how each is ended.

What came is shown with all that no terminal should be given escaped.
Exit codes: 0 done, 1 refused, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

from typing import Annotated

from cyclopts import App, Parameter

from ordertrail.cli.at_database import (
    DONE,
    REFUSED,
    USAGE_OR_CONNECTION,
    ListLimit,
    RowId,
    plain,
    print_json,
    say,
    user,
    with_database,
)
from ordertrail.cli.output import Json, print_result
from ordertrail.cli.tables import print_table, shortened
from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.reconciliation.operator_resolution import EVIDENCE_LENGTH_MAX, read_evidence
from ordertrail.storage.execution_rows import REPORT_KIND
from ordertrail.storage.parked_rows import ParkedView
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.parked import PostgresParked

app = App(name="parked", help="What the exchange sent and nobody can understand.")

RAW_SHOWN_MAX = 60
_COLUMNS = ("id", "parked at", "venue", "kind", "field", "reason", "order id", "seq", "as it came", "closed by")


@app.default
def default(*, json: Json = False) -> int:
    """List what nobody has closed.

    Parameters
    ----------
    json
        For programs: print one JSON document.
    """
    return list_parked(json=json)


@app.command(name="list")
def list_parked(
    *, limit: ListLimit = 100, all: Annotated[bool, Parameter(negative="")] = False, json: Json = False
) -> int:
    """List what nobody has closed, oldest first.

    Parameters
    ----------
    limit
        How many at the most.
    all
        What is closed, too.
    json
        For programs: print one JSON document.
    """

    async def show_all(_doubts: PostgresDoubts, database: Database) -> int:
        rows = PostgresParked(database)
        found = await rows.parked(limit=limit, is_open=not all)
        open_things = await rows.count_parked()
        if json:
            print_json({"open": open_things, "parked": [_document(each) for each in found]})
            return DONE
        if found:
            print_table(_COLUMNS, [_cells(each) for each in found])
        print(f"{open_things} {'is' if open_things == 1 else 'are'} open.")
        return DONE

    return with_database(show_all)


@app.command
def show(parked_id: RowId, /, *, json: Json = False) -> int:
    """Show one, open or closed, as it came.

    Parameters
    ----------
    parked_id
        Its id in the list.
    json
        For programs: print one JSON document.
    """

    async def show_one(_doubts: PostgresDoubts, database: Database) -> int:
        found = await PostgresParked(database).parked_thing(parked_id)
        if found is None:
            return say(f"Nothing is parked as {parked_id}: `ordertrail parked list` lists what is.", REFUSED)
        if json:
            print_json(_document(found))
            return DONE
        for name, value in _document(found).items():
            print(f"{name.replace('_', ' '):<12} {'' if value is None else value}".rstrip())
        return DONE

    return with_database(show_one)


@app.command
def replay(parked_id: RowId, /) -> int:
    """Apply a parked execution report once more; closes it where that can be done.

    Parameters
    ----------
    parked_id
        Its id in the list.
    """

    async def replay_one(_doubts: PostgresDoubts, database: Database) -> int:
        thing = await PostgresParked(database).parked_thing(parked_id)
        if thing is not None and thing.kind != REPORT_KIND:
            return say(f"{parked_id} is no execution report: nothing was changed.", REFUSED)
        became = await PostgresExecutions(database).replay_parked(parked_id)
        if became is None:
            return say(f"Nothing that is open is parked as {parked_id}: nothing was changed.", REFUSED)
        after = await PostgresParked(database).parked_thing(parked_id)
        if after is None or after.closed_at is None:
            return say(f"{parked_id} stays parked: {became}.", REFUSED)
        print_result(f"{parked_id}: {became}.")
        return DONE

    return with_database(replay_one)


@app.command
def close(parked_id: RowId, /, *, evidence: str) -> int:
    """Close one, once you know what it was and what was done about it.

    Parameters
    ----------
    parked_id
        Its id in the list.
    evidence
        What you found; it is kept with your name.
    """
    words = read_evidence(evidence)
    if words is None:
        return say(f"--evidence must be a line of 1 to {EVIDENCE_LENGTH_MAX} characters.", USAGE_OR_CONNECTION)

    async def close_one(_doubts: PostgresDoubts, database: Database) -> int:
        rows = PostgresParked(database)
        operator = Operator(user(), Origin.CLI)
        if await rows.close_parked(parked_id, operator=operator, evidence=words.text):
            print_result(f"{parked_id} is closed.")
            return DONE
        return say(f"Nothing that is open is parked as {parked_id}: nothing was changed.", REFUSED)

    return with_database(close_one)


def as_text(raw: bytes) -> str:
    """Bytes of the exchange's in printable ASCII; whatever else is in them is escaped."""
    return repr(raw)[2:-1]


def _cells(thing: ParkedView) -> list[object]:
    return [
        thing.id,
        thing.parked_at.isoformat(timespec="seconds"),
        thing.venue,
        thing.kind,
        thing.field,
        thing.reason,
        thing.order_id,
        thing.seq,
        shortened(as_text(thing.raw), RAW_SHOWN_MAX),
        thing.closed_by,
    ]


def _document(thing: ParkedView) -> dict[str, object]:
    values = {name: plain(getattr(thing, name)) for name in thing.__slots__}
    return values | {"raw": as_text(thing.raw)}
