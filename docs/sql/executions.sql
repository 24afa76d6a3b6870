-- The statements that apply execution reports, one constant each; every one is a transaction of its own.
--
-- Plans are kept, and may be made while the tables are empty; rows are joined by loops alone (`PLANNER_SETTINGS`). So what
-- is found is brought together by grouping: a join of one part of a statement with another would compare each row with
-- each. `(x IN (SELECT …)) IS TRUE` is a hashed look-up.
--
-- Locks are taken in one order, and each kind in the order of its key: sightings, doubts, executions, orders, revisions,
-- parked.
--
-- Made from ordertrail/storage/postgres/execution_statements.py by `make documents`; not written by hand.

-- APPLY_REPORTS[may_repeat = false]
-- Sent by the processors and the operator.
-- A processor applies reports that another queue has delivered; or some alone, whose neighbours break the statement.
-- $1 bodies of frames, of which $2 is the venue, $3 the epoch; $4 the session.
WITH frames AS MATERIALIZED (
    SELECT number, body::json AS body
      FROM (SELECT $1::text[] AS bodies OFFSET 0) AS given
     CROSS JOIN LATERAL unnest(bodies) WITH ORDINALITY AS t(body, number)
), input AS MATERIALIZED (
    SELECT f.number, t.*,
           CASE WHEN (last_qty | cum_qty | leaves_qty) BETWEEN 0 AND 1125899906842623
                     AND CASE WHEN last_qty = 0 THEN exec_type IN ('new', 'canceled', 'expired') AND last_px IS NULL
                              ELSE exec_type = 'trade' AND last_px > 0 AND last_px < 1000000000000000
                                   AND scale(last_px) <= 18 END
                     AND octet_length(exec_id) BETWEEN 1 AND 255
                     AND ord_status <> '' AND client_order_id <> '' AND exchange_order_id <> ''
                     AND exec_ref_id IS NULL AND (avg_px BETWEEN 0 AND 1000000000000000) IS NOT FALSE
                     AND transact_time BETWEEN '0' AND ':' AND seq BETWEEN 1 AND 1000000000000000000 THEN NULL
                WHEN NOT seq BETWEEN 1 AND 1000000000000000000 THEN 'seq'
                WHEN (octet_length(exec_id) BETWEEN 1 AND 255) IS NOT TRUE THEN 'exec_id'
                WHEN (exec_type <> '') IS NOT TRUE THEN 'exec_type'
                WHEN (ord_status <> '') IS NOT TRUE THEN 'ord_status'
                WHEN (client_order_id <> '') IS NOT TRUE THEN 'client_order_id'
                WHEN exchange_order_id IS NULL AND (exec_type <> 'rejected' AND ord_status <> 'rejected') THEN 'exchange_order_id'
                WHEN exchange_order_id = '' THEN 'exchange_order_id'
                WHEN (last_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'last_qty'
                WHEN exec_type = 'trade' AND last_qty = 0 THEN 'last_qty'
                WHEN last_qty > 0 AND exec_type NOT IN ('canceled', 'expired', 'new', 'rejected', 'trade', 'trade_cancel', 'trade_correct') THEN 'exec_type'
                WHEN NOT (last_px BETWEEN 0 AND 1000000000000000
                          AND scale(last_px) <= 18) THEN 'last_px'
                WHEN last_qty > 0 AND exec_type IN ('trade', 'trade_correct')
                     AND (last_px > 0) IS NOT TRUE THEN 'last_px'
                WHEN (cum_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'cum_qty'
                WHEN (leaves_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'leaves_qty'
                WHEN NOT avg_px BETWEEN 0 AND 1000000000000000 THEN 'avg_px'
                WHEN exec_ref_id IS NULL AND exec_type IN ('trade_cancel', 'trade_correct') THEN 'exec_ref_id'
                WHEN exec_ref_id = '' THEN 'exec_ref_id'
                WHEN (transact_time BETWEEN '0' AND ':') IS NOT TRUE THEN 'transact_time' END AS field
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
           max(exchange_order_id) FILTER (WHERE (exec_type <> 'rejected' AND ord_status <> 'rejected')) AS exchange_order_id,
           coalesce(bool_or(NOT (exec_type <> 'rejected' AND ord_status <> 'rejected')), false) AS is_refused,
           bool_or(ord_status IN ('filled', 'canceled', 'expired')) AS is_ended,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_revised
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
     WHERE ord_status = 'rejected'
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
     WHERE EXISTS (SELECT FROM orders o WHERE o.id = sighted.order_id AND o.status <> 'INITIATED' OFFSET 0)
        OR EXISTS (SELECT FROM doubts d WHERE d.order_id = sighted.order_id OFFSET 0)
     UNION
    SELECT order_id FROM doubts
     WHERE settled_at IS NULL
       AND order_id = ANY(ARRAY(
           SELECT id FROM known
            WHERE is_ended AND NOT statuses && '{FILLED,CANCELED,EXPIRED}'
               OR is_refused AND 'REJECTED' <> ALL(statuses)
                  AND (id IN (SELECT order_id FROM refused_before)) IS NOT TRUE))
     UNION
    SELECT order_id FROM cancel_requests
     WHERE order_id = ANY(ARRAY(SELECT id FROM known WHERE is_revised))
     ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE
       SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
    RETURNING 1
), inserted AS (
    INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                            last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time)
    SELECT DISTINCT ON (client_order_id, exec_id)
           client_order_id, $4::integer, exec_id, $3::varchar, seq, exec_type, ord_status, exchange_order_id, last_qty,
           last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time::timestamptz
      FROM input
     WHERE field IS NULL AND (client_order_id IN (SELECT id FROM known)) IS TRUE
       AND (SELECT count(*) FROM woken) >= 0
     ORDER BY client_order_id, exec_id, number, ordinal
    /* a repeat is an error */
    RETURNING order_id, exec_id, seq, exec_type, ord_status, last_qty, last_px, cum_qty, exec_ref_id
), progress AS MATERIALIZED (
    SELECT id, max(type) AS type, max(side) AS side, max(instrument) AS instrument,
           max(limit_price) AS limit_price, max(quantity) AS quantity,
           max(exchange_order_id) AS exchange_order_id, max(statuses) AS statuses,
           array_remove(ARRAY[
               CASE WHEN bool_or(ord_status = 'partially_filled') AND 'PARTIALLY_FILLED' <> ALL(max(statuses))
                    THEN 'PARTIALLY_FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'filled') AND 'FILLED' <> ALL(max(statuses))
                    THEN 'FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'canceled') AND 'CANCELED' <> ALL(max(statuses))
                    THEN 'CANCELED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'expired') AND 'EXPIRED' <> ALL(max(statuses))
                    THEN 'EXPIRED'::order_status_enum END], NULL) AS said,
           bool_or(ord_status = 'rejected') AS is_refused,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_busted,
           max(cum_qty) AS cum_qty,
           max(seq) FILTER (WHERE exec_type = 'trade') AS last_trade,
           min(seq) FILTER (WHERE exec_type IN ('canceled', 'expired', 'rejected')) AS first_end,
           sum(last_qty) FILTER (WHERE exec_type = 'trade') AS traded,
           sum(last_qty * last_px) FILTER (WHERE exec_type = 'trade') AS notional
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
            OR EXISTS (SELECT FROM executions e WHERE e.order_id = k.id AND (exec_type <> 'rejected' AND ord_status <> 'rejected') OFFSET 0)
            OR (EXISTS (SELECT FROM orders o WHERE o.id = k.id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = k.id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = k.id OFFSET 0)))
), trail AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity, s.status, 'execution', o.exchange_order_id
      FROM (SELECT *, (id IN (SELECT id FROM rejected)) IS TRUE AS is_rejected FROM progress) AS o
     CROSS JOIN LATERAL unnest(CASE WHEN is_rejected THEN said || '{REJECTED}' ELSE said END) AS s(status)
     WHERE is_rejected OR said <> '{}'
     ORDER BY o.id, s.status
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, session, execution_order_ids, exec_ids, order_ids, statuses)
    SELECT e.count + t.count, CASE WHEN e.count > 0 THEN $4::integer END, e.order_ids, e.exec_ids, t.order_ids, t.statuses
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
    SELECT order_id, $4::integer, exec_id, exec_ref_id FROM inserted
     WHERE exec_ref_id IS NOT NULL AND exec_type <> 'trade'
     ORDER BY order_id, exec_id
), repeated AS MATERIALIZED (
    SELECT i.number, i.ordinal, i.client_order_id, i.seq,
           CASE WHEN ((client_order_id, exec_id) IN (SELECT order_id, exec_id FROM inserted)) IS TRUE
                THEN ((client_order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '')) IN (SELECT order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '') FROM inserted)) IS NOT TRUE
                ELSE (SELECT (exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, ''))
                          <> (i.exec_type, i.last_qty, coalesce(i.last_px, -1), coalesce(i.exec_ref_id, ''))
                        FROM executions e
                       WHERE e.order_id = i.client_order_id AND e.session = $4::integer AND e.exec_id = i.exec_id)
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
    SELECT $2::varchar, 'execution_report', field, verdict, convert_to(raw, 'UTF8'), sha256(convert_to(concat_ws(E'\n', $2::varchar, 'execution_report', $3::varchar, raw), 'UTF8')) AS fingerprint,
           left(client_order_id, 255), $3::varchar, seq
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
    SELECT id, clock_timestamp() + 1 * interval '1 second' FROM parked_now
     WHERE verdict = 'unknown_order'
), covered AS (
    INSERT INTO execution_coverage (venue, epoch, seqs)
    SELECT $2::varchar, $3::varchar,
           CASE WHEN last_seq - first_seq + 1 = numbers THEN int8multirange(int8range(first_seq, last_seq, '[]'))
                ELSE (SELECT range_agg(int8range(first_seq, last_seq, '[]'))
                        FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq
                                FROM (SELECT seq, seq - dense_rank() OVER (ORDER BY seq) AS run
                                        FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS numbered
                               GROUP BY run) AS runs) END
      FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq, count(DISTINCT seq) AS numbers
              FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS seen
     WHERE numbers > 0
)
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
                 OR last_trade IS NOT NULL AND statuses && '{CANCELED,EXPIRED,REJECTED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = $3::varchar AND e.seq < p.last_trade
                                   AND e.exec_type IN ('canceled', 'expired', 'rejected') OFFSET 0)
                 OR first_end IS NOT NULL AND statuses && '{PARTIALLY_FILLED,FILLED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = $3::varchar AND e.seq > p.first_end
                                   AND e.exec_type = 'trade' OFFSET 0)
              ORDER BY id) AS after_end,
       ARRAY(SELECT id FROM progress WHERE is_busted ORDER BY id) AS busted;

