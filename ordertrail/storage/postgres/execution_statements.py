"""The statements that apply execution reports, one constant each; every one is a transaction of its own.

Plans are kept, and may be made while the tables are empty; rows are joined by loops alone (`PLANNER_SETTINGS`). So what
is found is brought together by grouping: a join of one part of a statement with another would compare each row with
each. `(x IN (SELECT …)) IS TRUE` is a hashed look-up.

Locks are taken in one order, and each kind in the order of its key: sightings, doubts, executions, orders, revisions,
parked.
"""

from typing import NamedTuple

from ordertrail.domain.execution import (
    EXEC_TYPES,
    EXECUTION_PRICE_DECIMALS_MAX,
    EXECUTION_PRICE_MAX,
    EXECUTION_QUANTITY_MAX,
    EXECUTION_SEQ_MAX,
    EXECUTION_TEXT_LENGTH_MAX,
    REJECTED,
    STATUS_OF_ORD_STATUS,
    TRADE,
    TRADE_CANCEL,
    TRADE_CORRECT,
)
from ordertrail.storage.execution_rows import PARKED_RETRY_SECONDS, REPORT_KIND
from ordertrail.storage.postgres import fragments


def _is_quantity(name: str) -> str:
    return f"{name} BETWEEN 0 AND {EXECUTION_QUANTITY_MAX}"


_TYPES = ", ".join(f"'{word}'" for word in sorted(EXEC_TYPES))

# What `domain.execution.proves_acceptance` says.
_PROVES = f"(exec_type <> '{REJECTED}' AND ord_status <> '{REJECTED}')"

# The first field that is missing, or says what cannot be; null: all can be read. What nearly every report is is tried
# first, for it takes a third of the time.
_UNREADABLE_FIELD = f"""\
CASE WHEN (last_qty | cum_qty | leaves_qty) BETWEEN 0 AND {EXECUTION_QUANTITY_MAX}
                     AND CASE WHEN last_qty = 0 THEN exec_type IN ('new', 'canceled', 'expired') AND last_px IS NULL
                              ELSE exec_type = '{TRADE}' AND last_px > 0 AND last_px < {EXECUTION_PRICE_MAX}
                                   AND scale(last_px) <= {EXECUTION_PRICE_DECIMALS_MAX} END
                     AND octet_length(exec_id) BETWEEN 1 AND {EXECUTION_TEXT_LENGTH_MAX}
                     AND ord_status <> '' AND client_order_id <> '' AND exchange_order_id <> ''
                     AND exec_ref_id IS NULL AND (avg_px BETWEEN 0 AND {EXECUTION_PRICE_MAX}) IS NOT FALSE
                     AND transact_time BETWEEN '0' AND ':' AND seq BETWEEN 1 AND {EXECUTION_SEQ_MAX} THEN NULL
                WHEN NOT seq BETWEEN 1 AND {EXECUTION_SEQ_MAX} THEN 'seq'
                WHEN (octet_length(exec_id) BETWEEN 1 AND {EXECUTION_TEXT_LENGTH_MAX}) IS NOT TRUE THEN 'exec_id'
                WHEN (exec_type <> '') IS NOT TRUE THEN 'exec_type'
                WHEN (ord_status <> '') IS NOT TRUE THEN 'ord_status'
                WHEN (client_order_id <> '') IS NOT TRUE THEN 'client_order_id'
                WHEN exchange_order_id IS NULL AND {_PROVES} THEN 'exchange_order_id'
                WHEN exchange_order_id = '' THEN 'exchange_order_id'
                WHEN ({_is_quantity("last_qty")}) IS NOT TRUE THEN 'last_qty'
                WHEN exec_type = '{TRADE}' AND last_qty = 0 THEN 'last_qty'
                WHEN last_qty > 0 AND exec_type NOT IN ({_TYPES}) THEN 'exec_type'
                WHEN NOT (last_px BETWEEN 0 AND {EXECUTION_PRICE_MAX}
                          AND scale(last_px) <= {EXECUTION_PRICE_DECIMALS_MAX}) THEN 'last_px'
                WHEN last_qty > 0 AND exec_type IN ('{TRADE}', '{TRADE_CORRECT}')
                     AND (last_px > 0) IS NOT TRUE THEN 'last_px'
                WHEN ({_is_quantity("cum_qty")}) IS NOT TRUE THEN 'cum_qty'
                WHEN ({_is_quantity("leaves_qty")}) IS NOT TRUE THEN 'leaves_qty'
                WHEN NOT avg_px BETWEEN 0 AND {EXECUTION_PRICE_MAX} THEN 'avg_px'
                WHEN exec_ref_id IS NULL AND exec_type IN ('{TRADE_CANCEL}', '{TRADE_CORRECT}') THEN 'exec_ref_id'
                WHEN exec_ref_id = '' THEN 'exec_ref_id'
                WHEN (transact_time BETWEEN '0' AND ':') IS NOT TRUE THEN 'transact_time' END"""

