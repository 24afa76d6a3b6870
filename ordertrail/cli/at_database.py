"""What the commands that work at the database itself have in common: its connection, who acts, and exit codes.

Exit codes: 0 done, 1 refused, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

import asyncio
import getpass
import json as json_text
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

from cyclopts import Parameter, validators

from ordertrail.cli.person_settings import load_settings_of_person, what_to_set
from ordertrail.runtime import notices
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts

DONE, REFUSED, USAGE_OR_CONNECTION = 0, 1, 2

# More than anybody reads; and what a bigint holds.
LIST_ROWS_MAX = 1_000_000
ROW_ID_MAX = 2**63 - 1

ListLimit = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=LIST_ROWS_MAX))]
RowId = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=ROW_ID_MAX))]


def with_database(act: Callable[[PostgresDoubts, Database], Awaitable[int]]) -> int:
    """Do something at the database that the settings name; returns the exit code."""
    settings = load_settings_of_person()
    database = Database(
        settings.database_url.get_secret_value(),
        timeout_seconds=settings.database_timeout_seconds,
        connections_max=1,
    )

    async def connect_and_act() -> int:
        await database.open()
        try:
            return await act(PostgresDoubts(database), database)
        finally:
            await database.close()

    return run(connect_and_act(), what_to_do=what_to_set(settings, "database_url"))


def run(work: Coroutine[Any, Any, int], *, what_to_do: str = "") -> int:
    """Run to the exit code; a database that fails has one of its own, and a sentence that may end with what to do."""
    try:
        code: int = asyncio.run(work)
    except (StatementFailed, StatementOutcomeUnknown) as error:
        return say(f"The database could not be used: {error}.{what_to_do}", USAGE_OR_CONNECTION)
    return code


def user() -> str:
    """Who acts, by the account of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def plain(value: object) -> object:
    """As JSON can have it."""
    return value.isoformat() if isinstance(value, datetime) else value


def print_json(document: dict[str, Any]) -> None:
    """One document for programs."""
    print(json_text.dumps(document))


def say(sentence: str, code: int) -> int:
    """A sentence for a person, beside what a program reads; returns the exit code."""
    notices.say(sentence)
    return code
