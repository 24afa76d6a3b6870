"""Checks what must hold over the exchange's own log, our rows and the clients' view.

It shares no code with the service but the statuses' names, so that a mistake there is not repeated here. `check` is
what must always hold; it may run at any moment, also while orders are being placed: the log is read before the rows,
for a row is committed before the order that it allows is sent. `check_settled` is what must hold besides once the
faults are over, everything runs again and every deadline has passed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
from typing_extensions import override

from ordertrail.storage.order_queue_rows import FIRST_SEND
from simulated_exchange.entries import AcceptedLine, Line, LoggedOrder, RejectedLine
from simulated_exchange.log import read_lines
from tests.support.postgres import run

PLACED_SHARE_MIN = 0.3
FIELDS = ("type", "side", "instrument", "limit_price", "quantity")
ENDED = frozenset({"FILLED", "CANCELED", "EXPIRED", "REJECTED"})
OVER_AT_EXCHANGE = frozenset(status.lower() for status in ENDED)
REPORTED = ENDED | {"PARTIALLY_FILLED"}
PLACED = REPORTED | {"COMPLETED"}
OUTCOMES = frozenset({"placed", "not_placed", "pending", "unknown"})
NEVER_SENT = "not_sent:not_recorded"


@dataclass(frozen=True)
class ClientAnswer:
    """What a client saw of one request; `status` None: the connection was lost."""

    key: str | None
    request: Mapping[str, Any]
    status: int | None
    body: Mapping[str, Any] = field(default_factory=dict)
    received_at: datetime | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def order_id(self) -> str | None:
        """The order it speaks of: `id` in an order, `order_id` in a problem."""
        return self.body.get("id" if self.status in {201, 202} else "order_id")


@dataclass(frozen=True)
class Row:
    """A row of `orders`; `created_at` is aware, UTC."""

    id: str
    status: str
    type: str
    side: str
    instrument: str
    limit_price: float | None
    quantity: int
    reason: str | None = None
    exchange_order_id: str | None = None
    client_order_id: str | None = None
    created_at: datetime | None = None
    place_by: datetime | None = None
    start_by: datetime | None = None


@dataclass(frozen=True)
class Evidence:
    """What two of the three witnesses say; the clients' view is the third. `attempts`: (order id, number).

    The rest is for `check_settled` alone. `doubts`: orders that are looked after still; `unseen`: orders in batches
    that nobody has looked at; `cancels`: orders that somebody wants canceled; `spooled`: files that are not replayed;
    `queued`: orders that wait for a worker, which may be at no time at the exchange.
    """

    lines: Sequence[Line]
    rows: Sequence[Row]
    keys: Sequence[tuple[str, str]]
    attempts: Sequence[tuple[str, int]]
    doubts: Sequence[str] = ()
    unseen: Sequence[str] = ()
    cancels: Sequence[str] = ()
    spooled: Sequence[str] = ()
    queued: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """`violations` in words; `counts` say that there was something to check."""

    violations: list[str]
    counts: Counter[str]

    @property
    def placed_share(self) -> float:
        """How many of the clients' orders were answered with 201, sooner or later."""
        return self.counts["placed"] / max(1, self.counts["orders"])

    def assert_safe(self, *, hits: Mapping[str, int] | None = None) -> None:
        """Nothing violated, and not for want of orders or of faults: `hits` counts what was meant to happen."""
        assert not self.violations, "\n".join(self.violations)
        assert self.placed_share >= PLACED_SHARE_MIN, f"only {self.placed_share:.0%} were placed: {self.counts}"
        missed = [name for name, count in (hits or {}).items() if count < 1]
        assert not missed, f"never hit: {missed}"


def read_evidence(log: Path, database_url: str, *, spool: Path | None = None) -> Evidence:
    """The log first, then everything in the database as one transaction sees it."""
    return run(read_evidence_async(log, database_url, spool=spool))


