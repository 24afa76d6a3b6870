"""Checks what must hold of executions, once the faults are over: the exchange's own log against what became of it here.

It shares no code with the service. What a reader is told (`Progress`, `Position`) is evidence like the rows: it is
compared with sums of its own over the exchange's log, where reports stand in order and none is missing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import asyncpg
import msgspec

from simulated_exchange.entries import EpochChangedLine, EpochLine, Line

TERMINAL = frozenset({"filled", "canceled", "expired", "rejected"})
TRAIL_OF = {"partially_filled": "PARTIALLY_FILLED", "filled": "FILLED", "canceled": "CANCELED", "expired": "EXPIRED"}
REPORTED = frozenset({*TRAIL_OF.values(), "REJECTED"})
# Rows that show that the exchange has accepted an order, without any of its reports.
ACCEPTANCE_REASON = "accepted"
DECIMALS = 8


class ExecutionRow(NamedTuple):
    """A row of `executions`, but for when it was recorded."""

    order_id: str
    session: int
    exec_id: str
    epoch: str
    seq: int | None
    exec_type: str
    ord_status: str
    exchange_order_id: str | None
    last_qty: int
    last_px: Decimal | None
    cum_qty: int
    leaves_qty: int
    avg_px: Decimal | None
    exec_ref_id: str | None
    reject_reason: str | None
    transact_time: datetime


class Logged(NamedTuple):
    """A report in the exchange's log. Whoever has its epoch's session can tell its row."""

    epoch: str
    seq: int
    exec_id: str
    exec_type: str
    ord_status: str
    order_id: str
    exchange_order_id: str | None
    last_qty: int
    last_px: Decimal | None
    cum_qty: int
    leaves_qty: int
    avg_px: Decimal | None
    exec_ref_id: str | None
    reject_reason: str | None
    transact_time: datetime

    def row(self, session: int) -> ExecutionRow:
        """The row that it must be."""
        return ExecutionRow(
            self.order_id, session, self.exec_id, self.epoch, self.seq, self.exec_type, self.ord_status,
            self.exchange_order_id, self.last_qty, self.last_px, self.cum_qty, self.leaves_qty, self.avg_px,
            self.exec_ref_id, self.reject_reason, self.transact_time,
        )  # fmt: skip


class ParkedReport(NamedTuple):
    """A report that is kept for a person or for later, or was until somebody closed it."""

    epoch: str | None
    seq: int | None
    order_id: str | None
    reason: str
    is_open: bool
    raw: bytes = b""
    field: str | None = None


class PoisonReport(NamedTuple):
    """A report in the exchange's log that no row can say, for what `field` says; `raw` as it was sent."""

    epoch: str
    seq: int
    exec_id: str
    raw: bytes
    field: str


class Progress(NamedTuple):
    """What a reader is told of an order's executions."""

    cum_qty: int
    leaves_qty: int
    avg_px: Decimal | None
    is_live: bool | None
    is_complete: bool


class Position(NamedTuple):
    """What a reader is told of an instrument, but for the net."""

    buy_qty: int
    buy_avg_px: Decimal | None
    sell_qty: int
    sell_avg_px: Decimal | None


class TrailRow(NamedTuple):
    """A row of `orders`, as far as executions have to do with it."""

    order_id: str
    status: str
    reason: str | None
    instrument: str
    side: str
    quantity: int


@dataclass(frozen=True)
class ExecutionEvidence:
    """What is known of executions here. None: nobody looked.

    `sessions`: of each epoch that is known. `covered`: of each epoch, the ranges of `seq` that count as applied, both
    ends included. `reviewed`: orders that the reconciler has had in doubt. `orphans`: order ids of those reports that
    nobody's order is here. `placed_by_processor`: orders whose COMPLETED a processor wrote; only a simulation knows.
    """

    trail: Sequence[TrailRow]
    rows: Sequence[ExecutionRow]
    parked: Sequence[ParkedReport]
    sessions: Mapping[str, int]
    covered: Mapping[str, Sequence[tuple[int, int]]]
    progress: Mapping[str, Progress] | None = None
    positions: Mapping[str, Position] | None = None
    reviewed: frozenset[str] | None = None
    orphans: frozenset[str] | None = None
    placed_by_processor: Sequence[str] = ()
    waiting_frames: int = 0


