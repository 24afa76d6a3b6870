"""What the checker is given of a run, and whether there is anything left that should still change."""

from collections.abc import Iterator
from datetime import UTC, timedelta

from ordertrail.domain.trail import OrderStatus
from tests.simulation.site import SETTINGS, Site
from tests.support.checker import Evidence, Row, unreplayed


def evidence_of(site: Site) -> Evidence:
    """The exchange's log, the rows and what lies in the spools."""
    tables = site.database.tables
    return Evidence(
        site.exchange.lines(),
        [
            Row(
                row["id"],
                row["status"],
                row["type"],
                row["side"],
                row["instrument"],
                row["limit_price"],
                row["quantity"],
                row["reason"],
                row["exchange_order_id"],
                row["client_order_id"],
                row["created_at"].replace(tzinfo=UTC),
                row["place_by"],
            )
            for rows in tables.orders.values()
            for row in rows.values()
        ],
        list(tables.keys.items()),
        [(order_id, number) for order_id, attempts in tables.attempts.items() for number in attempts],
        doubts=[order_id for order_id, doubt in tables.doubts.items() if doubt.settled_at is None],
        unseen=[order_id for _, ids in tables.batches.values() for order_id in ids],
        cancels=list(tables.cancels),
        spooled=[name for folder in sorted(site.folder.glob("*/spool")) for name in unreplayed(folder)],
    )


def is_settled(site: Site) -> bool:
    """Whether nothing is left to be done but by a person."""
    tables = site.database.tables
    in_doubt = [order_id for order_id, doubt in tables.doubts.items() if doubt.settled_at is None]
    is_for_a_person = all(OrderStatus.UNRESOLVED in tables.orders.get(order_id, {}) for order_id in in_doubt)
    is_spooled = any(file.stat().st_size for file in site.folder.glob("*/spool/*.spool"))
    return not tables.batches and is_for_a_person and not is_spooled


def unfounded_claims(site: Site) -> Iterator[str]:
    """Sends after the first that nobody should have been let make; only a simulation knows when they were claimed."""
    tables = site.database.tables
    takes = timedelta(seconds=SETTINGS.exchange_timeout_seconds)
    for order_id, attempts in tables.attempts.items():
        initiated = tables.orders[order_id]["INITIATED"]
        canceled_at = tables.canceled_at_moment.get(order_id)
        before = [(1, initiated["send_by"])]
        for number, claim in sorted(attempts.items()):
            if initiated["place_by"] is None or claim.claimed_at >= initiated["place_by"]:
                yield f"{order_id}: send {number} was claimed when it was too late to send it"
            if canceled_at is not None and claim.moment > canceled_at:
                yield f"{order_id}: send {number} was claimed after it was canceled"
            earlier, send_by = before[-1]
            answer = tables.answers.get((order_id, earlier))
            if earlier > 1 and answer is None and claim.claimed_at < send_by + takes:
                yield f"{order_id}: send {number} was claimed while send {earlier} was under way"
            before.append((number, claim.send_by))