async def read_evidence_async(log: Path, database_url: str, *, spool: Path | None = None) -> Evidence:
    lines = [line for _, line in read_lines(log)]
    spooled = [] if spool is None else unreplayed(spool)
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            rows = await connection.fetch(
                "SELECT id, status::text, type, side, instrument, limit_price, quantity, reason, exchange_order_id,"
                " client_order_id, created_at, place_by, start_by FROM orders"
            )
            keys = await connection.fetch("SELECT client_order_id, order_id FROM order_keys")
            attempts = await connection.fetch("SELECT order_id, number FROM attempts")
            doubts = await connection.fetch("SELECT order_id FROM doubts WHERE settled_at IS NULL")
            unseen = await connection.fetch("SELECT unnest(order_ids) AS order_id FROM order_batches")
            cancels = await connection.fetch("SELECT order_id FROM cancel_requests")
            queued = await connection.fetch("SELECT order_id FROM order_queue")
    finally:
        await connection.close()
    return Evidence(
        lines,
        [Row(**{**row, "created_at": row["created_at"].replace(tzinfo=UTC)}) for row in rows],
        [(key["client_order_id"], key["order_id"]) for key in keys],
        [(attempt["order_id"], attempt["number"]) for attempt in attempts],
        doubts=[doubt["order_id"] for doubt in doubts],
        unseen=[order["order_id"] for order in unseen],
        cancels=[cancel["order_id"] for cancel in cancels],
        queued=[order["order_id"] for order in queued],
        spooled=spooled,
    )


def unreplayed(spool: Path) -> list[str]:
    """Files of the spool with something in them: not replayed, refused by the database, or broken."""
    files = [path for pattern in ("*.spool", "*.refused", "*.broken") for path in spool.glob(pattern)]
    return sorted(path.name for path in files if _has_something(path))


def check(evidence: Evidence, answers: Sequence[ClientAnswer]) -> Report:
    """Compare the three; `answers` stand in the order in which they came."""
    case = _Case(evidence, answers)
    return Report(_always(case), case.counts())


def check_settled(evidence: Evidence, answers: Sequence[ClientAnswer]) -> Report:
    """What `check` compares, and that nothing is left to do: every order has settled, or is unresolved and visible."""
    case = _SettledCase(evidence, answers)
    violations = [
        *_always(case),
        *case.unsettled(),
        *case.hidden_unresolved(),
        *case.settled_otherwise_than_at_exchange(),
        *case.reports_that_exchange_never_made(),
        *case.doubts_left(),
        *case.batches_left(),
        *case.spool_left(),
        *case.cancels_left(),
        *case.answers_about_nothing(),
        *case.answers_no_longer_true(),
        *case.keys_without_order(),
        *case.rows_without_initiated(),
    ]
    return Report(violations, case.counts())


def _always(case: "_Case") -> list[str]:
    return [
        *case.more_than_one_at_exchange(),
        *case.keys_with_two_orders(),
        *case.unfounded_201(),
        *case.unfounded_not_placed(),
        *case.exchange_orders_without_leave(),
        *case.fields_that_differ(),
        *case.rows_that_name_another_exchange_order(),
        *case.incomplete_500(),
        *case.taken_back(),
        *case.refusals_with_effect(),
    ]


