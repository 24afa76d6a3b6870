"""Which orders are open by the venue's latest word, page by page."""

from typing import Any

from ordertrail.queues.queue import Frame
from ordertrail.storage.order_rows import NewTrailRow
from tests.conformance.arrange import COMPLETED, recorded
from tests.conformance.databases import DatabaseSubject
from tests.support.executions import frame, report


def reports(*changed: dict[str, Any]) -> list[Frame]:
    return [frame(*(report(seq, **changes) for seq, changes in enumerate(changed, start=1)))]


async def test_orders_that_are_placed_and_not_over_are_live(database: DatabaseSubject) -> None:
    rows, executions = database.rows(), database.executions
    initiated, unheard, new, filled, reinstated, expired = await recorded(rows, count=6)
    await rows.insert_trail_rows([NewTrailRow(order.id, COMPLETED, None) for order in
                                  (unheard, new, filled, reinstated, expired)])  # fmt: skip
    trade = {"last_qty": 10, "last_px": "1.5", "cum_qty": 10, "leaves_qty": 0, "ord_status": "filled"}
    quiet = {"last_qty": 0, "last_px": None, "cum_qty": 0}
    await executions.apply_reports(
        reports(
            {"client_order_id": new.id, "exec_type": "new", "ord_status": "new", **quiet},
            {"client_order_id": filled.id, **trade},
            {"client_order_id": reinstated.id, **trade},
            {"client_order_id": reinstated.id, "exec_type": "trade_cancel", "exec_ref_id": "x3", "ord_status": "new",
             **quiet, "last_qty": 10, "last_px": "1.5"},
            {"client_order_id": expired.id, "exec_type": "expired", "ord_status": "expired", **quiet},
        )
    )  # fmt: skip

    pages = []
    after: str | None = ""
    while after is not None:
        page = await executions.live_orders(after=after, limit=2)
        pages.append(page.order_ids)
        after = page.last

    assert [order_id for page in pages for order_id in page] == [unheard.id, new.id, reinstated.id]
    assert len(pages) == 3
    assert initiated.id not in {order_id for page in pages for order_id in page}