@dataclass(frozen=True)
class WentBack:
    """What an exchange has forgotten that came back, in the same epoch, with a head below what it had reported.

    By epoch and exec id. `forgotten`: reports after that head. `unsure`: those that it made later in their places. It
    has as many again once all places are taken, and nobody sees that by their number: one of these may never be read.
    """

    forgotten: frozenset[tuple[str, str]] = frozenset()
    unsure: frozenset[tuple[str, str]] = frozenset()


def went_back(lines: Iterable[Line]) -> WentBack:
    """What the log says of it; nothing where the head never went back."""
    epoch, present, newest = "", dict[int, str](), 0
    forgotten, unsure = set[tuple[str, str]](), set[tuple[str, str]]()
    for line in lines:
        if isinstance(line, EpochChangedLine) and line.change.head is not None:
            head = line.change.head
            forgotten.update((epoch, exec_id) for seq, exec_id in present.items() if seq > head)
            present = {seq: exec_id for seq, exec_id in present.items() if seq <= head}
        elif isinstance(line, EpochLine | EpochChangedLine):
            epoch, present, newest = line.epoch, {}, 0
        for report in getattr(line, "reports", ()):
            present[report.seq] = report.exec_id
            if report.seq <= newest:
                unsure.add((epoch, report.exec_id))
            newest = max(newest, report.seq)
    return WentBack(frozenset(forgotten), frozenset(unsure))


def reports_of(lines: Iterable[Line]) -> Iterator[Logged]:
    """Every report of the log, by epoch, then by `seq`, where numbered anew once more; but none of a flood's."""
    epoch = ""
    for line in lines:
        if isinstance(line, EpochLine | EpochChangedLine):
            epoch = line.epoch
        for report in getattr(line, "reports", ()):
            yield logged(msgspec.structs.asdict(report), epoch)


def logged(report: Mapping[str, Any], epoch: str) -> Logged:
    """A report's fields, as the protocol spells them."""
    return Logged(
        epoch,
        report["seq"],
        report["exec_id"],
        str(report["exec_type"]),
        str(report["ord_status"]),
        report["client_order_id"],
        report["exchange_order_id"],
        report["last_qty"],
        _price(report["last_px"]),
        report["cum_qty"],
        report["leaves_qty"],
        _price(report["avg_px"]),
        _optional(report.get("exec_ref_id")),
        _optional(report.get("reject_reason")),
        datetime.fromisoformat(report["transact_time"]),
    )


def check_executions(
    reports: Sequence[Logged],
    evidence: ExecutionEvidence,
    poison: Sequence[PoisonReport] = (),
    gone: WentBack | None = None,
) -> tuple[list[str], Counter[str]]:
    """Violations in words, and counts that say that there was something to check."""
    case = _Case(reports, evidence, poison, gone or WentBack())
    violations = [
        *case.rows_that_differ(),
        *case.parked_that_should_be_rows(),
        *case.poison_that_is_not_parked(),
        *case.coverage_that_lies(),
        *case.sessions_that_mix(),
        *case.trails_that_differ(),
        *case.placed_by_report(),
        *case.progress_that_differs(),
        *case.positions_that_differ(),
        *case.frames_left(),
    ]
    return violations, case.counts()


@dataclass
class _Book:
    """What the exchange's log comes to for one order."""

    trades: dict[tuple[int, str], tuple[int, Decimal]] = field(default_factory=dict)
    word: Logged | None = None
    accepted_word: Logged | None = None

    @property
    def cum_qty(self) -> int:
        return sum(quantity for quantity, _ in self.trades.values())

    @property
    def notional(self) -> Fraction:
        return sum((quantity * Fraction(price) for quantity, price in self.trades.values()), Fraction(0))