class _Case:
    def __init__(self, evidence: Evidence, answers: Sequence[ClientAnswer]) -> None:
        self.answers = answers
        self.keys = evidence.keys
        self.accepted: defaultdict[str, list[AcceptedLine]] = defaultdict(list)
        self.rejected: defaultdict[str, list[RejectedLine]] = defaultdict(list)
        for line in evidence.lines:
            if isinstance(line, AcceptedLine):
                self.accepted[line.order.client_order_id].append(line)
            elif isinstance(line, RejectedLine):
                self.rejected[line.order.client_order_id].append(line)
        self.rows: defaultdict[str, dict[str, Row]] = defaultdict(dict)
        for row in evidence.rows:
            self.rows[row.id][row.status] = row
        # Those after the first send, which is claimed too where the order was queued.
        self.attempts = Counter(order_id for order_id, number in evidence.attempts if number > FIRST_SEND)
        self.first_claims = {order_id for order_id, number in evidence.attempts if number == FIRST_SEND}
        self.queued = set(evidence.queued)
        self.of_key: defaultdict[str, list[ClientAnswer]] = defaultdict(list)
        for answer in answers:
            if answer.key is not None:
                self.of_key[answer.key].append(answer)

    def more_than_one_at_exchange(self) -> Iterator[str]:
        for order_id, lines in self.accepted.items():
            if len(lines) > 1:
                yield f"{order_id}: accepted {len(lines)} times, as {[line.exchange_order_id for line in lines]}"
        for key, ids in self._ids_of_keys().items():
            lines = [line for order_id in ids for line in self.accepted.get(order_id, ())]
            if len(lines) > 1 and len({line.order.client_order_id for line in lines}) > 1:
                yield f"key {key}: {len(lines)} orders at the exchange, under {sorted(ids)}"

    def keys_with_two_orders(self) -> Iterator[str]:
        owners = self._owners()
        for key, ids in owners.items():
            if len(ids) > 1:
                yield f"key {key}: belongs to {sorted(ids)}"
        for key, answers in self.of_key.items():
            reported = {answer.order_id for answer in answers if answer.status in (201, 202, 409)} - {None}
            if len(reported) > 1 or (reported and not reported <= owners.get(key, set())):
                yield f"key {key}: its clients were given {sorted(map(str, reported))}, it belongs to {owners.get(key)}"

    def unfounded_201(self) -> Iterator[str]:
        for answer in self._answered(201):
            order_id = str(answer.order_id)
            rows, lines = self.rows.get(order_id, {}), self.accepted.get(order_id, [])
            if not lines:
                yield f"{order_id}: 201, and the exchange has not accepted it"
            elif answer.body.get("exchange_order_id") != lines[0].exchange_order_id:
                yield f"{order_id}: 201 names the exchange order {answer.body.get('exchange_order_id')}"
            if not {"INITIATED", "COMPLETED"} <= rows.keys():
                yield f"{order_id}: 201, and its rows are {sorted(rows)}"
            for row in (rows.get("INITIATED"), rows.get("COMPLETED")):
                if row and row.created_at and answer.received_at and row.created_at > answer.received_at:
                    yield f"{order_id}: 201 was answered before {row.status} was written"
            if answer.body.get("outcome") != "placed" or answer.body.get("status") not in PLACED:
                yield f"{order_id}: 201 says {answer.body.get('status')}, {answer.body.get('outcome')}"

    def unfounded_not_placed(self) -> Iterator[str]:
        claims = [(str(a.order_id), "a client was told not_placed") for a in self._answered(500) if _not_placed(a.body)]
        for order_id, rows in self.rows.items():
            claims += [(order_id, f"{row.status} {row.reason}") for row in rows.values() if _says_never_there(row)]
        for order_id, claim in claims:
            if order_id in self.accepted:
                yield f"{order_id}: {claim}, and the exchange has accepted it"

    def exchange_orders_without_leave(self) -> Iterator[str]:
        for order_id in self.accepted.keys() | self.rejected.keys():
            lines = [*self.accepted.get(order_id, ()), *self.rejected.get(order_id, ())]
            initiated = self.rows.get(order_id, {}).get("INITIATED")
            if initiated is None:
                yield f"{order_id}: at the exchange without INITIATED"
            elif initiated.created_at and any(_moment(line) < initiated.created_at for line in lines):
                yield f"{order_id}: at the exchange before INITIATED was written"
            claimed_later = self.attempts[order_id]
            if len(lines) > 1 + claimed_later:
                claimed = self.attempts[order_id]
                yield f"{order_id}: sent {len(lines)} times, with {claimed} attempts claimed after the first"
            if initiated is not None and initiated.start_by and order_id not in self.first_claims and not claimed_later:
                yield f"{order_id}: was queued, and is at the exchange though no worker has claimed it"
            if order_id in self.queued:
                yield f"{order_id}: is at the exchange, and waits in the queue"

    def fields_that_differ(self) -> Iterator[str]:
        for order_id, rows in self.rows.items():
            lines = [*self.accepted.get(order_id, ()), *self.rejected.get(order_id, ())]
            known = {_of_row(row) for row in rows.values()} | {_of_exchange(line.order) for line in lines}
            if len(known) > 1:
                yield f"{order_id}: rows and exchange differ: {sorted(map(str, known))}"
        for answer in self._answered(201):
            here, reported = _of_json(answer.request), _of_json(answer.body)
            recorded = {_of_row(row) for row in self.rows.get(str(answer.order_id), {}).values()}
            if recorded | {reported} != {here}:
                yield f"{answer.order_id}: asked for {here}, told {reported}, recorded {sorted(map(str, recorded))}"

    def rows_that_name_another_exchange_order(self) -> Iterator[str]:
        for order_id, rows in self.rows.items():
            accepted = {line.exchange_order_id for line in self.accepted.get(order_id, ())}
            rejected = {line.exchange_order_id for line in self.rejected.get(order_id, ())}
            for row in rows.values():
                is_placed = row.status in PLACED or row.reason == "accepted"
                # A report of a refusal need not name one.
                known = accepted if is_placed and row.status != "REJECTED" else accepted | rejected | {None}
                if row.exchange_order_id not in known:
                    yield f"{order_id}: {row.status} names {row.exchange_order_id}, the exchange has {sorted(accepted)}"

    def incomplete_500(self) -> Iterator[str]:
        for answer in self._answered(500):
            if answer.order_id is None or answer.body.get("outcome") not in OUTCOMES:
                yield f"{answer.order_id}: 500 with outcome {answer.body.get('outcome')!r}"

    def taken_back(self) -> Iterator[str]:
        """What was once said for good is never contradicted; a lost connection, 409 and 503 say nothing.

        Nor does `unknown`: the rows may be away, or in the spool of a process that knew more.
        """
        for key, answers in self.of_key.items():
            final: str | None = None
            for answer in answers:
                says = answer.body.get("outcome") if answer.status in (201, 500) else None
                if final is not None and says not in (None, "unknown", final):
                    yield f"key {key}: {says} after {final}"
                if says in ("placed", "not_placed"):
                    final = final or says

    def refusals_with_effect(self) -> Iterator[str]:
        owners = self._owners()
        for key, answers in self.of_key.items():
            statuses = {answer.status for answer in answers}
            if statuses <= {400, 408, 413, 415, 422, 431, 503} and key in owners:
                yield f"key {key}: only ever refused ({sorted(map(str, statuses))}), and it has the order {owners[key]}"

    def counts(self) -> Counter[str]:
        unkeyed = [answer for answer in self.answers if answer.key is None]
        placed = {answer.key for answer in self._answered(201)} - {None}
        counts = Counter(f"answers {answer.status or 'lost'}" for answer in self.answers)
        counts["orders"] = len(self.of_key) + len(unkeyed)
        counts["placed"] = len(placed) + sum(answer.status == 201 for answer in unkeyed)
        counts["accepted"] = len(self.accepted)
        counts["recorded"] = len(self.rows)
        return counts

    def _answered(self, status: int) -> list[ClientAnswer]:
        return [answer for answer in self.answers if answer.status == status]

    def _owners(self) -> dict[str, set[str]]:
        owners: defaultdict[str, set[str]] = defaultdict(set)
        for key, order_id in self.keys:
            owners[key].add(order_id)
        for rows in self.rows.values():
            for row in rows.values():
                if row.client_order_id is not None:
                    owners[row.client_order_id].add(row.id)
        return dict(owners)

    def _ids_of_keys(self) -> dict[str, set[str]]:
        """Every order that a key was ever said to have: by the rows, or to a client."""
        ids = defaultdict(set, {key: set(owners) for key, owners in self._owners().items()})
        for key, answers in self.of_key.items():
            ids[key] |= {str(answer.order_id) for answer in answers if answer.status in (201, 202, 409, 500)}
        return dict(ids)


