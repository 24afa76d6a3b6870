"""For a person on call: what is in doubt, and an operator's word.

Exit codes: 0 done, 1 refused, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

from decimal import Decimal
from typing import Literal, assert_never

from ordertrail.cli.at_database import (
    DONE,
    REFUSED,
    USAGE_OR_CONNECTION,
    ListLimit,
    plain,
    print_json,
    say,
    user,
    with_database,
)
from ordertrail.cli.output import Json, print_result
from ordertrail.cli.tables import print_table, shortened
from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.operator_word import PRICE_DECIMALS_MAX, OperatorWord, read_fill
from ordertrail.reconciliation import operator_resolution
from ordertrail.reconciliation.operator_resolution import EVIDENCE_LENGTH_MAX, NotResolvable, Resolved, read_evidence
from ordertrail.storage.doubt_rows import DoubtView
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts


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
