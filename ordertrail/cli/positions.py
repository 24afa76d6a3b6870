"""`ordertrail positions`: what was bought and sold, by instrument, over the HTTP API."""

# ruff: noqa: T201 - it talks to a person

import json as json_text
from urllib.parse import urlencode

from ordertrail.cli import api_documents
from ordertrail.cli.api_answers import USAGE_OR_CONNECTION, get, not_ours
from ordertrail.cli.api_documents import Positions
from ordertrail.cli.output import Json
from ordertrail.cli.tables import print_table
from ordertrail.runtime.notices import say

COLUMNS = ("instrument", "buy_qty", "buy_avg_px", "sell_qty", "sell_avg_px", "net_qty")


def positions(
    *,
    limit: int = 100,
    cursor: str | None = None,
    url: str | None = None,
    timeout_seconds: float = 60,
    json: Json = False,
) -> int:
    """List what was bought and sold, by instrument.

    Parameters
    ----------
    limit
        How many at the most.
    cursor
        Where the list before ended: it names the one to go on with.
    url
        The API's address; default ORDERTRAIL_API_URL.
    timeout_seconds
        How long to wait for the answer.
    json
        For programs: print the answer's JSON document.
    """
    query = urlencode({"limit": limit} | ({} if cursor is None else {"cursor": cursor}))
    answer = get(url, f"/positions?{query}", timeout_seconds=timeout_seconds)
    if answer is None:
        return USAGE_OR_CONNECTION
    page = api_documents.read(answer.document, Positions)
    if page is None:
        say(not_ours(answer))
        return USAGE_OR_CONNECTION
    if json:
        print(json_text.dumps(answer.document))
        return 0
    print_table(COLUMNS, [[getattr(each, column) for column in COLUMNS] for each in page.positions])
    if page.executions_as_of is not None:
        say(f"By what was recorded until {page.executions_as_of}.")
    if page.next_cursor:
        say(f"There are more: --cursor {page.next_cursor}")
    return 0