class _SettledCase(_Case):
    """The other half, for when all is over."""

    def __init__(self, evidence: Evidence, answers: Sequence[ClientAnswer]) -> None:
        super().__init__(evidence, answers)
        self.doubts = frozenset(evidence.doubts)
        self.unseen = evidence.unseen
        self.cancels = frozenset(evidence.cancels)
        self.spooled = evidence.spooled
        self.reported: defaultdict[str, set[str]] = defaultdict(set)
        for line in evidence.lines:
            for report in getattr(line, "reports", ()):
                self.reported[report.client_order_id].add(report.ord_status)
        self.settled = {order_id: self._settled_as(order_id) for order_id in self.rows}

    def unsettled(self) -> Iterator[str]:
        for order_id, settled in self.settled.items():
            if settled is None:
                rows = sorted(f"{row.status} {row.reason}" for row in self.rows[order_id].values())
                yield f"{order_id}: has not settled: {rows}, {self.attempts[order_id]} attempts"

    def hidden_unresolved(self) -> Iterator[str]:
        for order_id, settled in self.settled.items():
            if settled == "unresolved" and order_id not in self.doubts:
                yield f"{order_id}: is unresolved, and nobody looks after it"

    def settled_otherwise_than_at_exchange(self) -> Iterator[str]:
        for order_id, settled in self.settled.items():
            is_accepted = order_id in self.accepted
            if settled == "placed" and not is_accepted:
                yield f"{order_id}: settled as placed, and the exchange has not accepted it"
            if settled == "not_placed" and is_accepted:
                yield f"{order_id}: settled as not placed, and the exchange has accepted it"

    def reports_that_exchange_never_made(self) -> Iterator[str]:
        for order_id, rows in self.rows.items():
            for status in rows.keys() & REPORTED:
                if status.lower() not in self.reported[order_id]:
                    yield f"{order_id}: {status}, and the exchange has only reported {sorted(self.reported[order_id])}"

    def doubts_left(self) -> Iterator[str]:
        for order_id in sorted(self.doubts):
            rows = self.rows.get(order_id, {})
            is_for_a_person = "UNRESOLVED" in rows
            if not is_for_a_person or (self.settled[order_id] != "unresolved" and order_id not in self.cancels):
                yield f"{order_id}: is still in doubt, with {sorted(rows)}"

    def batches_left(self) -> Iterator[str]:
        for order_id in self.unseen:
            yield f"{order_id}: nobody has looked at its batch"

    def spool_left(self) -> Iterator[str]:
        for name in self.spooled:
            yield f"{name}: is still in the spool"

    def cancels_left(self) -> Iterator[str]:
        for order_id in sorted(self.cancels - self.doubts):
            is_over = self.rows.get(order_id, {}).keys() & ENDED or self.reported[order_id] & OVER_AT_EXCHANGE
            if self.settled.get(order_id) == "placed" and not is_over:
                yield f"{order_id}: was to be canceled, and is forgotten with {sorted(self.rows[order_id])}"

    def answers_about_nothing(self) -> Iterator[str]:
        for answer in self.answers:
            if answer.status in (201, 202, 409, 500) and answer.order_id not in self.rows:
                yield f"{answer.order_id}: a client was told of it, and there is no such order: {answer.body}"

    def answers_no_longer_true(self) -> Iterator[str]:
        for answer in self._answered(201) + self._answered(500):
            said, settled = answer.body.get("outcome"), self.settled.get(str(answer.order_id))
            if said == "placed" and settled != "placed":
                yield f"{answer.order_id}: a client was told placed, and it settled as {settled}"
            if said == "not_placed" and settled != "not_placed" and _not_placed(answer.body):
                yield f"{answer.order_id}: a client was told not_placed, and it settled as {settled}"

    def keys_without_order(self) -> Iterator[str]:
        for key, order_id in self.keys:
            if order_id not in self.rows:
                yield f"key {key}: belongs to {order_id}, which was never recorded"

    def rows_without_initiated(self) -> Iterator[str]:
        for order_id, rows in self.rows.items():
            if "INITIATED" not in rows:
                yield f"{order_id}: its trail does not begin with INITIATED: {sorted(rows)}"

    @override
    def counts(self) -> Counter[str]:
        return super().counts() + Counter(f"settled {settled}" for settled in self.settled.values() if settled)

    def _settled_as(self, order_id: str) -> str | None:
        """By its rows, whatever the exchange has; None: it has not settled."""
        rows = self.rows[order_id]
        if "COMPLETED" in rows:
            return "placed"
        if rows.keys() & REPORTED:
            # The exchange has it, and nobody has taken that up.
            return None
        if "NOT_PLACED" in rows:
            return "not_placed"
        if "UNRESOLVED" in rows:
            return "unresolved"
        # Sent again, it is settled by a row of its own alone, for the rows of the first send say nothing of the others.
        if self.attempts[order_id] or "EXCHANGE_OUTCOME_UNKNOWN" in rows:
            return None
        reasons = [row.reason or "" for status, row in rows.items() if status != "INITIATED"]
        if any(reason.startswith(("accepted", "unknown:")) for reason in reasons):
            return None
        if any(_is_final_no(reason) for reason in reasons):
            return "not_placed"
        is_sent_once = "INITIATED" in rows and rows["INITIATED"].place_by is None
        return "not_placed" if is_sent_once and any(reason.startswith("not_sent:") for reason in reasons) else None


