"""`ExecutionRows`, `InboxRows` and `FeedRows` in PostgreSQL."""

import contextlib
import json
from collections.abc import Awaitable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from ordertrail.domain.execution import EXECUTION_TEXT_LENGTH_MAX
from ordertrail.queues.queue import ExecIdScope, Frame, Position
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.execution_rows import REPORT_KIND, Applied, Coverage, FeedLease, FeedView, LivePage, Retried
from ordertrail.storage.postgres import execution_statements as statements
from ordertrail.storage.postgres import execution_upkeep_statements as upkeep_statements
from ordertrail.storage.postgres import feed_statements, position_statements
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.execution_statements import Variant

DEPTH_MAX = 100_000
MISPLACED_MAX = 10_000
COMPACTED_MIN, COMPACTED_MAX = 8, 5_000
REVISIONS_MAX, RECKONINGS_MAX = 500, 20
# Reports that met the same ones in another transaction are compared in the next statement, which sees those.
UNSEEN_REPEATS_MAX = 5
# A queue that delivers again seldom does so once: after a repeat, so many statements are ready for more.
STATEMENTS_AFTER_REPEAT = 100

# Beyond the server's limits: brackets in brackets in brackets. It is a value that does it, whatever the class says.
_LIMITS_CLASS = "54"
_REPEATED_CODE = "23505"
_UNFIT_CODE = "22000"
_NOT_TEXT_CODE = "22021"


