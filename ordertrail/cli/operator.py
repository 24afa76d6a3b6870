"""For a person on call: what is in doubt, reconciling by hand, an operator's word.

Exit codes: 0 done, 1 refused, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Literal, assert_never

from ordertrail.cli.at_database import (
    DONE,
    REFUSED,
    USAGE_OR_CONNECTION,
    Json,
    ListLimit,
    plain,
    print_json,
    run,
    say,
    user,
    with_database,
)
from ordertrail.cli.output import print_result
from ordertrail.cli.person_settings import load_settings_of_person
from ordertrail.cli.tables import print_table, shortened
from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.operator_word import PRICE_DECIMALS_MAX, OperatorWord, read_fill
from ordertrail.reconciliation import operator_resolution
from ordertrail.reconciliation.operator_resolution import EVIDENCE_LENGTH_MAX, NotResolvable, Resolved, read_evidence
from ordertrail.reconciliation.pass_report import PassReport
from ordertrail.reconciliation.sweep import Swept
from ordertrail.runtime import failpoints
from ordertrail.runtime.settings import load_settings
from ordertrail.runtime.telemetry import streams
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.service import Service
from ordertrail.server.start_line import say_start, want_exchange_url
from ordertrail.storage.doubt_rows import DoubtView
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts


def reconcile(*, once: bool = False, json: Json = False) -> int:
    """Review orders in doubt until SIGTERM.

    Parameters
    ----------
    once
        One pass and one sweep; prints what they did.
    json
        For programs: print one JSON document.
    """
    if not once:
        streams.protect()
    settings = load_settings_of_person() if once else load_settings()
    want_exchange_url(settings)
    failpoints.arm_from(settings.failpoints)
    configure_logs(level="error" if once else settings.log_level, log_format=settings.log_format)
    service = Service(settings.model_copy(update={"reconcile_in_api": False}))
    if once:
        return run(_reconcile_once(service, as_json=json))
    say_start("reconcile", settings)
    return run(_reconcile_until_stopped(service))


def doubts(*, limit: ListLimit = 100, json: Json = False) -> int:
    """List orders in doubt, oldest first: what they are, how long, how often they were reviewed, the last observation.

    Those that wait for a person's word are marked with an exclamation mark.

    Parameters
    ----------
    limit
        How many at the most.
    json
        For programs: print one JSON document.
    """

    async def show(rows: PostgresDoubts, _database: Database) -> int:
        counts = await rows.counts()
        found = await rows.oldest(limit=limit)
        if json:
            print_json(
                {
                    "count": counts.count,
                    "unresolved": counts.unresolved,
                    "doubts": [{name: plain(getattr(each, name)) for name in each.__slots__} for each in found],
                }
            )
            return DONE
        if found:
            print_table(_DOUBT_COLUMNS, [_cells(each) for each in found])
        mark = " (!): `ordertrail order resolve` ends them" if counts.unresolved else ""
        print(f"{counts.count} in doubt, {counts.unresolved} of them unresolved{mark}.")
        return DONE

    return with_database(show)


_KEY_LENGTH_MAX = 20
_DOUBT_COLUMNS = ("", "order", "age", "status", "instrument", "side", "quantity", "key", "tries", "last observation")


def _cells(doubt: DoubtView) -> list[object]:
    return [
        "!" if doubt.is_unresolved else "",
        doubt.order_id,
        f"{doubt.age_seconds:.1f} s",
        doubt.status,
        doubt.instrument,
        doubt.side,
        doubt.quantity,
        shortened(doubt.client_order_id or "", _KEY_LENGTH_MAX),
        doubt.tries,
        doubt.last_observation or "not asked yet",
    ]


def resolve(
    order_id: str,
    outcome: Literal["placed", "not-placed", "canceled", "expired", "filled"],
    /,
    *,
    evidence: str,
    quantity: int | None = None,
    price: Decimal | None = None,
) -> int:
    """Settle an order that `ordertrail doubts` marks as unresolved by your word; refused for any other.

    Parameters
    ----------
    order_id
        The order's id.
    outcome
        What is true at the exchange; not-placed only where nothing shows that the exchange accepted the order.
    evidence
        How you know; it becomes a row of the trail, with your name.
    quantity
        How much was filled, all trades together: all of it with filled, a part of it with canceled or expired.
    price
        The average price of that.
    """
    words = read_evidence(evidence)
    if words is None:
        return say(f"--evidence must be a line of 1 to {EVIDENCE_LENGTH_MAX} characters.", USAGE_OR_CONNECTION)
    if (quantity is None) != (price is None):
        return say("--quantity and --price go together.", USAGE_OR_CONNECTION)
    fill = None
    if quantity is not None and price is not None:
        fill = read_fill(quantity, price)
        if fill is None:
            return say(
                f"--quantity and --price must be greater than 0, the price with {PRICE_DECIMALS_MAX} decimals at most.",
                USAGE_OR_CONNECTION,
            )

    async def settle(rows: PostgresDoubts, _database: Database) -> int:
        resolution = await operator_resolution.resolve(
            rows, order_id, OperatorWord(outcome), words, operator=Operator(user(), Origin.CLI), fill=fill
        )
        match resolution:
            case Resolved(status):
                print_result(f"Order {order_id} is {status}.")
                return DONE
            case NotResolvable():
                return say(f"Order {order_id} {_NOT_RESOLVABLE[resolution]} Nothing was changed.", REFUSED)
        assert_never(resolution)

    return with_database(settle)


_NOT_RESOLVABLE = {
    NotResolvable.NOT_UNRESOLVED: "waits for nobody's word: `ordertrail doubts` marks those that do.",
    NotResolvable.BEING_SENT: "is being sent just now: try again in a few seconds.",
    NotResolvable.ACCEPTED: "was accepted by the exchange: say placed, canceled, expired or filled.",
    NotResolvable.PLACED_ALREADY: "is known to be placed: say how it ended: canceled, expired or filled.",
    NotResolvable.FILL_MISSING: "is filled: say --quantity and --price.",
    NotResolvable.FILL_OF_NOTHING: "cannot have --quantity and --price but with filled, canceled or expired.",
    NotResolvable.FILL_DIFFERS: (
        "has another quantity: filled is all of it; say canceled or expired with the part that was filled."
    ),
}


async def _reconcile_once(service: Service, *, as_json: bool) -> int:
    async with _opened(service):
        report = await service.schedule.run_once()
        left = await service.doubts.counts()
    swept = service.schedule.swept
    if as_json:
        names = [name for name in report.__slots__ if name != "observations"]
        print_json(
            {
                **{name: getattr(report, name) for name in names},
                "observations": [
                    {"order_id": id_, "observation": observation} for id_, observation in report.observations
                ],
                "sweep": {name: getattr(swept, name) for name in swept.__slots__},
                "left": {"count": left.count, "unresolved": left.unresolved, "oldest_seconds": left.oldest_seconds},
            }
        )
    else:
        _print_report(report, swept)
        print(f"{left.count} in doubt are left, {left.unresolved} of them unresolved.")
    return DONE if not report.errors else REFUSED


def _print_report(report: PassReport, swept: Swept) -> None:
    for order_id, observation in report.observations:
        print(f"{order_id}  {observation}")
    print(
        f"Reviewed {report.reviewed}: {report.settled} settled ({report.completed} placed, {report.not_placed} not "
        f"placed), {report.waiting} wait, {report.unresolved} became unresolved; {report.resent} were sent again, "
        f"{report.canceled} canceled, {report.unanswered} queries had no answer, {report.errors} reviews failed."
    )
    print(
        f"Swept {swept.shown_orders} orders at the exchange: {swept.observed} were in doubt here, {swept.late} came "
        f"after they were settled as not placed, {swept.orphans} are new and unknown here."
    )


async def _reconcile_until_stopped(service: Service) -> int:
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    service.background.when_lost = stop_requested.set
    async with _opened(service):
        service.start_reconciling()
        print("ordertrail reconcile started", flush=True)
        await stop_requested.wait()
    return DONE if service.background.problem is None else REFUSED


@contextlib.asynccontextmanager
async def _opened(service: Service) -> AsyncIterator[None]:
    await service.open()
    try:
        yield
    finally:
        await service.close()
