"""What the checker is given of a run, and whether there is anything left that should still change."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ordertrail.storage.order_queue_rows import FIRST_SEND
from tests.simulation.site import SETTINGS, Site
from tests.simulation.tables import is_unresolved
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
                row["start_by"],
            )
            for rows in tables.orders.values()
            for row in rows.values()
        ],
        list(tables.keys.items()),
        [(order_id, number) for order_id, attempts in tables.attempts.items() for number in attempts],
        doubts=[order_id for order_id, doubt in tables.doubts.items() if doubt.settled_at is None],
        unseen=[order_id for _, ids in tables.batches.values() for order_id in ids],
        cancels=list(tables.cancels),
        queued=list(tables.queue),
        spooled=[name for folder in sorted(site.folder.glob("*/spool")) for name in unreplayed(folder)],
    )


def is_settled(site: Site) -> bool:
    """Whether nothing is left to be done but by a person."""
    tables = site.database.tables
    in_doubt = [order_id for order_id, doubt in tables.doubts.items() if doubt.settled_at is None]
    is_for_a_person = all(is_unresolved(tables, order_id) for order_id in in_doubt)
    is_spooled = any(file.stat().st_size for file in site.folder.glob("*/spool/*.spool"))
    return not tables.batches and not tables.queue and is_for_a_person and not is_spooled


def unfounded_claims(site: Site) -> Iterator[str]:
    """Sends after the first that nobody should have been let make; only a simulation knows when they were claimed."""
    tables = site.database.tables
    takes = timedelta(seconds=SETTINGS.exchange_timeout_seconds)
    for order_id, attempts in tables.attempts.items():
        initiated = tables.orders[order_id]["INITIATED"]
        canceled_at = tables.canceled_at_moment.get(order_id)
        is_queued = initiated["start_by"] is not None
        before = [] if is_queued else [(1, initiated["send_by"])]
        for number, claim in sorted(attempts.items()):
            latest = initiated["start_by" if number == FIRST_SEND else "place_by"]
            if latest is None or claim.claimed_at >= latest:
                yield f"{order_id}: send {number} was claimed when it was too late to send it"
            if canceled_at is not None and claim.moment > canceled_at:
                yield f"{order_id}: send {number} was claimed after it was canceled"
            earlier, send_by = before[-1] if before else (0, claim.claimed_at)
            answer = tables.answers.get((order_id, earlier))
            if (earlier > 1 or (is_queued and earlier)) and answer is None and claim.claimed_at < send_by + takes:
                yield f"{order_id}: send {number} was claimed while send {earlier} was under way"
            before.append((number, claim.send_by))


def unclaimed_sends(site: Site) -> Iterator[str]:
    """Queued orders whose bytes left without a claim, or after it had ended; and those that are in two places."""
    tables = site.database.tables
    for order_id, at in site.sent:
        initiated = tables.orders.get(order_id, {}).get("INITIATED")
        if initiated is None or initiated["start_by"] is None:
            continue
        claims = tables.attempts.get(order_id, {}).values()
        if not any(claim.claimed_at <= at <= claim.send_by for claim in claims):
            yield f"{order_id}: was queued, and was sent at {at} under no claim"
    for order_id in tables.queue:
        if order_id in tables.attempts or tables.orders[order_id].keys() != {"INITIATED"}:
            yield f"{order_id}: waits in the queue, and is past it: {sorted(tables.orders[order_id])}"


def sent_while_halted(site: Site) -> Iterator[str]:
    """First bytes of what was committed while placing was halted, or that left after a halt had been waited for."""
    turns = site.database.tables.turns
    for order_id, at in site.sent:
        # The last that was committed by then, and the first resume after it, whichever process sent it.
        before = [turn for turn in turns if turn["id"] < _committed_at_moment(site, order_id, at)]
        if before and before[-1]["action"] == "halt" and not _is_resumed(site, before[-1]["acted_at"], at):
            yield f"{order_id}: was sent at {at} though it was committed while placing was halted"
        for halted_at, quiet_at in site.halted:
            if at > quiet_at and not _is_resumed(site, halted_at, at):
                yield f"{order_id}: was sent at {at}, after the halt of {halted_at} had been waited for"


def _is_resumed(site: Site, since: datetime, until: datetime) -> bool:
    resumes = [turn["acted_at"] for turn in site.database.tables.turns if turn["action"] == "resume"]
    return any(since <= at <= until for at in resumes)


def _committed_at_moment(site: Site, order_id: str, at: datetime) -> int:
    """When what let the order be sent was committed: the newest claim that was there, else INITIATED."""
    tables = site.database.tables
    claims = [claim.moment for claim in tables.attempts.get(order_id, {}).values() if claim.claimed_at <= at]
    # One that was never recorded is found by another check.
    return max(claims, default=tables.initiated_at_moment.get(order_id, 0))