class PostgresExecutions:
    """Execution reports, the inbox they may wait in, and whose the feed is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions: dict[tuple[str, str], int] = {}
        self._repeats_expected = 0

    async def apply_reports(self, frames: Sequence[Frame]) -> Applied:
        bodies = [text_of(frame.body) for frame in frames]
        first = frames[0]
        return applied_of(await self._apply(first.venue, first.epoch, first.exec_id_scope, bodies))

    async def apply_inbox(self, venue: str, *, reports_max: int) -> Applied | None:
        [record] = await self._fetch_applied(statements.APPLY_INBOX, venue, reports_max)
        # What went back into the inbox is applied by whoever takes it there.
        return applied_of([record], returned=record["unseen"]) if record["frames"] else None

    async def park_report(
        self, frame: Frame, raw: bytes, *, reason: str, field: str | None = None, seq: int | None = None
    ) -> bool:
        first, last = (frame.first, frame.last) if raw == frame.body else (seq, seq)
        [record] = await self._database.fetch(
            statements.PARK_REPORT,
            frame.venue,
            frame.epoch,
            raw,
            fingerprint_of(frame.venue, frame.epoch, raw),
            reason,
            field,
            order_id_in(raw),
            first,
            last,
        )
        return bool(record["is_new"])

    async def retry_parked(self, venue: str, *, limit: int) -> Retried:
        due = await self._database.fetch(upkeep_statements.DUE_RETRIES, venue, limit)
        if not due:
            return Retried()
        records: list[Any] = []
        broken: set[int] = set()
        for epoch in dict.fromkeys(each["epoch"] for each in due):
            known = [each for each in due if each["epoch"] == epoch and each["is_known"]]
            records += await self._apply_each(venue, epoch, known, broken) if known else []
        [ended] = await self._database.fetch(
            upkeep_statements.END_RETRIES,
            [each["parked_id"] for each in due],
            [each["tries"] for each in due],
            [each["parked_id"] not in broken for each in due],
        )
        late = [order_id for record in records for order_id in record["late"]]
        return Retried(len(ended["closed"]), tuple(dict.fromkeys(late)), tuple(ended["orphaned"]))

    async def replay_parked(self, parked_id: int) -> str | None:
        found = await self._database.fetch(upkeep_statements.REPLAYABLE, parked_id)
        if not found:
            return None
        [thing] = found
        try:
            body = f"[{text_of(bytes(thing['raw']))}]"
            [*_, record] = await self._apply(thing["venue"], thing["epoch"], "order", [body])
        except StatementFailed as error:
            if not error.is_about_the_data:
                raise
            return f"it cannot be applied: {error}"
        if record["unknown"]:
            return "its order is not known here"
        if record["unreadable"]:
            return "it cannot be read"
        [ended] = await self._database.fetch(upkeep_statements.END_RETRIES, [parked_id], [0], [False])
        return "it is applied, and closed" if ended["closed"] else "it contradicts what is kept of the same execution"

    async def compact(self, venue: str) -> None:
        await self._database.fetch(upkeep_statements.COMPACT_COVERAGE, venue, COMPACTED_MAX, COMPACTED_MIN)
        for _ in range(RECKONINGS_MAX):
            [reckoned] = await self._database.fetch_in_order(
                (position_statements.LOCK_REVISIONS, ()), (position_statements.RECKON_REVISIONS, (REVISIONS_MAX,))
            )
            if reckoned["count"] < REVISIONS_MAX:
                break
        await self._database.fetch(position_statements.COMPACT_POSITIONS, COMPACTED_MAX, COMPACTED_MIN)

    async def ensure_partitions(self) -> int:
        await self._database.fetch(upkeep_statements.MAKE_PARTITIONS)
        [record] = await self._database.fetch(upkeep_statements.COUNT_MISPLACED, MISPLACED_MAX)
        return int(record["count"])

    async def inbox_tail(self, venue: str) -> Position | None:
        view = await self.feed(venue)
        return None if view is None else view.position

    async def put_in_inbox(self, frame: Frame, *, after: Position | None) -> bool:
        await self._session(frame.venue, frame.epoch, frame.exec_id_scope)
        columns = (frame.venue, frame.epoch, frame.exec_id_scope, frame.count, frame.first, frame.last)
        body = text_of(frame.body)
        if after is None:
            return bool(await self._database.fetch(feed_statements.PUT_IN_INBOX, *columns, body))
        return bool(await self._database.fetch(feed_statements.PUT_AT_TAIL, *columns, body, after.epoch, after.seq))

    async def inbox_depth(self, venue: str) -> int:
        return int((await self._database.fetch(feed_statements.INBOX_DEPTH, venue, DEPTH_MAX))[0]["count"])

    async def inbox_bytes(self, *, beyond: int) -> int:
        return int((await self._database.fetch(feed_statements.INBOX_BYTES, beyond))[0]["bytes"])

    async def peek_inbox(self, venue: str, *, frames_max: int) -> list[tuple[int, Frame]]:
        return [
            (
                record["id"],
                Frame(
                    record["venue"],
                    record["epoch"],
                    record["exec_id_scope"],
                    record["count"],
                    record["first_seq"],
                    record["last_seq"],
                    record["body"].encode(),
                ),
            )
            for record in await self._database.fetch(feed_statements.PEEK_INBOX, venue, frames_max)
        ]

    async def drop_from_inbox(self, numbers: Sequence[int]) -> None:
        await self._database.fetch(feed_statements.DROP_FROM_INBOX, list(numbers))

    async def lease_feed(self, venue: str, *, holder: str, lease_seconds: float) -> FeedLease | None:
        records = await self._database.fetch(feed_statements.LEASE_FEED, venue, holder, lease_seconds)
        return FeedLease(records[0]["fence"]) if records else None

    async def release_feed(self, venue: str, *, holder: str) -> None:
        await self._database.fetch(feed_statements.RELEASE_FEED, venue, holder)

    async def feed(self, venue: str) -> FeedView | None:
        records = await self._database.fetch(feed_statements.READ_FEED, venue)
        if not records:
            return None
        [record] = records
        position = None if record["epoch"] is None else Position(record["epoch"], record["seq"])
        return FeedView(
            venue, record["holder"], record["is_owned"], position, record["changed_at"], record["unowned_seconds"]
        )

    async def begin_epoch(self, venue: str, epoch: str, scope: ExecIdScope) -> None:
        await self._session(venue, epoch, scope)

    async def coverage(self, venue: str, epoch: str) -> Coverage:
        records = await self._database.fetch(feed_statements.COVERAGE, venue, epoch)
        return Coverage(tuple((record["first"], record["last"]) for record in records))

    async def newest_epoch(self, venue: str) -> str | None:
        records = await self._database.fetch(feed_statements.NEWEST_EPOCH, venue)
        return str(records[0]["epoch"]) if records else None

    async def live_orders(self, *, after: str, limit: int) -> LivePage:
        records = await self._database.fetch(feed_statements.LIVE_ORDERS, after, limit)
        live = tuple(record["id"] for record in records if record["is_live"])
        return LivePage(live, records[-1]["id"] if len(records) == limit else None)

    async def _apply(self, venue: str, epoch: str, scope: ExecIdScope, bodies: Sequence[str]) -> list[Any]:
        """What each statement came to; the last one saw everything that it had to be compared with."""
        session = await self._session(venue, epoch, scope)
        records = []
        for _ in range(UNSEEN_REPEATS_MAX):
            records += await self._fetch_applied(statements.APPLY_REPORTS, list(bodies), venue, epoch, session)
            if not records[-1]["unseen"]:
                break
        return records

    async def _fetch_applied(self, statement: Mapping[Variant, str], *arguments: object) -> list[Any]:
        """By the variant that takes only new reports, as nearly all are; where one is not, by the other one."""
        if self._repeats_expected:
            self._repeats_expected -= 1
        else:
            try:
                return await about_the_data(self._database.fetch(statement[Variant(may_repeat=False)], *arguments))
            except StatementFailed as error:
                if error.code != _REPEATED_CODE:
                    raise
            self._repeats_expected = STATEMENTS_AFTER_REPEAT
        return await about_the_data(self._database.fetch(statement[Variant(may_repeat=True)], *arguments))

    async def _apply_each(self, venue: str, epoch: str, things: Sequence[Any], broken: set[int]) -> list[Any]:
        """Together; or, where one breaks the statement, each alone, and the broken ones are noted."""
        try:
            return await self._apply(venue, epoch, "order", [f"[{text_of(bytes(each['raw']))}]" for each in things])
        except StatementFailed as error:
            if not error.is_about_the_data:
                raise
            if len(things) == 1:
                broken.add(things[0]["parked_id"])
                return []
        return [record for each in things for record in await self._apply_each(venue, epoch, [each], broken)]

    async def _session(self, venue: str, epoch: str, scope: ExecIdScope) -> int:
        session = self._sessions.get((venue, epoch))
        if session is None:
            records = await self._database.fetch(feed_statements.SESSION_OF, venue, epoch)
            if not records:
                records = await self._database.fetch_in_order(
                    (feed_statements.LOCK_EPOCHS, ()), (feed_statements.BEGIN_EPOCH, (venue, epoch, scope))
                )
            session = self._sessions[venue, epoch] = records[0]["session"]
        return session


async def about_the_data(statement: Awaitable[list[Any]]) -> list[Any]:
    """Await it. What is too much for the server is a value's doing, and so a failure of its class."""
    try:
        return await statement
    except StatementFailed as error:
        if error.code.startswith(_LIMITS_CLASS):
            raise StatementFailed(_UNFIT_CODE, str(error)) from error
        raise


