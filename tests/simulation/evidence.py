"""What the checker is given of a run, and whether there is anything left that should still change."""

from datetime import UTC

from ordertrail.domain.trail import OrderStatus
from tests.simulation.site import Site
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