-- APPLY_REPORTS[may_repeat = true]
-- Sent by the processors and the operator.
-- As above.
WITH frames AS MATERIALIZED (
    SELECT number, body::json AS body
      FROM (SELECT $1::text[] AS bodies OFFSET 0) AS given
     CROSS JOIN LATERAL unnest(bodies) WITH ORDINALITY AS t(body, number)
), input AS MATERIALIZED (
    SELECT f.number, t.*,
           CASE WHEN (last_qty | cum_qty | leaves_qty) BETWEEN 0 AND 1125899906842623
                     AND CASE WHEN last_qty = 0 THEN exec_type IN ('new', 'canceled', 'expired') AND last_px IS NULL
                              ELSE exec_type = 'trade' AND last_px > 0 AND last_px < 1000000000000000
                                   AND scale(last_px) <= 18 END
                     AND octet_length(exec_id) BETWEEN 1 AND 255
                     AND ord_status <> '' AND client_order_id <> '' AND exchange_order_id <> ''
                     AND exec_ref_id IS NULL AND (avg_px BETWEEN 0 AND 1000000000000000) IS NOT FALSE
                     AND transact_time BETWEEN '0' AND ':' AND seq BETWEEN 1 AND 1000000000000000000 THEN NULL
                WHEN NOT seq BETWEEN 1 AND 1000000000000000000 THEN 'seq'
                WHEN (octet_length(exec_id) BETWEEN 1 AND 255) IS NOT TRUE THEN 'exec_id'
                WHEN (exec_type <> '') IS NOT TRUE THEN 'exec_type'
                WHEN (ord_status <> '') IS NOT TRUE THEN 'ord_status'
                WHEN (client_order_id <> '') IS NOT TRUE THEN 'client_order_id'
                WHEN exchange_order_id IS NULL AND (exec_type <> 'rejected' AND ord_status <> 'rejected') THEN 'exchange_order_id'
                WHEN exchange_order_id = '' THEN 'exchange_order_id'
                WHEN (last_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'last_qty'
                WHEN exec_type = 'trade' AND last_qty = 0 THEN 'last_qty'
                WHEN last_qty > 0 AND exec_type NOT IN ('canceled', 'expired', 'new', 'rejected', 'trade', 'trade_cancel', 'trade_correct') THEN 'exec_type'
                WHEN NOT (last_px BETWEEN 0 AND 1000000000000000
                          AND scale(last_px) <= 18) THEN 'last_px'
                WHEN last_qty > 0 AND exec_type IN ('trade', 'trade_correct')
                     AND (last_px > 0) IS NOT TRUE THEN 'last_px'
                WHEN (cum_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'cum_qty'
                WHEN (leaves_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'leaves_qty'
                WHEN NOT avg_px BETWEEN 0 AND 1000000000000000 THEN 'avg_px'
                WHEN exec_ref_id IS NULL AND exec_type IN ('trade_cancel', 'trade_correct') THEN 'exec_ref_id'
                WHEN exec_ref_id = '' THEN 'exec_ref_id'
                WHEN (transact_time BETWEEN '0' AND ':') IS NOT TRUE THEN 'transact_time' END AS field
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
           max(exchange_order_id) FILTER (WHERE (exec_type <> 'rejected' AND ord_status <> 'rejected')) AS exchange_order_id,
           coalesce(bool_or(NOT (exec_type <> 'rejected' AND ord_status <> 'rejected')), false) AS is_refused,
           bool_or(ord_status IN ('filled', 'canceled', 'expired')) AS is_ended,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_revised
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
     WHERE ord_status = 'rejected'
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
     WHERE EXISTS (SELECT FROM orders o WHERE o.id = sighted.order_id AND o.status <> 'INITIATED' OFFSET 0)
        OR EXISTS (SELECT FROM doubts d WHERE d.order_id = sighted.order_id OFFSET 0)
     UNION
    SELECT order_id FROM doubts
     WHERE settled_at IS NULL
       AND order_id = ANY(ARRAY(
           SELECT id FROM known
            WHERE is_ended AND NOT statuses && '{FILLED,CANCELED,EXPIRED}'
               OR is_refused AND 'REJECTED' <> ALL(statuses)
                  AND (id IN (SELECT order_id FROM refused_before)) IS NOT TRUE))
     UNION
    SELECT order_id FROM cancel_requests
     WHERE order_id = ANY(ARRAY(SELECT id FROM known WHERE is_revised))
     ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE
       SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
    RETURNING 1
), inserted AS (
    INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                            last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time)
    SELECT DISTINCT ON (client_order_id, exec_id)
           client_order_id, $4::integer, exec_id, $3::varchar, seq, exec_type, ord_status, exchange_order_id, last_qty,
           last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time::timestamptz
      FROM input
     WHERE field IS NULL AND (client_order_id IN (SELECT id FROM known)) IS TRUE
       AND (SELECT count(*) FROM woken) >= 0
     ORDER BY client_order_id, exec_id, number, ordinal
    ON CONFLICT DO NOTHING
    RETURNING order_id, exec_id, seq, exec_type, ord_status, last_qty, last_px, cum_qty, exec_ref_id
), progress AS MATERIALIZED (
    SELECT id, max(type) AS type, max(side) AS side, max(instrument) AS instrument,
           max(limit_price) AS limit_price, max(quantity) AS quantity,
           max(exchange_order_id) AS exchange_order_id, max(statuses) AS statuses,
           array_remove(ARRAY[
               CASE WHEN bool_or(ord_status = 'partially_filled') AND 'PARTIALLY_FILLED' <> ALL(max(statuses))
                    THEN 'PARTIALLY_FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'filled') AND 'FILLED' <> ALL(max(statuses))
                    THEN 'FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'canceled') AND 'CANCELED' <> ALL(max(statuses))
                    THEN 'CANCELED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'expired') AND 'EXPIRED' <> ALL(max(statuses))
                    THEN 'EXPIRED'::order_status_enum END], NULL) AS said,
           bool_or(ord_status = 'rejected') AS is_refused,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_busted,
           max(cum_qty) AS cum_qty,
           max(seq) FILTER (WHERE exec_type = 'trade') AS last_trade,
           min(seq) FILTER (WHERE exec_type IN ('canceled', 'expired', 'rejected')) AS first_end,
           sum(last_qty) FILTER (WHERE exec_type = 'trade') AS traded,
           sum(last_qty * last_px) FILTER (WHERE exec_type = 'trade') AS notional
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
            OR EXISTS (SELECT FROM executions e WHERE e.order_id = k.id AND (exec_type <> 'rejected' AND ord_status <> 'rejected') OFFSET 0)
            OR (EXISTS (SELECT FROM orders o WHERE o.id = k.id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = k.id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = k.id OFFSET 0)))
), trail AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity, s.status, 'execution', o.exchange_order_id
      FROM (SELECT *, (id IN (SELECT id FROM rejected)) IS TRUE AS is_rejected FROM progress) AS o
     CROSS JOIN LATERAL unnest(CASE WHEN is_rejected THEN said || '{REJECTED}' ELSE said END) AS s(status)
     WHERE is_rejected OR said <> '{}'
     ORDER BY o.id, s.status
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, session, execution_order_ids, exec_ids, order_ids, statuses)
    SELECT e.count + t.count, CASE WHEN e.count > 0 THEN $4::integer END, e.order_ids, e.exec_ids, t.order_ids, t.statuses
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
    SELECT order_id, $4::integer, exec_id, exec_ref_id FROM inserted
     WHERE exec_ref_id IS NOT NULL AND exec_type <> 'trade'
     ORDER BY order_id, exec_id
), repeated AS MATERIALIZED (
    SELECT i.number, i.ordinal, i.client_order_id, i.seq,
           CASE WHEN ((client_order_id, exec_id) IN (SELECT order_id, exec_id FROM inserted)) IS TRUE
                THEN ((client_order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '')) IN (SELECT order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '') FROM inserted)) IS NOT TRUE
                ELSE (SELECT (exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, ''))
                          <> (i.exec_type, i.last_qty, coalesce(i.last_px, -1), coalesce(i.exec_ref_id, ''))
                        FROM executions e
                       WHERE e.order_id = i.client_order_id AND e.session = $4::integer AND e.exec_id = i.exec_id)
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
    SELECT $2::varchar, 'execution_report', field, verdict, convert_to(raw, 'UTF8'), sha256(convert_to(concat_ws(E'\n', $2::varchar, 'execution_report', $3::varchar, raw), 'UTF8')) AS fingerprint,
           left(client_order_id, 255), $3::varchar, seq
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
    SELECT id, clock_timestamp() + 1 * interval '1 second' FROM parked_now
     WHERE verdict = 'unknown_order'
), covered AS (
    INSERT INTO execution_coverage (venue, epoch, seqs)
    SELECT $2::varchar, $3::varchar,
           CASE WHEN last_seq - first_seq + 1 = numbers THEN int8multirange(int8range(first_seq, last_seq, '[]'))
                ELSE (SELECT range_agg(int8range(first_seq, last_seq, '[]'))
                        FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq
                                FROM (SELECT seq, seq - dense_rank() OVER (ORDER BY seq) AS run
                                        FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS numbered
                               GROUP BY run) AS runs) END
      FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq, count(DISTINCT seq) AS numbers
              FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS seen
     WHERE numbers > 0
)
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
                 OR last_trade IS NOT NULL AND statuses && '{CANCELED,EXPIRED,REJECTED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = $3::varchar AND e.seq < p.last_trade
                                   AND e.exec_type IN ('canceled', 'expired', 'rejected') OFFSET 0)
                 OR first_end IS NOT NULL AND statuses && '{PARTIALLY_FILLED,FILLED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = $3::varchar AND e.seq > p.first_end
                                   AND e.exec_type = 'trade' OFFSET 0)
              ORDER BY id) AS after_end,
       ARRAY(SELECT id FROM progress WHERE is_busted ORDER BY id) AS busted;