def _not_placed(body: Mapping[str, Any]) -> bool:
    # An order that we merely gave up is told of as such; only a proof can be wrong.
    return body.get("outcome") == "not_placed" and body.get("certainty") != "presumed"


def _says_never_there(row: Row) -> bool:
    reason = row.reason or ""
    if row.status == "NOT_PLACED":
        return "presumed" not in reason
    return _is_final_no(reason)


def _is_final_no(reason: str) -> bool:
    return reason.startswith("refused:") or reason == NEVER_SENT


def _has_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # replayed meanwhile
        return False


def _moment(line: AcceptedLine | RejectedLine) -> datetime:
    return datetime.fromisoformat(line.transact_time)


Fields = tuple[str | None, str | None, str | None, Decimal | None, int | None]


def _of_exchange(order: LoggedOrder) -> Fields:
    return (order.type, order.side, order.instrument, _price(order.limit_price), order.quantity)


def _of_row(row: Row) -> Fields:
    return (row.type, row.side, row.instrument, _price(row.limit_price), row.quantity)


def _of_json(fields: Mapping[str, Any]) -> Fields:
    kind, side, instrument, limit_price, quantity = (fields.get(name) for name in FIELDS)
    return (kind, side, instrument, _price(limit_price), quantity)


def _price(value: float | str | None) -> Decimal | None:
    return None if value is None else Decimal(str(value)).normalize()