# Not REJECTED, which wants a proof of acceptance beside it.
_ROWS_SAID = ",\n               ".join(
    f"CASE WHEN bool_or(ord_status = '{word}') AND '{status}' <> ALL(max(statuses))\n"
    f"                    THEN '{status}'::order_status_enum END"
    for word, status in STATUS_OF_ORD_STATUS.items()
)

# The same report is the same row of `parked`; `executions.fingerprint_of` says the same.
_FINGERPRINT = f"sha256(convert_to(concat_ws(E'\\n', {{venue}}, '{REPORT_KIND}', {{epoch}}, raw), 'UTF8'))"

_KEPT = "order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '')"
_SAID = _KEPT.replace("order_id", "client_order_id")


class Variant(NamedTuple):
    """`may_repeat`: a report that is a row already changes nothing. Without, it breaks the statement (23505), which
    looks for no such row and takes a sixth less of the processor."""

    may_repeat: bool


def _applied(
    variant: Variant, frames: str, *, venue: str, epoch: str, session: str, then: str = "", results: str = ""
) -> str:
    """Applies the reports of `frames`: number, body, and since when it waited.

    Everything that a report can lead to is in the rows that it is applied to, or in the reports beside it, whatever
    order they come in; but where two transactions meet that do not see each other:
    - the same key twice: the later one waits, inserts nothing, and does not see the row. Such reports are `unseen`, and
      must be applied once more, to be compared with it.
    - `rejected` and a proof of acceptance: neither sees the other. Then no row says COMPLETED, so the proof leaves a
      sighting and a doubt (or a batch that is not reviewed yet), and the reconciler appends REJECTED.
    An order that is to be canceled and was over may be open again once a trade is taken back: it is in doubt then.
    """
    fingerprint = _FINGERPRINT.format(venue=venue, epoch=epoch)
    return f"""
WITH {frames}, input AS MATERIALIZED (
    SELECT f.number, t.*,
           {_UNREADABLE_FIELD} AS field
      FROM frames f CROSS JOIN LATERAL ROWS FROM (
           json_to_recordset(f.body) AS (
               seq bigint, exec_id varchar COLLATE "C", exec_type varchar COLLATE "C", ord_status varchar COLLATE "C",
               client_order_id varchar COLLATE "C", exchange_order_id varchar COLLATE "C", last_qty bigint,
               last_px numeric, cum_qty bigint, leaves_qty bigint, avg_px numeric, exec_ref_id varchar COLLATE "C",
               reject_reason varchar COLLATE "C", transact_time varchar COLLATE "C")
           ) WITH ORDINALITY AS t(seq, exec_id, exec_type, ord_status, client_order_id, exchange_order_id, last_qty,
               last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time, ordinal)
), known AS MATERIALIZED (
    SELECT id, max(type) AS type, max(side) AS side, max(instrument) AS instrument,
           max(limit_price) AS limit_price, max(quantity) AS quantity,
           array_agg(status) FILTER (WHERE status IS NOT NULL) AS statuses,
           coalesce(bool_or(status = 'COMPLETED'), false) AS is_completed,
           max(exchange_order_id) FILTER (WHERE {_PROVES}) AS exchange_order_id,
           coalesce(bool_or(NOT {_PROVES}), false) AS is_refused,
           bool_or(ord_status IN ('filled', 'canceled', 'expired')) AS is_ended,
           bool_or(exec_type IN ('{TRADE_CANCEL}', '{TRADE_CORRECT}')) AS is_revised
      FROM (SELECT id, type, side, instrument, limit_price, quantity, status,
                   NULL::varchar AS exchange_order_id, NULL::varchar AS exec_type, NULL::varchar AS ord_status
              FROM orders
             WHERE id = ANY(ARRAY(SELECT client_order_id FROM input WHERE field IS NULL))
             UNION ALL
            SELECT client_order_id, NULL, NULL, NULL, NULL, NULL, NULL, exchange_order_id, exec_type, ord_status
              FROM input WHERE field IS NULL) AS facts
     GROUP BY id
    HAVING count(status) > 0
), refused_before AS MATERIALIZED (
    SELECT order_id FROM executions
     WHERE ord_status = '{REJECTED}'
       AND order_id = ANY(ARRAY(SELECT id FROM known WHERE 'REJECTED' <> ALL(statuses)))
       AND order_id BETWEEN (SELECT min(id) FROM known) AND (SELECT max(id) FROM known)
), sighted AS (
    INSERT INTO sightings (order_id, exchange_order_id)
    SELECT id, exchange_order_id FROM known WHERE exchange_order_id IS NOT NULL AND NOT is_completed ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), woken AS (
    INSERT INTO doubts (order_id)
    SELECT order_id FROM sighted
     WHERE {fragments.has_row("sighted.order_id", "o.status <> 'INITIATED'")}
        OR EXISTS (SELECT FROM doubts d WHERE d.order_id = sighted.order_id OFFSET 0)
     UNION
    SELECT order_id FROM doubts
     WHERE settled_at IS NULL
       AND order_id = ANY(ARRAY(
           SELECT id FROM known
            WHERE is_ended AND NOT statuses && '{{FILLED,CANCELED,EXPIRED}}'
               OR is_refused AND 'REJECTED' <> ALL(statuses)
                  AND (id IN (SELECT order_id FROM refused_before)) IS NOT TRUE))
     UNION
    SELECT order_id FROM cancel_requests
     WHERE order_id = ANY(ARRAY(SELECT id FROM known WHERE is_revised))
     ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE
       SET {fragments.REOPENED}
    RETURNING 1
), inserted AS (
    INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                            last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time)
    SELECT DISTINCT ON (client_order_id, exec_id)
           client_order_id, {session}, exec_id, {epoch}, seq, exec_type, ord_status, exchange_order_id, last_qty,
           last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time::timestamptz
      FROM input
     WHERE field IS NULL AND (client_order_id IN (SELECT id FROM known)) IS TRUE
       AND (SELECT count(*) FROM woken) >= 0
     ORDER BY client_order_id, exec_id, number, ordinal
    {"ON CONFLICT DO NOTHING" if variant.may_repeat else "/* a repeat is an error */"}
    RETURNING order_id, exec_id, seq, exec_type, ord_status, last_qty, last_px, cum_qty, exec_ref_id
), progress AS MATERIALIZED (
    SELECT id, max(type) AS type, max(side) AS side, max(instrument) AS instrument,
           max(limit_price) AS limit_price, max(quantity) AS quantity,
           max(exchange_order_id) AS exchange_order_id, max(statuses) AS statuses,
           array_remove(ARRAY[
               {_ROWS_SAID}], NULL) AS said,
           bool_or(ord_status = '{REJECTED}') AS is_refused,
           bool_or(exec_type IN ('{TRADE_CANCEL}', '{TRADE_CORRECT}')) AS is_busted,
           max(cum_qty) AS cum_qty,
           max(seq) FILTER (WHERE exec_type = '{TRADE}') AS last_trade,
           min(seq) FILTER (WHERE exec_type IN ('canceled', 'expired', '{REJECTED}')) AS first_end,
           sum(last_qty) FILTER (WHERE exec_type = '{TRADE}') AS traded,
           sum(last_qty * last_px) FILTER (WHERE exec_type = '{TRADE}') AS notional
      FROM (SELECT id, type, side, instrument, limit_price, quantity, exchange_order_id, statuses, NULL::bigint AS seq,
                   NULL::varchar AS exec_type, NULL::varchar AS ord_status, NULL::bigint AS last_qty,
                   NULL::numeric AS last_px, NULL::bigint AS cum_qty
              FROM known
             UNION ALL
            SELECT order_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, seq, exec_type, ord_status, last_qty, last_px,
                   cum_qty
              FROM inserted) AS facts
     GROUP BY id
), rejected AS MATERIALIZED (
    SELECT k.id FROM known k
     WHERE 'REJECTED' <> ALL(k.statuses)
       AND ((k.id IN (SELECT order_id FROM refused_before)) IS TRUE
            OR (k.id IN (SELECT id FROM progress WHERE is_refused)) IS TRUE)
       AND (k.exchange_order_id IS NOT NULL
            OR EXISTS (SELECT FROM executions e WHERE e.order_id = k.id AND {_PROVES} OFFSET 0)
            OR {fragments.was_accepted("k.id")})
), trail AS (
    INSERT INTO orders ({fragments.ORDER_COLUMNS}, status, reason, exchange_order_id)
    SELECT {fragments.ORDER_OF_O}, s.status, 'execution', o.exchange_order_id
      FROM (SELECT *, (id IN (SELECT id FROM rejected)) IS TRUE AS is_rejected FROM progress) AS o
     CROSS JOIN LATERAL unnest(CASE WHEN is_rejected THEN said || '{{REJECTED}}' ELSE said END) AS s(status)
     WHERE is_rejected OR said <> '{{}}'
     ORDER BY o.id, s.status
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, session, execution_order_ids, exec_ids, order_ids, statuses)
    SELECT e.count + t.count, CASE WHEN e.count > 0 THEN {session} END, e.order_ids, e.exec_ids, t.order_ids, t.statuses
      FROM (SELECT count(*), array_agg(order_id) AS order_ids, array_agg(exec_id) AS exec_ids FROM inserted) AS e
     CROSS JOIN (SELECT count(*), array_agg(id) AS order_ids, array_agg(status) AS statuses FROM trail) AS t
     WHERE e.count + t.count > 0
), summed AS (
    INSERT INTO position_sums (instruments, sides, quantities, notionals)
    SELECT array_agg(instrument), array_agg(side), array_agg(quantity), array_agg(notional)
      FROM (SELECT instrument, side, sum(traded) AS quantity, sum(notional) AS notional
              FROM progress WHERE traded > 0 GROUP BY instrument, side ORDER BY instrument, side) AS s
    HAVING count(*) > 0
), revising AS (
    INSERT INTO position_revisions (order_id, session, exec_id, exec_ref_id)
    SELECT order_id, {session}, exec_id, exec_ref_id FROM inserted
     WHERE exec_ref_id IS NOT NULL AND exec_type <> '{TRADE}'
     ORDER BY order_id, exec_id
), repeated AS MATERIALIZED (
    SELECT i.number, i.ordinal, i.client_order_id, i.seq,
           CASE WHEN ((client_order_id, exec_id) IN (SELECT order_id, exec_id FROM inserted)) IS TRUE
                THEN (({_SAID}) IN (SELECT {_KEPT} FROM inserted)) IS NOT TRUE
                ELSE (SELECT ({_KEPT.replace("order_id, exec_id, ", "")})
                          <> (i.exec_type, i.last_qty, coalesce(i.last_px, -1), coalesce(i.exec_ref_id, ''))
                        FROM executions e
                       WHERE e.order_id = i.client_order_id AND e.session = {session} AND e.exec_id = i.exec_id)
           END AS contradicts
      FROM input i
     WHERE (SELECT count(*) FROM input WHERE field IS NULL) > (SELECT count(*) FROM inserted)
       AND field IS NULL
       AND (client_order_id IN (SELECT id FROM known)) IS TRUE
), strange AS MATERIALIZED (
    SELECT number, ordinal, client_order_id, seq, field,
           CASE WHEN field IS NULL THEN 'unknown_order' ELSE 'unreadable' END AS verdict
      FROM input
     WHERE (SELECT count(*) FROM input) > (SELECT count(*) FROM inserted)
       AND (field IS NOT NULL OR (client_order_id IN (SELECT id FROM known)) IS NOT TRUE)
     UNION ALL
    SELECT number, ordinal, client_order_id, seq, NULL, 'contradicts' FROM repeated WHERE contradicts
), raws AS MATERIALIZED (
    SELECT f.number, e.ordinal, e.raw::text AS raw
      FROM frames f CROSS JOIN LATERAL json_array_elements(f.body) WITH ORDINALITY AS e(raw, ordinal)
     WHERE (SELECT count(*) FROM strange) > 0 OR (SELECT count(*) FROM repeated WHERE contradicts IS NULL) > 0
), parked_now AS (
    INSERT INTO parked (venue, kind, field, reason, raw, fingerprint, order_id, epoch, seq)
    SELECT {venue}, '{REPORT_KIND}', field, verdict, convert_to(raw, 'UTF8'), {fingerprint} AS fingerprint,
           left(client_order_id, {EXECUTION_TEXT_LENGTH_MAX}), {epoch}, seq
      FROM (SELECT max(raw) AS raw, max(field) AS field, max(verdict) AS verdict,
                   max(client_order_id) AS client_order_id, max(seq) AS seq
              FROM (SELECT number, ordinal, client_order_id, seq, field, verdict, NULL AS raw FROM strange
                     UNION ALL
                    SELECT number, ordinal, NULL, NULL, NULL, NULL, raw FROM raws) AS parts
             GROUP BY number, ordinal
            HAVING max(verdict) IS NOT NULL) AS things
     ORDER BY fingerprint
    ON CONFLICT DO NOTHING
    RETURNING id, reason AS verdict
), retried AS (
    INSERT INTO parked_retries (parked_id, due_at)
    SELECT id, clock_timestamp() + {PARKED_RETRY_SECONDS[0]} * interval '1 second' FROM parked_now
     WHERE verdict = 'unknown_order'
), covered AS (
    INSERT INTO execution_coverage (venue, epoch, seqs)
    SELECT {venue}, {epoch},
           CASE WHEN last_seq - first_seq + 1 = numbers THEN int8multirange(int8range(first_seq, last_seq, '[]'))
                ELSE (SELECT range_agg(int8range(first_seq, last_seq, '[]'))
                        FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq
                                FROM (SELECT seq, seq - dense_rank() OVER (ORDER BY seq) AS run
                                        FROM input WHERE seq BETWEEN 1 AND {EXECUTION_SEQ_MAX}) AS numbered
                               GROUP BY run) AS runs) END
      FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq, count(DISTINCT seq) AS numbers
              FROM input WHERE seq BETWEEN 1 AND {EXECUTION_SEQ_MAX}) AS seen
     WHERE numbers > 0
){then}
SELECT (SELECT count(*) FROM frames) AS frames,
       (SELECT count(*) FROM input) AS reports,
       (SELECT count(*) FROM inserted) AS inserted,
       (SELECT count(*) FROM parked_now) AS parked,
       (SELECT count(*) FROM repeated WHERE contradicts IS NULL) AS unseen,
       (SELECT count(*) FROM strange WHERE verdict = 'unknown_order') AS unknown,
       (SELECT count(*) FROM strange WHERE verdict = 'unreadable') AS unreadable,
       ARRAY(SELECT DISTINCT client_order_id FROM repeated WHERE contradicts ORDER BY 1) AS contradicting,
       ARRAY(SELECT id FROM known
              WHERE 'NOT_PLACED' = ANY(statuses) AND (id IN (SELECT order_id FROM sighted)) IS TRUE
              ORDER BY id) AS late,
       ARRAY(SELECT id FROM progress WHERE greatest(cum_qty, traded) > quantity ORDER BY id) AS overfilled,
       ARRAY(SELECT id FROM progress p
              WHERE first_end < last_trade
                 OR last_trade IS NOT NULL AND statuses && '{{CANCELED,EXPIRED,REJECTED}}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = {epoch} AND e.seq < p.last_trade
                                   AND e.exec_type IN ('canceled', 'expired', '{REJECTED}') OFFSET 0)
                 OR first_end IS NOT NULL AND statuses && '{{PARTIALLY_FILLED,FILLED}}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = {epoch} AND e.seq > p.first_end
                                   AND e.exec_type = '{TRADE}' OFFSET 0)
              ORDER BY id) AS after_end,
       ARRAY(SELECT id FROM progress WHERE is_busted ORDER BY id) AS busted{results}
"""


