"""The operations on orders in doubt and of the reverse sweep, in SQL."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from ordertrail.domain.operator_action import Operator
from ordertrail.domain.order_in_doubt import OrderInDoubt, Send, SendAnswer, first_send, first_send_of_queued
from ordertrail.domain.trail import OrderStatus
from ordertrail.domain.venue_word import VenueWord
from ordertrail.storage.doubt_rows import (
    AnsweredSend,
    ClaimedSend,
    DoubtCounts,
    DoubtView,
    Lease,
    OperatorRuling,
    OrphanView,
    Resolvable,
    ShownOrder,
    Unreadable,
    Verdict,
    WantedSend,
)
from ordertrail.storage.order_queue_rows import FIRST_SEND
from ordertrail.storage.postgres import doubt_statements as statements
from ordertrail.storage.postgres import sweep_statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.orders import stored_order


class PostgresDoubts:
    """`DoubtRows`, `SweepRows` and `OrphanRows` of `ordertrail.storage.doubt_rows`, on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue_due_batches(self, *, batches_max: int) -> int:
        records = await self._database.fetch(statements.ENQUEUE_DUE_BATCHES, batches_max)
        return int(records[0]["batches"])

    async def lease(self, *, doubts_max: int, lease_seconds: float) -> list[Lease]:
        records = await self._database.fetch(statements.LEASE, doubts_max, lease_seconds)
        return [Lease(r["order_id"], r["fence"], r["tries"]) for r in records]

    async def load(self, order_ids: Sequence[str]) -> dict[str, OrderInDoubt | Unreadable]:
        records = await self._database.fetch(statements.LOAD, list(order_ids))
        return {
            order_id: _doubt_of(list(rows)) for order_id, rows in groupby(records, key=lambda record: str(record["id"]))
        }

    async def apply(self, verdicts: Sequence[Verdict]) -> list[bool]:
        newest = _newest(verdict.lease for verdict in verdicts)
        current = [verdict for verdict in verdicts if verdict.lease == newest[verdict.lease.order_id]]
        rows = [(verdict.lease.order_id, row) for verdict in current for row in verdict.rows]
        records = await self._database.fetch(
            statements.APPLY_VERDICTS,
            [verdict.lease.order_id for verdict in current],
            [verdict.lease.fence for verdict in current],
            [verdict.is_settled for verdict in current],
            [verdict.next_seconds for verdict in current],
            [verdict.observation for verdict in current],
            [order_id for order_id, _ in rows],
            [row.status for _, row in rows],
            [row.reason for _, row in rows],
            [row.exchange_order_id for _, row in rows],
        )
        applied = {record["order_id"] for record in records}
        return [
            verdict.lease.order_id in applied and verdict.lease == newest[verdict.lease.order_id]
            for verdict in verdicts
        ]

    async def claim_sends(
        self, wanted: Sequence[WantedSend], *, claimed_by: str, send_seconds: float, answer_seconds: float
    ) -> list[ClaimedSend | None]:
        newest = _newest(each.lease for each in wanted)
        current = [each for each in wanted if each.lease == newest[each.lease.order_id]]
        records = await self._database.fetch(
            statements.CLAIM_SENDS,
            [each.lease.order_id for each in current],
            [each.lease.fence for each in current],
            [each.send_by_max for each in current],
            claimed_by,
            send_seconds,
            answer_seconds,
        )
        claimed = {
            r["order_id"]: ClaimedSend(r["number"], r["send_by"], r["accept_by"], r["seconds_left"]) for r in records
        }
        return [
            claimed.get(each.lease.order_id) if each.lease == newest[each.lease.order_id] else None for each in wanted
        ]

    async def record_answers(self, answers: Sequence[AnsweredSend]) -> list[None]:
        await self._database.fetch(
            statements.RECORD_ANSWERS,
            [each.order_id for each in answers],
            [each.number for each in answers],
            [each.answer for each in answers],
            [each.reason for each in answers],
            [each.exchange_order_id for each in answers],
        )
        return [None] * len(answers)

    async def make_due(self, *, doubts_max: int) -> int:
        return len(await self._database.fetch(statements.MAKE_DUE, doubts_max))

    async def reopen(self, order_ids: Sequence[str]) -> int:
        return len(await self._database.fetch(statements.REOPEN, list(dict.fromkeys(order_ids))))

    async def request_cancel(self, order_id: str) -> bool:
        return bool(await self._database.fetch(statements.REQUEST_CANCEL, order_id))

    async def venue_word(self, order_id: str) -> VenueWord | None:
        [record] = await self._database.fetch(statements.VENUE_WORD, order_id)
        return _venue_word(record["word"])

    async def resolve(self, order_id: str, ruling: OperatorRuling) -> Resolvable | None:
        fill = ruling.fill
        arguments = [
            order_id,
            list(ruling.statuses),
            ruling.reason,
            ruling.operator.name,
            ruling.operator.origin,
            ruling.evidence,
            None if fill is None else fill.quantity,
            None if fill is None else f"{fill.price:f}",
        ]
        records = await self._database.fetch_in_order(
            (statements.LOCK_DOUBT, [order_id]), (statements.RESOLVE, arguments)
        )
        return Resolvable(**dict(records[0])) if records else None

    async def counts(self) -> DoubtCounts:
        record = (await self._database.fetch(statements.COUNTS))[0]
        return DoubtCounts(**dict(record))

    async def oldest(self, *, limit: int) -> list[DoubtView]:
        records = await self._database.fetch(statements.OLDEST, limit)
        return [DoubtView(**dict(record)) for record in records]

    async def lease_sweep(self, venue: str, *, lease_seconds: float) -> tuple[str, int] | None:
        records = await self._database.fetch(sweep_statements.LEASE_SWEEP, venue, lease_seconds)
        return (records[0]["epoch"], records[0]["seq"]) if records else None

    async def move_sweep(self, venue: str, epoch: str, seq: int) -> None:
        await self._database.fetch(sweep_statements.MOVE_SWEEP, venue, epoch, seq)

    async def end_sweep(self, venue: str, *, rest_seconds: float) -> None:
        await self._database.fetch(sweep_statements.END_SWEEP, venue, rest_seconds)

    async def note_epoch(self, venue: str, epoch: str) -> datetime | None:
        records = await self._database.fetch(sweep_statements.NOTE_EPOCH, venue, epoch)
        return records[0]["begun_at"] if records else None

    async def keep_observations(self, observations: Mapping[str, str]) -> list[str]:
        records = await self._database.fetch(
            sweep_statements.KEEP_OBSERVATIONS, list(observations.keys()), list(observations.values())
        )
        return [record["order_id"] for record in records]

    async def statuses_of(self, order_ids: Sequence[str]) -> dict[str, frozenset[OrderStatus]]:
        records = await self._database.fetch(sweep_statements.STATUSES_OF, list(order_ids))
        return {r["id"]: frozenset(OrderStatus(status) for status in r["statuses"]) for r in records}

    async def keep_orphans(self, venue: str, epoch: str, orphans: Mapping[str, ShownOrder]) -> list[str]:
        shown = orphans.values()
        records = await self._database.fetch(
            sweep_statements.KEEP_ORPHANS,
            venue,
            epoch,
            list(orphans.keys()),
            [each.exchange_order_id for each in shown],
            [each.instrument for each in shown],
            [each.side for each in shown],
            [each.quantity for each in shown],
        )
        return [record["client_order_id"] for record in records]

    async def orphans(self, *, limit: int, is_open: bool = True) -> list[OrphanView]:
        records = await self._database.fetch(sweep_statements.LIST_ORPHANS, limit, is_open)
        return [OrphanView(**dict(record)) for record in records]

    async def orphan(self, orphan_id: int) -> OrphanView | None:
        records = await self._database.fetch(sweep_statements.READ_ORPHAN, orphan_id)
        return OrphanView(**dict(records[0])) if records else None

    async def close_orphan(self, orphan_id: int, *, operator: Operator, evidence: str) -> bool:
        arguments = (orphan_id, operator.name, operator.origin, evidence)
        return bool(await self._database.fetch(sweep_statements.CLOSE_ORPHAN, *arguments))