class _Case:
    def __init__(
        self, reports: Sequence[Logged], evidence: ExecutionEvidence, poison: Sequence[PoisonReport], gone: WentBack
    ) -> None:
        self.gone = gone
        self.not_owed = gone.forgotten | gone.unsure
        self.places = [(report.epoch, report.seq, report.exec_id) for report in reports]
        self.places += [(each.epoch, each.seq, each.exec_id) for each in poison]
        self.exec_ids_at = defaultdict[tuple[str, int | None], set[str]](set)
        for epoch, seq, exec_id in self.places:
            self.exec_ids_at[epoch, seq].add(exec_id)
        self.evidence = evidence
        self.reports = reports
        self.poison = poison
        self.trail: defaultdict[str, dict[str, TrailRow]] = defaultdict(dict)
        for row in evidence.trail:
            self.trail[row.order_id][row.status] = row
        self.known = {order_id for order_id, rows in self.trail.items() if "INITIATED" in rows}
        self.parked_at = defaultdict[tuple[str | None, int | None], list[ParkedReport]](list)
        for each_parked in evidence.parked:
            self.parked_at[each_parked.epoch, each_parked.seq].append(each_parked)
        self.of_order: defaultdict[str, list[Logged]] = defaultdict(list)
        for report in reports:
            self.of_order[report.order_id].append(report)
        self.rows_of: defaultdict[str, list[ExecutionRow]] = defaultdict(list)
        for execution in evidence.rows:
            self.rows_of[execution.order_id].append(execution)
        sessions = evidence.sessions
        self.known_ids = {(report.order_id, report.exec_id) for report in reports if report.epoch in sessions}
        self.last_epochs = {(report.order_id, report.exec_id): report.epoch for report in reports}
        self.books = {order_id: _book(of_order, sessions) for order_id, of_order in self.of_order.items()}

    def parked_of(self, epoch: str, seq: int | None, exec_id: str) -> list[ParkedReport]:
        """A place is one report's, but where the head went back: there it has to say which."""
        parked = self.parked_at.get((epoch, seq), [])
        if len(self.exec_ids_at[epoch, seq]) < 2:
            return parked
        return [each for each in parked if b'"exec_id":"%s"' % exec_id.encode() in each.raw]

    def rows_that_differ(self) -> Iterator[str]:
        """Every report of a known order is a row, once, with the same values; and no other row is there.

        One that was reported in several epochs under the same id is the row of any of them.
        """
        wanted: defaultdict[tuple[str, int, str], list[ExecutionRow]] = defaultdict(list)
        for report in self.reports:
            session = self.evidence.sessions.get(report.epoch)
            if report.order_id not in self.known:
                continue
            if session is not None:
                wanted[(report.order_id, session, report.exec_id)].append(report.row(session))
            elif (report.order_id, report.exec_id) not in self.known_ids:
                # Of an epoch that was over before anybody had places it; what it said must have been said again.
                yield f"{report.order_id}: epoch {report.epoch} of {report.exec_id} is not known"
        keys = Counter((row.order_id, row.session, row.exec_id) for row in self.evidence.rows)
        for (order_id, _, exec_id), count in keys.items():
            if count > 1:
                yield f"{order_id}: execution {exec_id} stands there {count} times"
        places = Counter((row.epoch, row.seq) for row in self.evidence.rows)
        for row in self.evidence.rows:
            place = (row.epoch, row.seq)
            expected = wanted.get((row.order_id, row.session, row.exec_id))
            if expected is None:
                yield f"{row.order_id}: execution {row.exec_id} at {row.seq}, which the exchange has not reported"
            elif row not in expected:
                yield f"{row.order_id}: execution {row.exec_id} differs: {_difference(row, expected[0])}"
            if places[place] > max(1, len(self.exec_ids_at.get(place, ()))):
                yield f"{row.order_id}: report {row.epoch}:{row.seq} is {places[place]} rows"
        yield from self._lost(wanted, keys.keys())

    def _lost(
        self, wanted: Mapping[tuple[str, int, str], Sequence[ExecutionRow]], kept: AbstractSet[tuple[str, int, str]]
    ) -> Iterator[str]:
        for key, reported in wanted.items():
            owed = [row for row in reported if (row.epoch, row.exec_id) not in self.not_owed]
            if key in kept or not owed:
                continue
            first = owed[0]
            if not self.parked_of(first.epoch, first.seq, first.exec_id):
                yield f"{first.order_id}: execution {first.exec_id} at {first.seq} is lost"

    def parked_that_should_be_rows(self) -> Iterator[str]:
        """What is parked is none of a known order's, or cannot be a row; and what was for nobody is an orphan."""
        rows = {(row.order_id, row.session, row.exec_id) for row in self.evidence.rows}
        for report in self.reports:
            place = (report.order_id, self.evidence.sessions.get(report.epoch), report.exec_id)
            parked = next(iter(self.parked_of(report.epoch, report.seq, report.exec_id)), None)
            if parked is None and (report.epoch, report.exec_id) in self.not_owed:
                continue
            if report.order_id in self.known:
                if parked is not None and parked.reason == "unknown_order" and place not in rows:
                    yield f"{report.order_id}: execution {report.exec_id} is parked for want of its order"
                elif parked is not None and parked.reason == "unknown_order" and parked.is_open:
                    yield f"{report.order_id}: execution {report.exec_id} is a row, and is parked still"
                elif parked is not None and parked.reason != "unknown_order" and place not in rows:
                    yield f"{report.order_id}: execution {report.exec_id} is parked ({parked.reason}), and is readable"
            elif parked is None and report.epoch in self.evidence.sessions and not self._is_said_again(report):
                yield f"{report.order_id}: report {report.epoch}:{report.seq} is neither a row nor parked"
            elif self.evidence.orphans is not None and report.order_id not in self.evidence.orphans:
                yield f"{report.order_id}: report {report.epoch}:{report.seq} is parked, and nobody is told"

    def _is_said_again(self, report: Logged) -> bool:
        return self.last_epochs[report.order_id, report.exec_id] != report.epoch

    def poison_that_is_not_parked(self) -> Iterator[str]:
        """What breaks the statement is parked alone, once, as it came, and stays there; and it is no row."""
        rows = {(row.epoch, row.exec_id) for row in self.evidence.rows}
        last_epochs = {each.exec_id: each.epoch for each in self.poison}
        for poison in self.poison:
            name = f"poison {poison.epoch}:{poison.seq}"
            found = self.parked_of(poison.epoch, poison.seq, poison.exec_id)
            if (poison.epoch, poison.exec_id) in rows:
                yield f"{name} is a row"
            # What an epoch that is over had, the next one may have said again before anybody asked.
            is_owed = (poison.epoch, poison.exec_id) not in self.not_owed
            if not found and is_owed and last_epochs[poison.exec_id] == poison.epoch:
                yield f"{name} is not parked"
            if len(found) > 1:
                yield f"{name} is parked {len(found)} times"
            for each in found:
                if each.raw != poison.raw or each.field != poison.field or not each.is_open:
                    yield f"{name} is parked otherwise: {each}, and it is {poison}"

    def coverage_that_lies(self) -> Iterator[str]:
        """Each report of the log counts as applied, and nothing that the exchange has not reported does.

        Of an epoch that is over, what is missing may have been reported again in the next one: the rows tell.
        """
        heads, newest = Counter[str](), Counter[str]()
        for epoch, seq, exec_id in self.places:
            newest[epoch] = max(newest[epoch], seq)
            is_forgotten = (epoch, exec_id) in self.gone.forgotten
            heads[epoch] = max(heads[epoch], 0 if is_forgotten else seq)
        for epoch, head in heads.items():
            missing, next_wanted = [], 1
            for first, last in sorted(self.evidence.covered.get(epoch, ())):
                # What was lost beyond the head, of reports that the exchange has forgotten, nobody can get any more.
                if next_wanted < first and next_wanted <= head:
                    missing.append((next_wanted, min(first - 1, head)))
                next_wanted = max(next_wanted, last + 1)
            if next_wanted <= head:
                missing.append((next_wanted, head))
            if missing and epoch == self.reports[-1].epoch:
                yield f"epoch {epoch}: {missing} of 1 to {head} were never applied"
            if next_wanted > newest[epoch] + 1:
                yield (
                    f"epoch {epoch}: counts as applied up to {next_wanted - 1},"
                    f" and the exchange has reported {newest[epoch]}"
                )

    def sessions_that_mix(self) -> Iterator[str]:
        known = set(self.evidence.sessions.items())
        for row in self.evidence.rows:
            if (row.epoch, row.session) not in known and row.seq is not None:
                yield f"{row.order_id}: execution {row.exec_id} of epoch {row.epoch} has session {row.session}"

    def trails_that_differ(self) -> Iterator[str]:
        """A status of the exchange's stands on a trail if and only if a report says so."""
        for order_id in self.known:
            rows = self.trail[order_id]
            reported = {report.ord_status for report in self.of_order.get(order_id, ())}
            here = {row.ord_status for row in self.rows_of.get(order_id, ())}
            is_accepted = bool(reported - {"rejected"}) or _shows_acceptance(rows)
            allowed = {TRAIL_OF[word] for word in reported & TRAIL_OF.keys()}
            wanted = {TRAIL_OF[word] for word in here & TRAIL_OF.keys()}
            if "rejected" in reported and is_accepted:
                allowed.add("REJECTED")
                wanted |= {"REJECTED"} if "rejected" in here else set()
            for status in sorted((rows.keys() & REPORTED) - allowed):
                if not (rows[status].reason or "").startswith("operator:"):
                    yield f"{order_id}: {status} ({rows[status].reason}), and the exchange has only reported {reported}"
            for status in sorted(wanted - rows.keys()):
                yield f"{order_id}: reported as {status}, and its trail is {sorted(rows)}"

    def placed_by_report(self) -> Iterator[str]:
        """COMPLETED is written by a request or the reconciler, never by a processor."""
        for order_id in self.evidence.placed_by_processor:
            yield f"{order_id}: a processor wrote COMPLETED"
        for order_id, rows in self.trail.items():
            completed = rows.get("COMPLETED")
            if completed is None or completed.reason != "execution":
                continue
            if self.evidence.reviewed is not None and order_id not in self.evidence.reviewed:
                yield f"{order_id}: COMPLETED (execution), and the reconciler has never had it in doubt"
            if not {report.ord_status for report in self.of_order.get(order_id, ())} - {"rejected"}:
                yield f"{order_id}: COMPLETED (execution), and the exchange has reported no acceptance"

    def progress_that_differs(self) -> Iterator[str]:
        """What a reader is told is what the exchange says, in its last word, and what its trades come to."""
        for order_id, progress in (self.evidence.progress or {}).items():
            book = self.books.get(order_id, _Book())
            word, accepted = book.word, book.accepted_word
            cum_qty = book.cum_qty
            if accepted is not None and accepted.cum_qty != cum_qty:
                yield f"{order_id}: the exchange's own word is {accepted.cum_qty} filled, and its trades are {cum_qty}"
            is_live = None if word is None else word.ord_status not in TERMINAL
            quantity = self.trail[order_id]["INITIATED"].quantity if order_id in self.known else 0
            leaves_qty = 0 if is_live is False else max(0, quantity - cum_qty)
            is_complete = word is None or word.cum_qty == cum_qty
            expected = Progress(cum_qty, leaves_qty, _average(book.notional, cum_qty), is_live, is_complete)
            if progress != expected:
                yield f"{order_id}: a reader is told {progress}, and the exchange says {expected}"

    def positions_that_differ(self) -> Iterator[str]:
        if self.evidence.positions is None:
            return
        books = self._positions()
        for instrument in sorted(books.keys() | self.evidence.positions.keys()):
            known = self.evidence.positions.get(instrument, Position(0, None, 0, None))
            expected = books.get(instrument, Position(0, None, 0, None))
            if known != expected:
                yield f"position {instrument}: a reader is told {known}, and the exchange's books say {expected}"

    def frames_left(self) -> Iterator[str]:
        if self.evidence.waiting_frames:
            yield f"queue: {self.evidence.waiting_frames} frames wait still"

    def counts(self) -> Counter[str]:
        counts: Counter[str] = Counter(executions=len(self.evidence.rows), reports=len(self.reports))
        counts.update(f"reports {report.exec_type}" for report in self.reports)
        counts.update(f"parked {parked.reason}" for parked in self.evidence.parked)
        counts["poison"] = len(self.poison)
        counts["completed by execution"] = sum(
            rows["COMPLETED"].reason == "execution" for rows in self.trail.values() if "COMPLETED" in rows
        )
        return counts

    def _positions(self) -> dict[str, Position]:
        sums: defaultdict[tuple[str, str], tuple[int, Fraction]] = defaultdict(lambda: (0, Fraction(0)))
        for order_id in self.known:
            book, initiated = self.books.get(order_id), self.trail[order_id]["INITIATED"]
            if book is not None and book.trades:
                quantity, notional = sums[(initiated.instrument, initiated.side)]
                sums[(initiated.instrument, initiated.side)] = quantity + book.cum_qty, notional + book.notional
        positions = {}
        for instrument in {instrument for instrument, _ in sums}:
            bought, paid = sums.get((instrument, "buy"), (0, Fraction(0)))
            sold, received = sums.get((instrument, "sell"), (0, Fraction(0)))
            if bought or sold:
                positions[instrument] = Position(bought, _average(paid, bought), sold, _average(received, sold))
        return positions