def text_of(body: bytes) -> str:
    """A body as PostgreSQL takes it. StatementFailed, as its own: it is no text."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise StatementFailed(_NOT_TEXT_CODE, str(error)) from error


def fingerprint_of(venue: str, epoch: str, raw: bytes) -> bytes:
    """The same report has the same, whoever parks it."""
    return sha256(b"\n".join((venue.encode(), REPORT_KIND.encode(), epoch.encode(), raw))).digest()


def order_id_in(raw: bytes) -> str | None:
    """Which order a report says that it is about, as far as that can be read."""
    with contextlib.suppress(ValueError, RecursionError):
        report = json.loads(raw)
        if isinstance(report, dict) and isinstance(order_id := report.get("client_order_id"), str):
            is_storable = "\x00" not in order_id and order_id.isprintable()
            return order_id[:EXECUTION_TEXT_LENGTH_MAX] if is_storable else None
    return None


def applied_of(records: Sequence[Mapping[str, Any]], *, returned: int = 0) -> Applied:
    """What statements that applied the same reports have come to, but for those that were put back."""

    def all_of(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(order_id for record in records for order_id in record[name]))

    return Applied(
        reports=records[0]["reports"] - returned,
        inserted=sum(record["inserted"] for record in records),
        parked=sum(record["parked"] for record in records),
        late=all_of("late"),
        overfilled=all_of("overfilled"),
        after_end=all_of("after_end"),
        busted=all_of("busted"),
        contradicting=all_of("contradicting"),
        waited_seconds=records[0].get("waited_seconds"),
    )
