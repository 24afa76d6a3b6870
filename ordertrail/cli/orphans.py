"""`ordertrail orphans`: orders at the exchange that were never recorded here, and how each is ended.

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
from ordertrail.cli.tables import print_table, printable, shortened
from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.reconciliation.operator_resolution import EVIDENCE_LENGTH_MAX, read_evidence
from ordertrail.storage.doubt_rows import OrphanView
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts

app = App(name="orphans", help="Orders at the exchange that were never recorded here.")

ID_LENGTH_MAX = 40

_COLUMNS = (
    "id",
    "shown at",
    "venue",
    "client order id",
    "exchange order id",
    "instrument",
    "side",
    "quantity",
    "closed by",
)


@app.default
def default(*, json: Json = False) -> int:
    """List those that are open.

    Parameters
    ----------
    json
        For programs: print one JSON document.
    """
    return list_orphans(json=json)


@app.command(name="list")
def list_orphans(
    *, limit: ListLimit = 100, all: Annotated[bool, Parameter(negative="")] = False, json: Json = False
) -> int:
    """List those that are open, oldest first.

    Parameters
    ----------
    limit
        How many at the most.
    all
        Those that are closed, too.
    json
        For programs: print one JSON document.
    """

    async def show_all(rows: PostgresDoubts, _database: Database) -> int:
        found = await rows.orphans(limit=limit, is_open=not all)
        open_orphans = (await rows.counts()).open_orphans
        if json:
            print_json({"open": open_orphans, "orphans": [_document(each) for each in found]})
            return DONE
        if found:
            print_table(_COLUMNS, [_cells(each) for each in found])
        print(f"{open_orphans} {'is' if open_orphans == 1 else 'are'} open.")
        return DONE

    return with_database(show_all)


@app.command
def show(orphan_id: RowId, /, *, json: Json = False) -> int:
    """Show one, open or closed.

    Parameters
    ----------
    orphan_id
        Its id in the list.
    json
        For programs: print one JSON document.
    """

    async def show_one(rows: PostgresDoubts, _database: Database) -> int:
        found = await rows.orphan(orphan_id)
        if found is None:
            return say(f"There is no orphan {orphan_id}: `ordertrail orphans` lists them.", REFUSED)
        if json:
            print_json(_document(found))
            return DONE
        for name, value in _document(found).items():
            print(f"{name.replace('_', ' '):<18} {'' if value is None else printable(str(value))}".rstrip())
        return DONE

    return with_database(show_one)


@app.command
def close(orphan_id: RowId, /, *, evidence: str) -> int:
    """Close one, once you know whose it is and what was done about it.

    Parameters
    ----------
    orphan_id
        Its id in the list.
    evidence
        What you found; it is kept with your name.
    """
    words = read_evidence(evidence)
    if words is None:
        return say(f"--evidence must be a line of 1 to {EVIDENCE_LENGTH_MAX} characters.", USAGE_OR_CONNECTION)

    async def close_one(rows: PostgresDoubts, _database: Database) -> int:
        if await rows.close_orphan(orphan_id, operator=Operator(user(), Origin.CLI), evidence=words.text):
            print_result(f"Orphan {orphan_id} is closed.")
            return DONE
        return say(f"There is no open orphan {orphan_id}: nothing was changed.", REFUSED)

    return with_database(close_one)


def _cells(orphan: OrphanView) -> list[object]:
    return [
        orphan.id,
        orphan.shown_at.isoformat(timespec="seconds"),
        orphan.venue,
        shortened(orphan.client_order_id, ID_LENGTH_MAX),
        shortened(orphan.exchange_order_id, ID_LENGTH_MAX),
        orphan.instrument or "not shown",
        orphan.side,
        orphan.quantity,
        orphan.closed_by,
    ]


def _document(orphan: OrphanView) -> dict[str, object]:
    return {name: plain(getattr(orphan, name)) for name in orphan.__slots__}
