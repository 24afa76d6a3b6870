"""What the statements about execution reports do, in Python, on the tables of a simulation.

A statement here is done in one moment, so that it has seen whatever was committed before it: nothing is ever `unseen`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any

from ordertrail.domain.execution import (
    EXECUTION_SEQ_MAX,
    EXECUTION_TEXT_LENGTH_MAX,
    REJECTED,
    STATUS_OF_ORD_STATUS,
    TRADE,
    TRADE_CANCEL,
    TRADE_CORRECT,
    proves_acceptance,
)
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.execution_rows import PARKED_RETRY_SECONDS, REPORT_KIND, STRAY_PAUSE_SECONDS, STRAY_SECONDS
from ordertrail.storage.postgres import execution_statements as statements
from ordertrail.storage.postgres import execution_upkeep_statements as upkeep_statements
from ordertrail.storage.postgres import feed_statements, position_statements
from ordertrail.storage.postgres.execution_statements import Variant
from tests.simulation.execution_tables import (
    Sums,
    elements_of,
    joined,
    moment_of,
    report_of,
    unreadable_field,
)
from tests.simulation.table_rows import (
    ORDER_COLUMNS,
    Record,
    Tables,
    insert_row,
    plain,
    reopen_doubt,
    reports_of,
    was_accepted,
)

_ENDED = {"FILLED", "CANCELED", "EXPIRED"}
_OVER = ("canceled", "expired", REJECTED)
_COLUMNS = (
    "seq", "exec_type", "ord_status", "exchange_order_id", "last_qty", "last_px", "cum_qty", "leaves_qty", "avg_px",
    "exec_ref_id", "reject_reason",
)  # fmt: skip
_NOTHING = {"closed_by": None, "evidence": None}


@dataclass(slots=True)
class _Report:
    """One of the input. `number`, `ordinal`: which frame it is in, and where."""

    number: int
    ordinal: int
    raw: str
    fields: Record
    unreadable: str | None

    def __getattr__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def says(self) -> tuple[Any, ...]:
        return (self.exec_type, self.last_qty, self.last_px, self.exec_ref_id)

    @property
    def proves(self) -> bool:
        return proves_acceptance(self.exec_type, self.ord_status)


@dataclass(slots=True)
class _Known:
    """An order of the input that has rows: what they were before, and what the statement adds."""

    id: str
    statuses: frozenset[str]
    order: Record
    reports: list[_Report]
    inserted: list[_Report] = field(default_factory=list)

    @property
    def exchange_order_id(self) -> str | None:
        return max((each.exchange_order_id for each in self.reports if each.proves), default=None)

    @property
    def is_refused(self) -> bool:
        return any(not each.proves for each in self.reports)


def _raws(body: str) -> list[str]:
    """The elements of an array, as they stand in it."""
    decoder, place = json.JSONDecoder(), body.index("[") + 1
    raws: list[str] = []
    while True:
        while body[place] in " \t\r\n,":
            place += 1
        if body[place] == "]":
            return raws
        _, end = decoder.raw_decode(body, place)
        raws.append(body[place:end])
        place = end


def _apply(
    tables: Tables,
    now: datetime,
    variant: Variant,
    frames: Sequence[tuple[int, str]],
    venue: str,
    epoch: str,
    session: int,
) -> Record:
    reports = [
        _Report(number, ordinal, raw, fields := report_of(element), unreadable_field(fields))
        for number, body in frames
        for ordinal, (element, raw) in enumerate(zip(elements_of(body), _raws(body), strict=True), start=1)
    ]
    readable = [each for each in reports if each.unreadable is None]
    known: dict[str, _Known] = {}
    for order_id in sorted({each.client_order_id for each in readable} & tables.orders.keys()):
        rows = tables.orders[order_id]
        own = [each for each in readable if each.client_order_id == order_id]
        known[order_id] = _Known(order_id, frozenset(rows), next(iter(rows.values())), own)
    first = _first_of_keys(known.values())
    times = {id(each): moment_of(each.transact_time) for each in first}
    there = tables.reports.executions
    if not variant.may_repeat and any((session, each.exec_id) in there.get(each.client_order_id, {}) for each in first):
        raise StatementFailed("23505", "duplicate key value violates unique constraint")

    was_refused = {
        order_id
        for order_id, order in known.items()
        if "REJECTED" not in order.statuses
        and any(row["ord_status"] == REJECTED for row in tables.reports.executions.get(order_id, {}).values())
    }
    observed = _observe(tables, known.values())
    _wake(tables, now, known, observed, was_refused)
    fresh = _insert_executions(tables, now, known, times, epoch, session)
    contradicting = [
        each
        for order in known.values()
        for each in order.reports
        if _says(tables.reports.executions[order.id][session, each.exec_id]) != each.says
    ]
    after_end = [order.id for order in known.values() if _is_after_end(tables, order, epoch)]
    for order in known.values():
        _append_said(tables, now, order, is_refused=order.id in was_refused)
    _sum_positions(tables, known.values())
    for order in known.values():
        for each in order.inserted:
            if each.exec_ref_id is not None and each.exec_type != TRADE:
                tables.reports.revisions[order.id, session, each.exec_id] = (now, None)
    strange = [
        *((each, "unreadable") for each in reports if each.unreadable is not None),
        *((each, "unknown_order") for each in readable if each.client_order_id not in known),
        *((each, "contradicts") for each in contradicting),
    ]
    parked = _park_all(tables, now, venue, epoch, strange)
    _cover(tables, venue, epoch, [(each.seq, each.seq) for each in reports if each.seq is not None])
    verdicts = [verdict for _, verdict in strange]
    return {
        "frames": len(frames),
        "reports": len(reports),
        "inserted": fresh,
        "parked": parked,
        "unseen": 0,
        "unknown": verdicts.count("unknown_order"),
        "unreadable": verdicts.count("unreadable"),
        "contradicting": sorted({each.client_order_id for each in contradicting}),
        "late": [order_id for order_id in sorted(observed) if "NOT_PLACED" in known[order_id].statuses],
        "overfilled": [order.id for order in known.values() if _is_overfilled(order)],
        "after_end": after_end,
        "busted": [
            order.id
            for order in known.values()
            if any(each.exec_type in {TRADE_CANCEL, TRADE_CORRECT} for each in order.inserted)
        ],
    }


def _first_of_keys(known: Iterable[_Known]) -> list[_Report]:
    first: dict[tuple[str, str], _Report] = {}
    for order in known:
        for each in order.reports:
            first.setdefault((order.id, each.exec_id), each)
    return list(first.values())


def _says(row: Record) -> tuple[Any, ...]:
    return (row["exec_type"], row["last_qty"], row["last_px"], row["exec_ref_id"])


def _observe(tables: Tables, known: Iterable[_Known]) -> set[str]:
    observed = {
        order.id
        for order in known
        if order.exchange_order_id is not None
        and "COMPLETED" not in order.statuses
        and order.id not in tables.sightings
    }
    for order in known:
        if order.id in observed and order.exchange_order_id is not None:
            tables.sightings[order.id] = order.exchange_order_id
    return observed


def _wake(tables: Tables, now: datetime, known: dict[str, _Known], observed: set[str], was_refused: set[str]) -> None:
    for order_id, order in known.items():
        doubt = tables.doubts.get(order_id)
        is_ending = any(each.ord_status in {"filled", "canceled", "expired"} for each in order.reports)
        is_news = (is_ending and not order.statuses & _ENDED) or (
            order.is_refused and "REJECTED" not in order.statuses and order_id not in was_refused
        )
        is_woken = order_id in observed and (doubt is not None or bool(order.statuses - {"INITIATED"}))
        is_revised = any(each.exec_type in {TRADE_CANCEL, TRADE_CORRECT} for each in order.reports)
        is_woken |= is_revised and order_id in tables.cancels
        if is_woken or (doubt is not None and doubt.settled_at is None and is_news):
            reopen_doubt(tables, now, order_id)


def _insert_executions(
    tables: Tables, now: datetime, known: dict[str, _Known], times: dict[int, datetime], epoch: str, session: int
) -> int:
    for each in _first_of_keys(known.values()):
        rows = tables.reports.executions.setdefault(each.client_order_id, {})
        if (session, each.exec_id) not in rows:
            rows[session, each.exec_id] = {
                "order_id": each.client_order_id,
                "session": session,
                "exec_id": each.exec_id,
                "epoch": epoch,
                **{name: each.fields[name] for name in _COLUMNS},
                "transact_time": times[id(each)],
                "recorded_at": now,
            }
            tables.log.executions.append((each.client_order_id, session, each.exec_id))
            known[each.client_order_id].inserted.append(each)
    return sum(len(order.inserted) for order in known.values())


def _is_after_end(tables: Tables, order: _Known, epoch: str) -> bool:
    trades = [each.seq for each in order.inserted if each.exec_type == TRADE and each.seq is not None]
    ends = [each.seq for each in order.inserted if each.exec_type in _OVER and each.seq is not None]
    rows = [
        row
        for row in tables.reports.executions.get(order.id, {}).values()
        if row["epoch"] == epoch and row["seq"] is not None
    ]
    return (
        (bool(trades) and bool(ends) and min(ends) < max(trades))
        or (
            bool(trades)
            and bool(order.statuses & {"CANCELED", "EXPIRED", "REJECTED"})
            and any(row["exec_type"] in _OVER and row["seq"] < max(trades) for row in rows)
        )
        or (
            bool(ends)
            and bool(order.statuses & {"PARTIALLY_FILLED", "FILLED"})
            and any(row["exec_type"] == TRADE and row["seq"] > min(ends) for row in rows)
        )
    )


def _is_overfilled(order: _Known) -> bool:
    traded = sum(each.last_qty for each in order.inserted if each.exec_type == TRADE)
    return bool(max([traded, *(each.cum_qty for each in order.inserted)]) > order.order["quantity"])


def _append_said(tables: Tables, now: datetime, order: _Known, *, is_refused: bool) -> None:
    said = {
        str(STATUS_OF_ORD_STATUS[each.ord_status]) for each in order.inserted if each.ord_status in STATUS_OF_ORD_STATUS
    }
    is_refused |= any(each.ord_status == REJECTED for each in order.inserted)
    proofs = (
        proves_acceptance(row["exec_type"], row["ord_status"])
        for row in tables.reports.executions.get(order.id, {}).values()
    )
    if is_refused and (order.exchange_order_id is not None or any(proofs) or was_accepted(tables, order.id)):
        said.add("REJECTED")
    fields = {name: order.order[name] for name in ORDER_COLUMNS}
    for status in said - order.statuses:
        row = {"status": status, "reason": "execution", "exchange_order_id": order.exchange_order_id}
        insert_row(tables, {**fields, **row, "created_at": plain(now)})


def _sum_positions(tables: Tables, known: Iterable[_Known]) -> None:
    sums: Sums = {}
    for order in known:
        for each in order.inserted:
            if each.exec_type == TRADE:
                key = (order.order["instrument"], order.order["side"])
                quantity, notional = sums.get(key, (0, Decimal(0)))
                sums[key] = (quantity + each.last_qty, notional + each.last_qty * each.last_px)
    if sums:
        tables.reports.position_sums.append(sums)


def _park_all(tables: Tables, now: datetime, venue: str, epoch: str, strange: Iterable[tuple[_Report, str]]) -> int:
    things = {
        sha256(f"{venue}\n{REPORT_KIND}\n{epoch}\n{each.raw}".encode()).digest(): (each, verdict)
        for each, verdict in strange
    }
    parked = 0
    for fingerprint, (each, verdict) in sorted(things.items(), key=lambda item: item[0]):
        order_id = each.client_order_id and each.client_order_id[:EXECUTION_TEXT_LENGTH_MAX]
        number = _park(
            tables, now, venue, epoch, fingerprint, each.raw.encode(), verdict, each.unreadable, order_id, each.seq
        )
        if number is not None:
            parked += 1
            if verdict == "unknown_order":
                tables.reports.retries[number] = (0, now + timedelta(seconds=PARKED_RETRY_SECONDS[0]))
    return parked


def _park(
    tables: Tables,
    now: datetime,
    venue: str,
    epoch: str,
    fingerprint: bytes,
    raw: bytes,
    reason: str,
    field_: str | None,
    order_id: str | None,
    seq: int | None,
) -> int | None:
    if fingerprint in tables.parked:
        return None
    number = next(tables.parked_ids)
    tables.parked[fingerprint] = {
        "id": number,
        "parked_at": now,
        "venue": venue,
        "kind": REPORT_KIND,
        "field": field_,
        "reason": reason,
        "raw": raw,
        "fingerprint": fingerprint,
        "order_id": order_id,
        "epoch": epoch,
        "seq": seq,
        "closed_at": None,
        **_NOTHING,
    }
    return number


def _cover(tables: Tables, venue: str, epoch: str, ranges: Iterable[tuple[int, int]]) -> None:
    covered = joined((first, last) for first, last in ranges if 1 <= first <= last <= EXECUTION_SEQ_MAX)
    if covered:
        tables.reports.coverage.append((venue, epoch, covered))


def _apply_reports(
    variant: Variant, tables: Tables, now: datetime, bodies: Sequence[str], venue: str, epoch: str, session: int
) -> list[Record]:
    return [_apply(tables, now, variant, list(enumerate(bodies, start=1)), venue, epoch, session)]


def _apply_inbox(variant: Variant, tables: Tables, now: datetime, venue: str, reports_max: int) -> list[Record]:
    waiting = [frame for _, frame in sorted(tables.reports.inbox.items()) if frame["venue"] == venue]
    front = waiting[:4]
    average = sum(frame["count"] for frame in front) / len(front) if front else 1
    limit = max(1, -(-reports_max // max(1, average)))
    taken: list[Record] = []
    reports = 0
    for frame in waiting[: int(limit)]:
        if frame["epoch"] == waiting[0]["epoch"] and reports < reports_max:
            taken.append(frame)
        reports += frame["count"]
    if not taken:
        return [{"frames": 0}]
    epoch = taken[0]["epoch"]
    session = tables.reports.epochs.get((venue, epoch))
    if session is None:
        raise StatementFailed("23502", "null value in column session")
    bodies = [(frame["id"], frame["body"]) for frame in taken]
    applied = _apply(tables, now, variant, bodies, venue, epoch, session)
    for frame in taken:
        del tables.reports.inbox[frame["id"]]
    waited = (now - min(frame["put_at"] for frame in taken)).total_seconds()
    return [{**applied, "waited_seconds": waited}]


def _session_of(tables: Tables, _now: datetime, venue: str, epoch: str) -> list[Record]:
    session = tables.reports.epochs.get((venue, epoch))
    return [] if session is None else [{"session": session}]


def _lock_epochs(_tables: Tables, _now: datetime) -> list[Record]:
    return []


def _begin_epoch(tables: Tables, _now: datetime, venue: str, epoch: str, scope: str) -> list[Record]:
    epochs = tables.reports.epochs
    if (venue, epoch) not in epochs:
        own = [session for (name, _), session in epochs.items() if name == venue]
        epochs[venue, epoch] = min(own) if own and scope == "order" else max(epochs.values(), default=0) + 1
    return [{"session": epochs[venue, epoch]}]


def _newest_epoch(tables: Tables, _now: datetime, venue: str) -> list[Record]:
    return [{"epoch": epoch} for name, epoch in reversed(tables.reports.epochs) if name == venue][:1]


def _coverage(tables: Tables, _now: datetime, venue: str, epoch: str) -> list[Record]:
    noted = [each for name, of, ranges in tables.reports.coverage if (name, of) == (venue, epoch) for each in ranges]
    return [{"first": first, "last": last} for first, last in joined(noted)]


def _feed(tables: Tables, now: datetime, venue: str) -> Record:
    nothing = {"venue": venue, "holder": None, "leased_until": None, "fence": 0, "epoch": None, "seq": None}
    return tables.reports.feeds.setdefault(venue, {**nothing, "changed_at": now})


def _lease_feed(tables: Tables, now: datetime, venue: str, holder: str, seconds: float) -> list[Record]:
    feed = _feed(tables, now, venue)
    if feed["holder"] not in {None, holder} and feed["leased_until"] > now:
        return []
    if feed["holder"] != holder:
        feed.update(holder=holder, fence=feed["fence"] + 1, changed_at=now)
    feed["leased_until"] = now + timedelta(seconds=seconds)
    return [{"fence": feed["fence"]}]


def _release_feed(tables: Tables, now: datetime, venue: str, holder: str) -> list[Record]:
    feed = tables.reports.feeds.get(venue)
    if feed is not None and feed["holder"] == holder:
        feed.update(holder=None, leased_until=None, changed_at=now)
    return []


def _read_feed(tables: Tables, now: datetime, venue: str) -> list[Record]:
    feed = tables.reports.feeds.get(venue)
    if feed is None:
        return []
    shown = {name: feed[name] for name in ("venue", "holder", "epoch", "seq", "changed_at")}
    ended_at = feed["leased_until"] or feed["changed_at"]
    unowned_seconds = max((now - ended_at).total_seconds(), 0.0)
    is_owned = feed["leased_until"] is not None and feed["leased_until"] > now
    return [{**shown, "is_owned": is_owned, "unowned_seconds": unowned_seconds}]


def _put(tables: Tables, now: datetime, *columns: Any) -> list[Record]:
    number = next(tables.reports.frame_numbers)
    names = ("venue", "epoch", "exec_id_scope", "count", "first_seq", "last_seq", "body")
    tables.reports.inbox[number] = {"id": number, **dict(zip(names, columns, strict=True)), "put_at": now}
    return [{}]


def _put_at_tail(tables: Tables, now: datetime, *columns: Any) -> list[Record]:
    *frame, after_epoch, after_seq = columns
    venue, epoch, last_seq = frame[0], frame[1], frame[5]
    feed = _feed(tables, now, venue)
    is_there = (feed["epoch"], feed["seq"]) == (after_epoch, after_seq)
    if feed["epoch"] is not None and not is_there and (feed["epoch"] == after_epoch or after_seq != 0):
        return []
    feed.update(epoch=epoch, seq=last_seq, changed_at=now)
    return _put(tables, now, *frame)


def _inbox_depth(tables: Tables, _now: datetime, venue: str, limit: int) -> list[Record]:
    return [{"count": min(limit, sum(frame["venue"] == venue for frame in tables.reports.inbox.values()))}]


def _inbox_bytes(tables: Tables, _now: datetime, _beyond: int) -> list[Record]:
    return [{"bytes": sum(len(frame["body"]) for frame in tables.reports.inbox.values())}]


def _peek_inbox(tables: Tables, _now: datetime, venue: str, limit: int) -> list[Record]:
    return [dict(frame) for _, frame in sorted(tables.reports.inbox.items()) if frame["venue"] == venue][:limit]


def _drop_from_inbox(tables: Tables, _now: datetime, numbers: Sequence[int]) -> list[Record]:
    for number in numbers:
        tables.reports.inbox.pop(number, None)
    return []


def _park_report(tables: Tables, now: datetime, venue: str, epoch: str, *thing: Any) -> list[Record]:
    raw, fingerprint, reason, field_, order_id, first, last = thing
    seq = first if first == last else None
    number = _park(tables, now, venue, epoch, fingerprint, raw, reason, field_, order_id, seq)
    if first is not None and last is not None:
        _cover(tables, venue, epoch, [(first, last)])
    return [{"is_new": number is not None}]


def _parked_row(tables: Tables, parked_id: int) -> Record | None:
    return next((row for row in tables.parked.values() if row["id"] == parked_id), None)


def _due_retries(tables: Tables, now: datetime, venue: str, limit: int) -> list[Record]:
    due = sorted((due_at, parked_id, tries) for parked_id, (tries, due_at) in tables.reports.retries.items())
    found = []
    for due_at, parked_id, tries in due[:limit]:
        row = _parked_row(tables, parked_id)
        if due_at <= now and row is not None and row["venue"] == venue:
            shown = {name: row[name] for name in ("epoch", "raw", "order_id")}
            known = {"is_known": row["order_id"] in tables.orders}
            found.append({"parked_id": parked_id, "tries": tries, **shown, **known})
    return sorted(found, key=lambda record: int(record["parked_id"]))


def _is_applied(tables: Tables, row: Record, report: Record) -> bool:
    session = tables.reports.epochs.get((row["venue"], row["epoch"]))
    kept = tables.reports.executions.get(row["order_id"], {}).get((session or 0, report["exec_id"] or ""))
    return kept is not None and _says(kept) == _says(report)


def _end_retries(
    tables: Tables, now: datetime, ids: Sequence[int], tries_of: Sequence[int], wanted: Sequence[bool]
) -> list[Record]:
    closed, orphaned = [], []
    retries = tables.reports.retries
    for parked_id, tries, is_wanted in sorted(zip(ids, tries_of, wanted, strict=True)):
        row = _parked_row(tables, parked_id)
        if row is None:
            continue
        [element] = elements_of(f"[{row['raw'].decode()}]")
        report = report_of(element)
        was_closed = row["closed_at"] is not None
        if _is_applied(tables, row, report):
            if not was_closed:
                row["closed_at"] = now
                closed.append(parked_id)
            retries.pop(parked_id, None)
        elif not is_wanted or was_closed:
            retries.pop(parked_id, None)
        elif tries >= len(PARKED_RETRY_SECONDS) - 1:
            retries.pop(parked_id, None)
            key = (row["venue"], row["epoch"], row["order_id"], report["exchange_order_id"] or "")
            if row["order_id"] not in tables.orders and key not in tables.orphans:
                names = dict(zip(("venue", "epoch", "client_order_id", "exchange_order_id"), key, strict=True))
                unknown = dict.fromkeys(("instrument", "side", "quantity", "closed_at"))
                kept = {"id": len(tables.orphans) + 1, "shown_at": now, **names, **unknown}
                tables.orphans[key] = {**kept, **_NOTHING}
                orphaned.append(row["order_id"])
        elif retries.get(parked_id, (None,))[0] == tries:
            retries[parked_id] = (tries + 1, now + timedelta(seconds=PARKED_RETRY_SECONDS[tries + 1]))
    return [{"closed": closed, "orphaned": sorted(set(orphaned))}]


def _replayable(tables: Tables, _now: datetime, parked_id: int) -> list[Record]:
    row = _parked_row(tables, parked_id)
    if row is None or row["kind"] != REPORT_KIND or row["closed_at"] is not None:
        return []
    return [{name: row[name] for name in ("venue", "epoch", "raw")}]


def _compact_coverage(tables: Tables, _now: datetime, venue: str, most: int, least: int) -> list[Record]:
    if len(tables.reports.coverage) < least:
        return []
    own = [each for each in tables.reports.coverage if each[0] == venue][:most]
    tables.reports.coverage = [each for each in tables.reports.coverage if each not in own]
    for epoch in dict.fromkeys(epoch for _, epoch, _ in own):
        ranges = [one for _, of, noted in own if of == epoch for one in noted]
        tables.reports.coverage.append((venue, epoch, joined(ranges)))
    return []


def _added(sums: Iterable[Sums]) -> Sums:
    together: Sums = {}
    for each in sums:
        for key, (quantity, notional) in each.items():
            before = together.get(key, (0, Decimal(0)))
            together[key] = (before[0] + quantity, before[1] + notional)
    return together


def _compact_positions(tables: Tables, _now: datetime, most: int, least: int) -> list[Record]:
    if len(tables.reports.position_sums) >= least:
        taken, rest = tables.reports.position_sums[:most], tables.reports.position_sums[most:]
        tables.reports.position_sums = [*rest, _added(taken)]
    return []


def _lock_revisions(_tables: Tables, _now: datetime) -> list[Record]:
    return []


def _latest(rows: Iterable[Record]) -> tuple[int, Decimal]:
    """What the latest says, of rows that are in their order, the latest last."""
    *_, latest = (row for row in rows if row["exec_type"] in {TRADE, TRADE_CANCEL, TRADE_CORRECT})
    if latest["exec_type"] == TRADE_CANCEL:
        return 0, Decimal(0)
    return latest["last_qty"], latest["last_qty"] * (latest["last_px"] or Decimal(0))


def _revised(tables: Tables, due: Iterable[tuple[str, int, str]]) -> tuple[Sums, set[tuple[str, int, str]]]:
    """What those change that are not in the sums yet, and which they are with all others of their chains."""
    sums: Sums = {}
    reckoned: set[tuple[str, int, str]] = set()
    roots: set[tuple[str, int, str]] = set()
    for order_id, session, exec_id in due:
        rows, passed = tables.reports.executions[order_id], set[str]()
        row: Record | None = rows[session, exec_id]
        while row is not None and row["exec_type"] != TRADE and row["exec_id"] not in passed:
            passed.add(row["exec_id"])
            row = rows.get((session, row["exec_ref_id"]))
        if row is not None and row["exec_type"] == TRADE:
            roots.add((order_id, session, row["exec_id"]))
    for order_id, session, trade_id in sorted(roots):
        in_order = [row for row in reports_of(tables, order_id) if row["session"] == session]
        chain, known = [trade_id], [trade_id]
        for above in chain:
            below = [row["exec_id"] for row in in_order if row["exec_ref_id"] == above and row["exec_type"] != TRADE]
            chain += below
            known += [each for each in below if (order_id, session, each) not in tables.reports.revisions]
        now = _latest(row for row in in_order if row["exec_id"] in chain)
        before = _latest(row for row in in_order if row["exec_id"] in known)
        order = next(iter(tables.orders[order_id].values()))
        change = (now[0] - before[0], now[1] - before[1])
        sums = _added([sums, {(order["instrument"], order["side"]): change}])
        reckoned |= {(order_id, session, each) for each in chain}
    return sums, reckoned


def _reckon_revisions(tables: Tables, now: datetime, limit: int) -> list[Record]:
    revisions = tables.reports.revisions
    due = sorted(
        (reviewed_at is not None, reviewed_at, key)
        for key, (noted_at, reviewed_at) in revisions.items()
        if reviewed_at is None
        or now - noted_at < timedelta(seconds=STRAY_SECONDS)
        or now - reviewed_at >= timedelta(seconds=STRAY_PAUSE_SECONDS)
    )[:limit]
    keys = [key for _, _, key in due]
    sums, reckoned = _revised(tables, keys)
    if sums:
        tables.reports.position_sums.append(sums)
    for key in reckoned & revisions.keys():
        del revisions[key]
    for key in keys:
        if key in revisions:
            revisions[key] = (revisions[key][0], now)
    return [{"count": len(keys)}]


def summed_up(tables: Tables) -> Sums:
    """What `GET /positions` is made from, once every revision is looked at."""
    return _added([*tables.reports.position_sums, _revised(tables, tables.reports.revisions)[0]])


def _make_partitions(_tables: Tables, _now: datetime) -> list[Record]:
    return []


def _count_misplaced(_tables: Tables, _now: datetime, _limit: int) -> list[Record]:
    return [{"count": 0}]


EXECUTION_STATEMENTS: dict[str, tuple[str, Callable[..., list[Record]]]] = {
    **{sql: ("apply_reports", partial(_apply_reports, variant)) for variant, sql in statements.APPLY_REPORTS.items()},
    **{sql: ("apply_inbox", partial(_apply_inbox, variant)) for variant, sql in statements.APPLY_INBOX.items()},
    feed_statements.SESSION_OF: ("session_of", _session_of),
    feed_statements.LOCK_EPOCHS: ("lock_epochs", _lock_epochs),
    feed_statements.BEGIN_EPOCH: ("begin_epoch", _begin_epoch),
    feed_statements.NEWEST_EPOCH: ("newest_epoch", _newest_epoch),
    feed_statements.COVERAGE: ("coverage", _coverage),
    feed_statements.LEASE_FEED: ("lease_feed", _lease_feed),
    feed_statements.RELEASE_FEED: ("release_feed", _release_feed),
    feed_statements.READ_FEED: ("read_feed", _read_feed),
    feed_statements.PUT_IN_INBOX: ("put_in_inbox", _put),
    feed_statements.PUT_AT_TAIL: ("put_at_tail", _put_at_tail),
    feed_statements.INBOX_DEPTH: ("inbox_depth", _inbox_depth),
    feed_statements.INBOX_BYTES: ("inbox_bytes", _inbox_bytes),
    feed_statements.PEEK_INBOX: ("peek_inbox", _peek_inbox),
    feed_statements.DROP_FROM_INBOX: ("drop_from_inbox", _drop_from_inbox),
    statements.PARK_REPORT: ("park_report", _park_report),
    upkeep_statements.DUE_RETRIES: ("due_retries", _due_retries),
    upkeep_statements.END_RETRIES: ("end_retries", _end_retries),
    upkeep_statements.REPLAYABLE: ("replayable", _replayable),
    upkeep_statements.COMPACT_COVERAGE: ("compact_coverage", _compact_coverage),
    position_statements.COMPACT_POSITIONS: ("compact_positions", _compact_positions),
    position_statements.LOCK_REVISIONS: ("lock_revisions", _lock_revisions),
    position_statements.RECKON_REVISIONS: ("reckon_revisions", _reckon_revisions),
    upkeep_statements.MAKE_PARTITIONS: ("make_partitions", _make_partitions),
    upkeep_statements.COUNT_MISPLACED: ("count_misplaced", _count_misplaced),
}