_DELIVERED = """\
frames AS MATERIALIZED (
    SELECT number, body::json AS body
      FROM (SELECT $1::text[] AS bodies OFFSET 0) AS given
     CROSS JOIN LATERAL unnest(bodies) WITH ORDINALITY AS t(body, number)
)"""

_TAKEN = """\
taken AS (
    DELETE FROM execution_inbox
     WHERE id = ANY(ARRAY(
           SELECT id
             FROM (SELECT id, epoch, first_value(epoch) OVER oldest AS first_epoch,
                          sum(count) OVER oldest - count AS reports_before
                     FROM (SELECT id, epoch, count FROM execution_inbox
                            WHERE venue = $1::varchar
                            ORDER BY id
                            LIMIT (SELECT greatest(1, ceil($2::integer / greatest(1, avg(count))))::integer
                                     FROM (SELECT count FROM execution_inbox
                                            WHERE venue = $1::varchar ORDER BY id LIMIT 4) AS front)
                              FOR UPDATE SKIP LOCKED) AS free
                   WINDOW oldest AS (ORDER BY id)) AS counted
            WHERE epoch = first_epoch AND reports_before < $2::integer))
    RETURNING id, epoch, exec_id_scope, body, put_at
), frames AS MATERIALIZED (
    SELECT id AS number, epoch, exec_id_scope, body::json AS body, put_at FROM taken
), origin AS MATERIALIZED (
    SELECT f.epoch, f.exec_id_scope, f.put_at,
           (SELECT session FROM execution_epochs e WHERE e.venue = $1::varchar AND e.epoch = f.epoch) AS session
      FROM (SELECT max(epoch) AS epoch, max(exec_id_scope) AS exec_id_scope, min(put_at) AS put_at
              FROM frames) AS f
)"""