def _book(reports: Iterable[Logged], sessions: Mapping[str, int]) -> _Book:
    """The log is in order and whole, so that one pass is enough: what refers to a trade takes its place."""
    book = _Book()
    any_session = next(iter(sessions.values()), 0)
    root_of: dict[tuple[int, str | None], tuple[int, str]] = {}
    for report in reports:
        session = sessions.get(report.epoch, any_session)
        book.word = report
        if report.ord_status != "rejected":
            book.accepted_word = report
        if report.exec_type == "trade":
            root_of[(session, report.exec_id)] = root = (session, report.exec_id)
            book.trades[root] = (report.last_qty, report.last_px or Decimal(0))
        elif report.exec_type in {"trade_cancel", "trade_correct"} and (session, report.exec_ref_id) in root_of:
            root_of[(session, report.exec_id)] = root = root_of[(session, report.exec_ref_id)]
            is_bust = report.exec_type == "trade_cancel"
            book.trades[root] = (0, Decimal(0)) if is_bust else (report.last_qty, report.last_px or Decimal(0))
    return book


def _average(notional: Fraction, quantity: int) -> Decimal | None:
    """Rounded half up; prices are positive."""
    if not quantity:
        return None
    scaled = notional * 10**DECIMALS / quantity
    return Decimal(int(scaled + Fraction(1, 2))).scaleb(-DECIMALS)


