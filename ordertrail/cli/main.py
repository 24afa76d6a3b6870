"""The command line: every role of Ordertrail, and what a person may want of it."""

import asyncio
import io
import sys
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, validators

from ordertrail import __version__
from ordertrail.cli.output import end_as_by_broken_pipe
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.notices import lead_nowhere, say
from ordertrail.runtime.settings import (
    Settings,
    later_settings,
    load_settings,
    read_known_settings,
    unknown_sentence,
    variable_of,
)
from ordertrail.runtime.telemetry import streams

USAGE_ERROR = 2
ROLE_PROCESSES_MAX = 64

app = App(name="ordertrail", version=__version__, help="Places orders at an exchange; never loses or doubles one.")
app.command("ordertrail.cli.orders:app", name="order", help="Place, show, watch, list, cancel and resolve orders.")
app.command(
    "ordertrail.cli.reconcile:reconcile",
    name="reconcile",
    help="Review orders in doubt until SIGTERM; --once: one pass, and what it did.",
)
app.command(
    "ordertrail.cli.feed:feed",
    name="feed",
    help="Receive the exchange's execution reports and publish them to the queue, until SIGTERM; a second stands by.",
)
app.command(
    "ordertrail.cli.process:process",
    name="process",
    help="Turn execution reports into rows until SIGTERM; --once: what waits, and what became of it.",
)
app.command(
    "ordertrail.cli.place:place",
    name="place",
    help="Place queued orders until SIGTERM; as many processes as the load asks for.",
)
app.command("ordertrail.cli.check:check", name="check", help="Try everything before a deploy; changes nothing.")
app.command("ordertrail.cli.doubts:doubts", name="doubts", help="List orders in doubt, oldest first.")
app.command("ordertrail.cli.events:events", name="events", help="Every row of a trail and every execution, live.")
app.command("ordertrail.cli.positions:positions", name="positions", help="What was bought and sold, by instrument.")
app.command("ordertrail.cli.orphans:app", name="orphans", help="Orders at the exchange that were never recorded here.")
app.command("ordertrail.cli.parked:app", name="parked", help="What the exchange sent and nobody can understand.")
app.command("ordertrail.cli.executions:app", name="executions", help="What the exchange executed of our orders.")
app.command("ordertrail.cli.status:status", name="status", help="What is, and what to do: the screen for the night.")
app.command("ordertrail.cli.halt:halt", name="halt", help="Place nothing any more, resends included.")
app.command("ordertrail.cli.halt:resume", name="resume", help="Place orders again.")


@app.command
def up(
    *,
    postgres_port: int = 0,
    exchange_port: int = 0,
    host: str | None = None,
    port: int | None = None,
    queue: Literal["postgres", "nats"] | None = None,
    processors: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=ROLE_PROCESSES_MAX))] = 1,
    placers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=ROLE_PROCESSES_MAX))] = 1,
) -> int:
    """Run everything here: PostgreSQL, the simulated exchange and the API; Ctrl-C stops all of it in order.

    Parameters
    ----------
    processors
        How many processes turn execution reports into rows.
    placers
        How many processes place queued orders.
    queue
        Where execution reports wait; nats: in a NATS server of its own. Unset: where ORDERTRAIL_QUEUE_URL says.
    """
    from ordertrail.up.up import up as run

    streams.protect()
    settings = load_settings()
    if port is not None:
        settings = settings.model_copy(update={"port": port})
    return run(
        settings,
        postgres_port=postgres_port,
        exchange_port=exchange_port,
        host=host or settings.host,
        queue=queue,
        processors=processors,
        placers=placers,
    )


@app.command
def api(*, host: str | None = None, port: int | None = None, workers: int | None = None) -> int:
    """Serve the HTTP API."""
    from ordertrail.server.serve import serve

    streams.protect()
    settings = load_settings()
    return serve(
        settings,
        host=host or settings.host,
        port=settings.port if port is None else port,
        workers=workers or settings.workers,
    )


@app.command
def exchange(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Run the simulated exchange; `ordertrail exchange --help` lists its options."""
    from simulated_exchange.__main__ import main as run

    load_settings()  # it has none of ours, but what is misspelled is misspelled here too
    return run(list(arguments))


@app.command
def migrate() -> int:
    """Bring the database's schema up to date; safe to run anywhere, at any time, by many at once."""
    from ordertrail.storage.postgres.migrate import migrate as run

    asyncio.run(run(load_settings().database_url.get_secret_value()))
    print("The database is up to date.")
    return 0


@app.command
def settings(*, json: bool = False) -> int:
    """List every setting with its meaning, default and present value; secrets are masked."""
    import msgspec

    from ordertrail.cli.shown_settings import shown

    present = read_known_settings()
    rows = [
        {
            "name": variable_of(name),
            "value": shown(name, getattr(present, name)),
            "default": shown(name, field.default),
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    rows += [
        {"name": name, "value": "***" if is_given else None, "default": None, "meaning": f"{meaning}; not used yet"}
        for name, meaning, is_given in later_settings()
    ]
    unknown = unknown_sentence()
    if unknown is not None:
        say(unknown)
    code = 0 if unknown is None else USAGE_ERROR
    if json:
        print(msgspec.json.encode(rows).decode())
        return code
    for row in rows:
        print(f"{row['name']}={row['value'] if row['value'] is not None else ''}")
        print(f"    {row['meaning']}; default {row['default'] if row['default'] is not None else 'unset'}")
    return code


def main(arguments: list[str] | None = None) -> None:
    """Run a command; its result is the exit code: 2 for a usage error or a process that cannot start."""
    streams.hold_open()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever an answer has in it
    try:
        result = app(arguments, result_action="return_value", exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except BrokenPipeError:
        end_as_by_broken_pipe()
    except (CycloptsError, CannotStart) as error:
        say(str(error))
        sys.exit(USAGE_ERROR)
    except OSError as error:
        lead_nowhere(sys.stdout)
        say(str(error))
        sys.exit(USAGE_ERROR)
    sys.exit(result if isinstance(result, int) else 0)