_RETURNED = """, returned AS (
    INSERT INTO execution_inbox (venue, epoch, exec_id_scope, count, body)
    SELECT $1::varchar, o.epoch, o.exec_id_scope, r.count, r.body
      FROM origin o CROSS JOIN (
           SELECT count(*) AS count, '[' || string_agg(raw, ',' ORDER BY number, ordinal) || ']' AS body FROM raws
            WHERE ((number, ordinal) IN (SELECT number, ordinal FROM repeated WHERE contradicts IS NULL)) IS TRUE) AS r
     WHERE r.count > 0
)"""

_WAITED = """,
       extract(epoch FROM clock_timestamp() - (SELECT put_at FROM origin))::float8 AS waited_seconds"""

_VARIANTS = (Variant(may_repeat=False), Variant(may_repeat=True))

# A processor applies reports that another queue has delivered; or some alone, whose neighbours break the statement.
# $1 bodies of frames, of which $2 is the venue, $3 the epoch; $4 the session.
APPLY_REPORTS = {
    variant: _applied(variant, _DELIVERED, venue="$2::varchar", epoch="$3::varchar", session="$4::integer")
    for variant in _VARIANTS
}

# A processor takes the oldest frames that no other one is taking, of one epoch, and applies them; what is unseen goes
# back. Frames are locked by the average size of those at the front, so that there are some for the other processors.
# $1 the venue; $2 reports, about.
APPLY_INBOX = {
    variant: _applied(
        variant,
        _TAKEN,
        venue="$1::varchar",
        epoch="(SELECT epoch FROM origin)",
        session="(SELECT session FROM origin)",
        then=_RETURNED,
        results=_WAITED,
    )
    for variant in _VARIANTS
}

# A report that breaks the statement above, or a frame that cannot be taken apart, is kept as it came, and is covered;
# returns whether it is new.
# $1 the venue, $2 the epoch, $3 what came, $4 its fingerprint, $5 the reason, $6 the field, $7 the id of the order; $8
# the first and $9 the last seq.
PARK_REPORT = f"""
WITH kept AS (
    INSERT INTO parked (venue, kind, field, reason, raw, fingerprint, order_id, epoch, seq)
    VALUES ($1::varchar, '{REPORT_KIND}', $6::varchar, $5::varchar, $3::bytea, $4::bytea, $7::varchar, $2::varchar,
            CASE WHEN $8::bigint = $9::bigint THEN $8::bigint END)
    ON CONFLICT DO NOTHING
    RETURNING id
), covered AS (
    INSERT INTO execution_coverage (venue, epoch, seqs)
    SELECT $1::varchar, $2::varchar, int8multirange(int8range($8::bigint, $9::bigint, '[]'))
     WHERE 1 <= $8::bigint AND $8::bigint <= $9::bigint AND $9::bigint <= {EXECUTION_SEQ_MAX}
)
SELECT count(*) > 0 AS is_new FROM kept
"""