-- APPLY_INBOX[may_repeat = false]
-- Sent by the processors.
-- A processor takes the oldest frames that no other one is taking, of one epoch, and applies them; what is unseen goes
-- back. Frames are locked by the average size of those at the front, so that there are some for the other processors.
-- $1 the venue; $2 reports, about.
WITH taken AS (
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
), input AS MATERIALIZED (
    SELECT f.number, t.*,
           CASE WHEN (last_qty | cum_qty | leaves_qty) BETWEEN 0 AND 1125899906842623
                     AND CASE WHEN last_qty = 0 THEN exec_type IN ('new', 'canceled', 'expired') AND last_px IS NULL
                              ELSE exec_type = 'trade' AND last_px > 0 AND last_px < 1000000000000000
                                   AND scale(last_px) <= 18 END
                     AND octet_length(exec_id) BETWEEN 1 AND 255
                     AND ord_status <> '' AND client_order_id <> '' AND exchange_order_id <> ''
                     AND exec_ref_id IS NULL AND (avg_px BETWEEN 0 AND 1000000000000000) IS NOT FALSE
                     AND transact_time BETWEEN '0' AND ':' AND seq BETWEEN 1 AND 1000000000000000000 THEN NULL
                WHEN NOT seq BETWEEN 1 AND 1000000000000000000 THEN 'seq'
                WHEN (octet_length(exec_id) BETWEEN 1 AND 255) IS NOT TRUE THEN 'exec_id'
                WHEN (exec_type <> '') IS NOT TRUE THEN 'exec_type'
                WHEN (ord_status <> '') IS NOT TRUE THEN 'ord_status'
                WHEN (client_order_id <> '') IS NOT TRUE THEN 'client_order_id'
                WHEN exchange_order_id IS NULL AND (exec_type <> 'rejected' AND ord_status <> 'rejected') THEN 'exchange_order_id'
                WHEN exchange_order_id = '' THEN 'exchange_order_id'
                WHEN (last_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'last_qty'
                WHEN exec_type = 'trade' AND last_qty = 0 THEN 'last_qty'
                WHEN last_qty > 0 AND exec_type NOT IN ('canceled', 'expired', 'new', 'rejected', 'trade', 'trade_cancel', 'trade_correct') THEN 'exec_type'
                WHEN NOT (last_px BETWEEN 0 AND 1000000000000000
                          AND scale(last_px) <= 18) THEN 'last_px'
                WHEN last_qty > 0 AND exec_type IN ('trade', 'trade_correct')
                     AND (last_px > 0) IS NOT TRUE THEN 'last_px'
                WHEN (cum_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'cum_qty'
                WHEN (leaves_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'leaves_qty'
                WHEN NOT avg_px BETWEEN 0 AND 1000000000000000 THEN 'avg_px'
                WHEN exec_ref_id IS NULL AND exec_type IN ('trade_cancel', 'trade_correct') THEN 'exec_ref_id'
                WHEN exec_ref_id = '' THEN 'exec_ref_id'
                WHEN (transact_time BETWEEN '0' AND ':') IS NOT TRUE THEN 'transact_time' END AS field
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
           max(exchange_order_id) FILTER (WHERE (exec_type <> 'rejected' AND ord_status <> 'rejected')) AS exchange_order_id,
           coalesce(bool_or(NOT (exec_type <> 'rejected' AND ord_status <> 'rejected')), false) AS is_refused,
           bool_or(ord_status IN ('filled', 'canceled', 'expired')) AS is_ended,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_revised
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
     WHERE ord_status = 'rejected'
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
     WHERE EXISTS (SELECT FROM orders o WHERE o.id = sighted.order_id AND o.status <> 'INITIATED' OFFSET 0)
        OR EXISTS (SELECT FROM doubts d WHERE d.order_id = sighted.order_id OFFSET 0)
     UNION
    SELECT order_id FROM doubts
     WHERE settled_at IS NULL
       AND order_id = ANY(ARRAY(
           SELECT id FROM known
            WHERE is_ended AND NOT statuses && '{FILLED,CANCELED,EXPIRED}'
               OR is_refused AND 'REJECTED' <> ALL(statuses)
                  AND (id IN (SELECT order_id FROM refused_before)) IS NOT TRUE))
     UNION
    SELECT order_id FROM cancel_requests
     WHERE order_id = ANY(ARRAY(SELECT id FROM known WHERE is_revised))
     ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE
       SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
    RETURNING 1
), inserted AS (
    INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                            last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time)
    SELECT DISTINCT ON (client_order_id, exec_id)
           client_order_id, (SELECT session FROM origin), exec_id, (SELECT epoch FROM origin), seq, exec_type, ord_status, exchange_order_id, last_qty,
           last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time::timestamptz
      FROM input
     WHERE field IS NULL AND (client_order_id IN (SELECT id FROM known)) IS TRUE
       AND (SELECT count(*) FROM woken) >= 0
     ORDER BY client_order_id, exec_id, number, ordinal
    /* a repeat is an error */
    RETURNING order_id, exec_id, seq, exec_type, ord_status, last_qty, last_px, cum_qty, exec_ref_id
), progress AS MATERIALIZED (
    SELECT id, max(type) AS type, max(side) AS side, max(instrument) AS instrument,
           max(limit_price) AS limit_price, max(quantity) AS quantity,
           max(exchange_order_id) AS exchange_order_id, max(statuses) AS statuses,
           array_remove(ARRAY[
               CASE WHEN bool_or(ord_status = 'partially_filled') AND 'PARTIALLY_FILLED' <> ALL(max(statuses))
                    THEN 'PARTIALLY_FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'filled') AND 'FILLED' <> ALL(max(statuses))
                    THEN 'FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'canceled') AND 'CANCELED' <> ALL(max(statuses))
                    THEN 'CANCELED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'expired') AND 'EXPIRED' <> ALL(max(statuses))
                    THEN 'EXPIRED'::order_status_enum END], NULL) AS said,
           bool_or(ord_status = 'rejected') AS is_refused,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_busted,
           max(cum_qty) AS cum_qty,
           max(seq) FILTER (WHERE exec_type = 'trade') AS last_trade,
           min(seq) FILTER (WHERE exec_type IN ('canceled', 'expired', 'rejected')) AS first_end,
           sum(last_qty) FILTER (WHERE exec_type = 'trade') AS traded,
           sum(last_qty * last_px) FILTER (WHERE exec_type = 'trade') AS notional
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
            OR EXISTS (SELECT FROM executions e WHERE e.order_id = k.id AND (exec_type <> 'rejected' AND ord_status <> 'rejected') OFFSET 0)
            OR (EXISTS (SELECT FROM orders o WHERE o.id = k.id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = k.id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = k.id OFFSET 0)))
), trail AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity, s.status, 'execution', o.exchange_order_id
      FROM (SELECT *, (id IN (SELECT id FROM rejected)) IS TRUE AS is_rejected FROM progress) AS o
     CROSS JOIN LATERAL unnest(CASE WHEN is_rejected THEN said || '{REJECTED}' ELSE said END) AS s(status)
     WHERE is_rejected OR said <> '{}'
     ORDER BY o.id, s.status
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, session, execution_order_ids, exec_ids, order_ids, statuses)
    SELECT e.count + t.count, CASE WHEN e.count > 0 THEN (SELECT session FROM origin) END, e.order_ids, e.exec_ids, t.order_ids, t.statuses
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
    SELECT order_id, (SELECT session FROM origin), exec_id, exec_ref_id FROM inserted
     WHERE exec_ref_id IS NOT NULL AND exec_type <> 'trade'
     ORDER BY order_id, exec_id
), repeated AS MATERIALIZED (
    SELECT i.number, i.ordinal, i.client_order_id, i.seq,
           CASE WHEN ((client_order_id, exec_id) IN (SELECT order_id, exec_id FROM inserted)) IS TRUE
                THEN ((client_order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '')) IN (SELECT order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '') FROM inserted)) IS NOT TRUE
                ELSE (SELECT (exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, ''))
                          <> (i.exec_type, i.last_qty, coalesce(i.last_px, -1), coalesce(i.exec_ref_id, ''))
                        FROM executions e
                       WHERE e.order_id = i.client_order_id AND e.session = (SELECT session FROM origin) AND e.exec_id = i.exec_id)
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
    SELECT $1::varchar, 'execution_report', field, verdict, convert_to(raw, 'UTF8'), sha256(convert_to(concat_ws(E'\n', $1::varchar, 'execution_report', (SELECT epoch FROM origin), raw), 'UTF8')) AS fingerprint,
           left(client_order_id, 255), (SELECT epoch FROM origin), seq
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
    SELECT id, clock_timestamp() + 1 * interval '1 second' FROM parked_now
     WHERE verdict = 'unknown_order'
), covered AS (
    INSERT INTO execution_coverage (venue, epoch, seqs)
    SELECT $1::varchar, (SELECT epoch FROM origin),
           CASE WHEN last_seq - first_seq + 1 = numbers THEN int8multirange(int8range(first_seq, last_seq, '[]'))
                ELSE (SELECT range_agg(int8range(first_seq, last_seq, '[]'))
                        FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq
                                FROM (SELECT seq, seq - dense_rank() OVER (ORDER BY seq) AS run
                                        FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS numbered
                               GROUP BY run) AS runs) END
      FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq, count(DISTINCT seq) AS numbers
              FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS seen
     WHERE numbers > 0
), returned AS (
    INSERT INTO execution_inbox (venue, epoch, exec_id_scope, count, body)
    SELECT $1::varchar, o.epoch, o.exec_id_scope, r.count, r.body
      FROM origin o CROSS JOIN (
           SELECT count(*) AS count, '[' || string_agg(raw, ',' ORDER BY number, ordinal) || ']' AS body FROM raws
            WHERE ((number, ordinal) IN (SELECT number, ordinal FROM repeated WHERE contradicts IS NULL)) IS TRUE) AS r
     WHERE r.count > 0
)
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
                 OR last_trade IS NOT NULL AND statuses && '{CANCELED,EXPIRED,REJECTED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = (SELECT epoch FROM origin) AND e.seq < p.last_trade
                                   AND e.exec_type IN ('canceled', 'expired', 'rejected') OFFSET 0)
                 OR first_end IS NOT NULL AND statuses && '{PARTIALLY_FILLED,FILLED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = (SELECT epoch FROM origin) AND e.seq > p.first_end
                                   AND e.exec_type = 'trade' OFFSET 0)
              ORDER BY id) AS after_end,
       ARRAY(SELECT id FROM progress WHERE is_busted ORDER BY id) AS busted,
       extract(epoch FROM clock_timestamp() - (SELECT put_at FROM origin))::float8 AS waited_seconds;