def _shows_acceptance(rows: Mapping[str, TrailRow]) -> bool:
    return "COMPLETED" in rows or any(row.reason == ACCEPTANCE_REASON for row in rows.values())


def _difference(row: ExecutionRow, expected: ExecutionRow) -> str:
    pairs = zip(row._fields, row, expected, strict=True)
    return ", ".join(f"{name} {here} is {there} there" for name, here, there in pairs if here != there)


def _price(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _optional(value: Any) -> str | None:
    return None if value is msgspec.UNSET or value is None else str(value)


async def read_execution_evidence(
    connection: "asyncpg.Connection[asyncpg.Record]", **answers: Any
) -> ExecutionEvidence:
    """All that PostgreSQL knows of executions, as one transaction sees it; `answers` is what readers were told."""
    trail = await connection.fetch("SELECT id, status::text, reason, instrument, side, quantity FROM orders")
    rows = await connection.fetch(
        "SELECT order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty, last_px,"
        " cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time FROM executions"
    )
    parked = await connection.fetch(
        "SELECT epoch, seq, order_id, reason, closed_at IS NULL, raw, field FROM parked WHERE kind = 'execution_report'"
    )
    epochs = await connection.fetch("SELECT epoch, session FROM execution_epochs")
    covered = await connection.fetch(
        "SELECT epoch, lower(r) AS first, upper(r) - 1 AS last"
        " FROM (SELECT epoch, unnest(range_agg(seqs)) AS r FROM execution_coverage GROUP BY epoch) AS c"
    )
    reviewed = await connection.fetch("SELECT order_id FROM doubts")
    orphans = await connection.fetch("SELECT client_order_id FROM orphans")
    waiting = await connection.fetchval("SELECT count(*) FROM execution_inbox")
    ranges: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for each in covered:
        ranges[each["epoch"]].append((each["first"], each["last"]))
    return ExecutionEvidence(
        [TrailRow._make(row) for row in trail],
        [ExecutionRow._make((*tuple(row)[:-1], row["transact_time"].astimezone(UTC))) for row in rows],
        [ParkedReport._make(row) for row in parked],
        {each["epoch"]: each["session"] for each in epochs},
        ranges,
        reviewed=frozenset(each["order_id"] for each in reviewed),
        orphans=frozenset(each["client_order_id"] for each in orphans),
        waiting_frames=waiting,
        **answers,
    )
