"""Execution reports brought from an installation's exchange by a test's own hand, as a feed and a processor do."""

import json
from typing import Any

from ordertrail.queues.queue import Frame
from ordertrail.storage.execution_rows import Applied
from ordertrail.venues.venue import Reports
from tests.support.reconciling import Installation

VENUE = "simulated"


async def reports_of(house: Installation, order_id: str | None = None) -> list[dict[str, Any]]:
    """All that the exchange has reported, or what of it is about one order."""
    page = await house.service.venue.report_page(after=0, limit=10_000, epoch=epoch_of(house), timeout_seconds=5)
    assert isinstance(page, Reports)
    return [each for each in json.loads(page.body) if order_id in (None, each["client_order_id"])]


def epoch_of(house: Installation) -> str:
    """The exchange's epoch."""
    return house.exchange.executions(0, 1).epoch


async def bring(house: Installation, *reports: dict[str, Any]) -> Applied:
    """Apply these reports, together; without any, all that the exchange has."""
    brought = list(reports) or await reports_of(house)
    seqs = [report["seq"] for report in brought]
    frame = Frame(VENUE, epoch_of(house), "order", len(brought), min(seqs), max(seqs), json.dumps(brought).encode())
    return await house.service.executions.apply_reports([frame])