def _newest(leases: Iterable[Lease]) -> dict[str, Lease]:
    """By order, the lease with the newest fence: a process that was stopped for long may come with two."""
    return {each.order_id: each for each in sorted(leases, key=lambda each: each.fence)}


def _doubt_of(records: Sequence[Any]) -> OrderInDoubt | Unreadable:
    """An order in doubt from its rows, or why they cannot be read: one such order must not stop the others."""
    try:
        return doubt_of(records)
    except (ValueError, AssertionError, LookupError, StopIteration) as error:
        return Unreadable(f"{type(error).__name__}: {error}")


def doubt_of(records: Sequence[Any]) -> OrderInDoubt:
    """An order in doubt from its rows."""
    stored = stored_order(records)
    assert stored is not None
    first = next(record for record in records if record["status"] == "INITIATED")
    claims = {
        number: Send(
            send_by, accept_by, None if answer is None else SendAnswer(answer), reason or "", exchange_order_id
        )
        for number, send_by, accept_by, answer, reason, exchange_order_id in first["attempts"] or ()
    }
    first_claim = claims.pop(FIRST_SEND, None)
    if first["start_by"] is None:
        # An order whose INITIATED has no deadline was written by another program; its own time is the best there is.
        send_by = first["send_by"] or stored.created_at
        sends = [first_send(stored.rows, send_by=send_by, accept_by=first["accept_by"])]
    elif first_claim is not None:
        sends = [first_send_of_queued(stored.rows, first_claim)]
    else:
        sends = []
    sends += claims.values()
    return OrderInDoubt(
        order=stored.order,
        created_at=stored.created_at,
        rows=stored.rows,
        sends=tuple(sends),
        now=stored.read_at,
        is_cancel_wanted=first["is_cancel_wanted"],
        observed_exchange_order_id=first["observed_exchange_order_id"],
        word=_venue_word(first["word"]),
        is_queued=bool(first["is_queued"]),
    )


def _venue_word(fields: Any) -> VenueWord | None:
    return None if fields is None else VenueWord(*fields)