-- APPLY_INBOX[may_repeat = true]
-- Sent by the processors.
-- As above.
WITH taken AS (
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
), input AS MATERIALIZED (
    SELECT f.number, t.*,
           CASE WHEN (last_qty | cum_qty | leaves_qty) BETWEEN 0 AND 1125899906842623
                     AND CASE WHEN last_qty = 0 THEN exec_type IN ('new', 'canceled', 'expired') AND last_px IS NULL
                              ELSE exec_type = 'trade' AND last_px > 0 AND last_px < 1000000000000000
                                   AND scale(last_px) <= 18 END
                     AND octet_length(exec_id) BETWEEN 1 AND 255
                     AND ord_status <> '' AND client_order_id <> '' AND exchange_order_id <> ''
                     AND exec_ref_id IS NULL AND (avg_px BETWEEN 0 AND 1000000000000000) IS NOT FALSE
                     AND transact_time BETWEEN '0' AND ':' AND seq BETWEEN 1 AND 1000000000000000000 THEN NULL
                WHEN NOT seq BETWEEN 1 AND 1000000000000000000 THEN 'seq'
                WHEN (octet_length(exec_id) BETWEEN 1 AND 255) IS NOT TRUE THEN 'exec_id'
                WHEN (exec_type <> '') IS NOT TRUE THEN 'exec_type'
                WHEN (ord_status <> '') IS NOT TRUE THEN 'ord_status'
                WHEN (client_order_id <> '') IS NOT TRUE THEN 'client_order_id'
                WHEN exchange_order_id IS NULL AND (exec_type <> 'rejected' AND ord_status <> 'rejected') THEN 'exchange_order_id'
                WHEN exchange_order_id = '' THEN 'exchange_order_id'
                WHEN (last_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'last_qty'
                WHEN exec_type = 'trade' AND last_qty = 0 THEN 'last_qty'
                WHEN last_qty > 0 AND exec_type NOT IN ('canceled', 'expired', 'new', 'rejected', 'trade', 'trade_cancel', 'trade_correct') THEN 'exec_type'
                WHEN NOT (last_px BETWEEN 0 AND 1000000000000000
                          AND scale(last_px) <= 18) THEN 'last_px'
                WHEN last_qty > 0 AND exec_type IN ('trade', 'trade_correct')
                     AND (last_px > 0) IS NOT TRUE THEN 'last_px'
                WHEN (cum_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'cum_qty'
                WHEN (leaves_qty BETWEEN 0 AND 1125899906842623) IS NOT TRUE THEN 'leaves_qty'
                WHEN NOT avg_px BETWEEN 0 AND 1000000000000000 THEN 'avg_px'
                WHEN exec_ref_id IS NULL AND exec_type IN ('trade_cancel', 'trade_correct') THEN 'exec_ref_id'
                WHEN exec_ref_id = '' THEN 'exec_ref_id'
                WHEN (transact_time BETWEEN '0' AND ':') IS NOT TRUE THEN 'transact_time' END AS field
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
           max(exchange_order_id) FILTER (WHERE (exec_type <> 'rejected' AND ord_status <> 'rejected')) AS exchange_order_id,
           coalesce(bool_or(NOT (exec_type <> 'rejected' AND ord_status <> 'rejected')), false) AS is_refused,
           bool_or(ord_status IN ('filled', 'canceled', 'expired')) AS is_ended,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_revised
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
     WHERE ord_status = 'rejected'
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
     WHERE EXISTS (SELECT FROM orders o WHERE o.id = sighted.order_id AND o.status <> 'INITIATED' OFFSET 0)
        OR EXISTS (SELECT FROM doubts d WHERE d.order_id = sighted.order_id OFFSET 0)
     UNION
    SELECT order_id FROM doubts
     WHERE settled_at IS NULL
       AND order_id = ANY(ARRAY(
           SELECT id FROM known
            WHERE is_ended AND NOT statuses && '{FILLED,CANCELED,EXPIRED}'
               OR is_refused AND 'REJECTED' <> ALL(statuses)
                  AND (id IN (SELECT order_id FROM refused_before)) IS NOT TRUE))
     UNION
    SELECT order_id FROM cancel_requests
     WHERE order_id = ANY(ARRAY(SELECT id FROM known WHERE is_revised))
     ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE
       SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
    RETURNING 1
), inserted AS (
    INSERT INTO executions (order_id, session, exec_id, epoch, seq, exec_type, ord_status, exchange_order_id, last_qty,
                            last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time)
    SELECT DISTINCT ON (client_order_id, exec_id)
           client_order_id, (SELECT session FROM origin), exec_id, (SELECT epoch FROM origin), seq, exec_type, ord_status, exchange_order_id, last_qty,
           last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time::timestamptz
      FROM input
     WHERE field IS NULL AND (client_order_id IN (SELECT id FROM known)) IS TRUE
       AND (SELECT count(*) FROM woken) >= 0
     ORDER BY client_order_id, exec_id, number, ordinal
    ON CONFLICT DO NOTHING
    RETURNING order_id, exec_id, seq, exec_type, ord_status, last_qty, last_px, cum_qty, exec_ref_id
), progress AS MATERIALIZED (
    SELECT id, max(type) AS type, max(side) AS side, max(instrument) AS instrument,
           max(limit_price) AS limit_price, max(quantity) AS quantity,
           max(exchange_order_id) AS exchange_order_id, max(statuses) AS statuses,
           array_remove(ARRAY[
               CASE WHEN bool_or(ord_status = 'partially_filled') AND 'PARTIALLY_FILLED' <> ALL(max(statuses))
                    THEN 'PARTIALLY_FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'filled') AND 'FILLED' <> ALL(max(statuses))
                    THEN 'FILLED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'canceled') AND 'CANCELED' <> ALL(max(statuses))
                    THEN 'CANCELED'::order_status_enum END,
               CASE WHEN bool_or(ord_status = 'expired') AND 'EXPIRED' <> ALL(max(statuses))
                    THEN 'EXPIRED'::order_status_enum END], NULL) AS said,
           bool_or(ord_status = 'rejected') AS is_refused,
           bool_or(exec_type IN ('trade_cancel', 'trade_correct')) AS is_busted,
           max(cum_qty) AS cum_qty,
           max(seq) FILTER (WHERE exec_type = 'trade') AS last_trade,
           min(seq) FILTER (WHERE exec_type IN ('canceled', 'expired', 'rejected')) AS first_end,
           sum(last_qty) FILTER (WHERE exec_type = 'trade') AS traded,
           sum(last_qty * last_px) FILTER (WHERE exec_type = 'trade') AS notional
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
            OR EXISTS (SELECT FROM executions e WHERE e.order_id = k.id AND (exec_type <> 'rejected' AND ord_status <> 'rejected') OFFSET 0)
            OR (EXISTS (SELECT FROM orders o WHERE o.id = k.id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = k.id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = k.id OFFSET 0)))
), trail AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity, s.status, 'execution', o.exchange_order_id
      FROM (SELECT *, (id IN (SELECT id FROM rejected)) IS TRUE AS is_rejected FROM progress) AS o
     CROSS JOIN LATERAL unnest(CASE WHEN is_rejected THEN said || '{REJECTED}' ELSE said END) AS s(status)
     WHERE is_rejected OR said <> '{}'
     ORDER BY o.id, s.status
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, session, execution_order_ids, exec_ids, order_ids, statuses)
    SELECT e.count + t.count, CASE WHEN e.count > 0 THEN (SELECT session FROM origin) END, e.order_ids, e.exec_ids, t.order_ids, t.statuses
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
    SELECT order_id, (SELECT session FROM origin), exec_id, exec_ref_id FROM inserted
     WHERE exec_ref_id IS NOT NULL AND exec_type <> 'trade'
     ORDER BY order_id, exec_id
), repeated AS MATERIALIZED (
    SELECT i.number, i.ordinal, i.client_order_id, i.seq,
           CASE WHEN ((client_order_id, exec_id) IN (SELECT order_id, exec_id FROM inserted)) IS TRUE
                THEN ((client_order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '')) IN (SELECT order_id, exec_id, exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, '') FROM inserted)) IS NOT TRUE
                ELSE (SELECT (exec_type, last_qty, coalesce(last_px, -1), coalesce(exec_ref_id, ''))
                          <> (i.exec_type, i.last_qty, coalesce(i.last_px, -1), coalesce(i.exec_ref_id, ''))
                        FROM executions e
                       WHERE e.order_id = i.client_order_id AND e.session = (SELECT session FROM origin) AND e.exec_id = i.exec_id)
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
    SELECT $1::varchar, 'execution_report', field, verdict, convert_to(raw, 'UTF8'), sha256(convert_to(concat_ws(E'\n', $1::varchar, 'execution_report', (SELECT epoch FROM origin), raw), 'UTF8')) AS fingerprint,
           left(client_order_id, 255), (SELECT epoch FROM origin), seq
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
    SELECT id, clock_timestamp() + 1 * interval '1 second' FROM parked_now
     WHERE verdict = 'unknown_order'
), covered AS (
    INSERT INTO execution_coverage (venue, epoch, seqs)
    SELECT $1::varchar, (SELECT epoch FROM origin),
           CASE WHEN last_seq - first_seq + 1 = numbers THEN int8multirange(int8range(first_seq, last_seq, '[]'))
                ELSE (SELECT range_agg(int8range(first_seq, last_seq, '[]'))
                        FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq
                                FROM (SELECT seq, seq - dense_rank() OVER (ORDER BY seq) AS run
                                        FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS numbered
                               GROUP BY run) AS runs) END
      FROM (SELECT min(seq) AS first_seq, max(seq) AS last_seq, count(DISTINCT seq) AS numbers
              FROM input WHERE seq BETWEEN 1 AND 1000000000000000000) AS seen
     WHERE numbers > 0
), returned AS (
    INSERT INTO execution_inbox (venue, epoch, exec_id_scope, count, body)
    SELECT $1::varchar, o.epoch, o.exec_id_scope, r.count, r.body
      FROM origin o CROSS JOIN (
           SELECT count(*) AS count, '[' || string_agg(raw, ',' ORDER BY number, ordinal) || ']' AS body FROM raws
            WHERE ((number, ordinal) IN (SELECT number, ordinal FROM repeated WHERE contradicts IS NULL)) IS TRUE) AS r
     WHERE r.count > 0
)
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
                 OR last_trade IS NOT NULL AND statuses && '{CANCELED,EXPIRED,REJECTED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = (SELECT epoch FROM origin) AND e.seq < p.last_trade
                                   AND e.exec_type IN ('canceled', 'expired', 'rejected') OFFSET 0)
                 OR first_end IS NOT NULL AND statuses && '{PARTIALLY_FILLED,FILLED}'
                    AND EXISTS (SELECT FROM executions e
                                 WHERE e.order_id = p.id AND e.epoch = (SELECT epoch FROM origin) AND e.seq > p.first_end
                                   AND e.exec_type = 'trade' OFFSET 0)
              ORDER BY id) AS after_end,
       ARRAY(SELECT id FROM progress WHERE is_busted ORDER BY id) AS busted,
       extract(epoch FROM clock_timestamp() - (SELECT put_at FROM origin))::float8 AS waited_seconds;

-- PARK_REPORT
-- Sent by the processors.
-- A report that breaks the statement above, or a frame that cannot be taken apart, is kept as it came, and is covered;
-- returns whether it is new.
-- $1 the venue, $2 the epoch, $3 what came, $4 its fingerprint, $5 the reason, $6 the field, $7 the id of the order; $8
-- the first and $9 the last seq.
WITH kept AS (
    INSERT INTO parked (venue, kind, field, reason, raw, fingerprint, order_id, epoch, seq)
    VALUES ($1::varchar, 'execution_report', $6::varchar, $5::varchar, $3::bytea, $4::bytea, $7::varchar, $2::varchar,
            CASE WHEN $8::bigint = $9::bigint THEN $8::bigint END)
    ON CONFLICT DO NOTHING
    RETURNING id
), covered AS (
    INSERT INTO execution_coverage (venue, epoch, seqs)
    SELECT $1::varchar, $2::varchar, int8multirange(int8range($8::bigint, $9::bigint, '[]'))
     WHERE 1 <= $8::bigint AND $8::bigint <= $9::bigint AND $9::bigint <= 1000000000000000000
)
SELECT count(*) > 0 AS is_new FROM kept;
