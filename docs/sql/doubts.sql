-- The statements of reconciliation, one constant each; every one is a transaction of its own.
--
-- Statuses compare by precedence: from NOT_PLACED upwards an order is settled by its rows; where any is above COMPLETED,
-- only if that is there too.
--
-- Plans are kept, and may be made while the tables are empty. OFFSET 0 keeps a subquery about one order from being turned
-- into one about all of them, and `= ANY` a join from being begun at the table.
--
-- Made from ordertrail/storage/postgres/doubt_statements.py by `make documents`; not written by hand.

-- ENQUEUE_DUE_BATCHES
-- Sent by the reconciler.
-- The reconciler makes orders in doubt of those orders of due batches that are not settled, and deletes the batches.
-- Whatever its rows' deadlines: a batch is reviewed once after it is due, whenever it became visible. What the exchange
-- reported of an order settles it only with COMPLETED; and a report that it was rejected, which came before COMPLETED,
-- has no row yet.
-- $1 batches at most.
WITH due AS (
    SELECT due_at, id, order_ids FROM order_batches
     WHERE due_at <= clock_timestamp()
     ORDER BY due_at, id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), ids AS MATERIALIZED (
    SELECT o.id COLLATE "C" AS id FROM due CROSS JOIN unnest(due.order_ids) AS o(id)
), reported_rejected AS MATERIALIZED (
    SELECT order_id FROM executions
     WHERE ord_status = 'rejected'
       AND order_id = ANY(ARRAY(SELECT id FROM ids))
       AND order_id BETWEEN (SELECT min(id) FROM ids) AND (SELECT max(id) FROM ids)
), unsettled AS (
    SELECT o.id
      FROM ids o
     WHERE (NOT EXISTS (SELECT FROM orders r WHERE r.id = o.id AND r.status = 'COMPLETED' OFFSET 0)
            AND (NOT EXISTS (SELECT FROM orders r WHERE r.id = o.id AND r.status = 'NOT_PLACED' OFFSET 0)
                 OR EXISTS (SELECT FROM orders r
                             WHERE r.id = o.id
                               AND (r.status > 'COMPLETED'
                                    OR (r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted'))
                            OFFSET 0)))
        OR ((o.id IN (SELECT order_id FROM reported_rejected)) IS TRUE
            AND NOT EXISTS (SELECT FROM orders r WHERE r.id = o.id AND r.status = 'REJECTED' OFFSET 0))
), noted AS (
    INSERT INTO doubts (order_id) SELECT id FROM unsettled ORDER BY id
    ON CONFLICT (order_id) DO UPDATE
       SET settled_at = NULL, next_at = clock_timestamp() WHERE doubts.settled_at IS NOT NULL
), reviewed AS (
    DELETE FROM order_batches b USING due WHERE b.due_at = due.due_at AND b.id = due.id RETURNING b.id
)
SELECT count(*) AS batches FROM reviewed;

-- LEASE
-- Sent by the reconciler.
-- The reconciler leases orders in doubt that are due and that no other has leased; their fences rise.
-- $1 orders at most; $2 seconds until the lease ends.
WITH due AS MATERIALIZED (
    SELECT order_id FROM doubts
     WHERE settled_at IS NULL
       AND next_at <= clock_timestamp()
       AND (leased_until IS NULL OR leased_until <= clock_timestamp())
     ORDER BY next_at
     LIMIT $1
       FOR UPDATE SKIP LOCKED
)
UPDATE doubts SET fence = fence + 1, tries = tries + 1,
                  leased_until = clock_timestamp() + $2::float8 * interval '1 second'
  FROM due
 WHERE doubts.order_id = due.order_id
   AND doubts.order_id = ANY(ARRAY(SELECT order_id FROM due))
RETURNING doubts.order_id, fence, tries - 1 AS tries;

-- LOAD
-- Sent by the reconciler.
-- All that is known of leased orders: their rows, sends and their answers, cancels, and what the exchange has shown and
-- reported.
-- $1 ids.
SELECT o.id, o.created_at, o.recorded_at, o.type, o.side, o.instrument, o.limit_price, o.quantity,
       o.status::text AS status, o.reason, o.exchange_order_id, o.client_order_id, o.place_by, o.send_by, o.accept_by,
       o.start_by, clock_timestamp() AS read_at,
       CASE WHEN o.start_by IS NOT NULL THEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) END AS is_queued,
       EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id OFFSET 0) AS is_cancel_wanted,
       (SELECT s.exchange_order_id FROM sightings s WHERE s.order_id = o.id) AS observed_exchange_order_id,
       CASE WHEN o.status = 'INITIATED' THEN (
           SELECT array_agg(ROW(a.number, a.send_by, a.accept_by, w.answer, w.reason, w.exchange_order_id)
                            ORDER BY a.number)
             FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
            WHERE a.order_id = o.id) END AS attempts,
       CASE WHEN o.status = 'INITIATED' THEN (SELECT ROW((array_agg(e.ord_status ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC))[1],
            bool_or(e.exec_type <> 'rejected' AND e.ord_status <> 'rejected'),
            (array_agg(e.exchange_order_id ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC) FILTER (WHERE e.exchange_order_id IS NOT NULL))[1])
   FROM executions e WHERE e.order_id = o.id
 HAVING count(*) > 0) END AS word
  FROM orders o
 WHERE o.id = ANY($1::varchar[])
 ORDER BY o.id, coalesce(o.recorded_at, o.created_at), o.status;

-- APPLY_VERDICTS
-- Sent by the reconciler.
-- What the reviews came to: the rows to append, whether the order is settled, else when to review it again. A verdict
-- whose fence is no longer the newest changes nothing.
-- One element a verdict: $1 ids, $2 fences, $3 whether it is settled, $4 seconds to the next review, $5 the observation
-- last, for a person. One element a row: $6 ids, $7 statuses, $8 reasons, $9 the exchange's ids.
WITH verdict AS MATERIALIZED (
    SELECT * FROM unnest($1::varchar[], $2::bigint[], $3::boolean[], $4::float8[], $5::varchar[])
        AS t(order_id, fence, is_settled, next_seconds, observation)
), held AS MATERIALIZED (
    SELECT d.order_id, v.is_settled, v.next_seconds, v.observation
      FROM doubts d JOIN verdict v ON v.order_id = d.order_id AND v.fence = d.fence
     WHERE d.order_id = ANY($1::varchar[])
       AND d.settled_at IS NULL
     ORDER BY d.order_id
       FOR UPDATE OF d
), appended AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, reason, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           x.status, x.reason, x.exchange_order_id
      FROM unnest($6::varchar[], $7::order_status_enum[], $8::varchar[], $9::varchar[])
        AS x(order_id, status, reason, exchange_order_id)
      JOIN held h ON h.order_id = x.order_id
      JOIN orders o ON o.id = x.order_id AND o.status = 'INITIATED' AND o.id = ANY($6::varchar[])
     ORDER BY o.id, x.status
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM appended) AS written
    HAVING count(*) > 0
), concluded AS (
    UPDATE doubts d
       SET settled_at = CASE WHEN h.is_settled THEN clock_timestamp() END,
           next_at = clock_timestamp() + h.next_seconds * interval '1 second',
           leased_until = NULL,
           last_seen = h.observation
      FROM held h
     WHERE d.order_id = h.order_id AND d.order_id = ANY($1::varchar[])
    RETURNING d.order_id
)
SELECT order_id FROM concluded;

-- CLAIM_SENDS
-- Sent by the reconciler.
-- The reconciler claims sends before it makes them; returns the claims that hold. A cancel raises the fence in its own
-- transaction, so a claim that waited for the row finds it gone. A holder claims once; repeated after a lost answer it
-- gets nothing, and queries the exchange.
-- One element a claim: $1 ids, $2 fences, $3 before when the send must start, or null. $4 who claims; $5 seconds in
-- which the send may start; $6 seconds after that in which the exchange may accept it.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::varchar[], $2::bigint[], $3::timestamptz[]) AS t(order_id, fence, send_by_max)
), held AS MATERIALIZED (
    SELECT d.order_id, d.fence, w.send_by_max
      FROM doubts d JOIN wanted w ON w.order_id = d.order_id AND w.fence = d.fence
     WHERE d.order_id = ANY($1::varchar[])
       AND d.settled_at IS NULL
     ORDER BY d.order_id
       FOR UPDATE OF d
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), window_of AS (
    SELECT h.order_id, h.fence, least(at + $5::float8 * interval '1 second', o.place_by, h.send_by_max) AS send_by
      FROM held h JOIN orders o ON o.id = h.order_id AND o.status = 'INITIATED' AND o.id = ANY($1::varchar[])
     CROSS JOIN instant
     WHERE at < o.place_by
       AND (h.send_by_max IS NULL OR at < h.send_by_max)
       AND NOT EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = h.order_id OFFSET 0)
       AND NOT coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false)
       AND NOT EXISTS (SELECT FROM order_queue q WHERE q.order_id = h.order_id OFFSET 0)
       AND NOT EXISTS (SELECT FROM attempts a WHERE a.order_id = h.order_id AND a.fence = h.fence OFFSET 0)
       AND NOT EXISTS (SELECT FROM orders r
                        WHERE r.id = h.order_id
                          AND (r.status >= 'NOT_PLACED' OR r.reason LIKE 'refused:%' OR r.reason LIKE '%:not_recorded')
                       OFFSET 0)
), claimed AS (
    INSERT INTO attempts (order_id, number, fence, claimed_by, send_by, accept_by)
    SELECT order_id,
           1 + coalesce((SELECT max(number) FROM attempts a WHERE a.order_id = window_of.order_id), 1),
           fence, $4, send_by, send_by + $6::float8 * interval '1 second'
      FROM window_of
    RETURNING order_id, number, send_by, accept_by
)
SELECT order_id, number, send_by, accept_by, extract(epoch FROM send_by - at)::float8 AS seconds_left
  FROM claimed CROSS JOIN instant;

-- RECORD_ANSWERS
-- Sent by the reconciler and the workers.
-- What came of claimed sends.
-- One element a send: $1 ids, $2 numbers, $3 answers, $4 reasons, $5 the exchange's ids.
INSERT INTO attempt_answers (order_id, number, answer, reason, exchange_order_id)
SELECT * FROM unnest($1::varchar[], $2::integer[], $3::varchar[], $4::varchar[], $5::varchar[])
ON CONFLICT DO NOTHING;

-- MAKE_DUE
-- Sent by the reconciler.
-- The exchange answers again: waiting orders in doubt are due now, as if they had never been reviewed. Some at a time,
-- for an outage may have left very many.
-- $1 orders at most.
WITH waiting AS MATERIALIZED (
    SELECT order_id FROM doubts
     WHERE settled_at IS NULL AND next_at > clock_timestamp() AND tries > 0
     LIMIT $1
       FOR UPDATE SKIP LOCKED
)
UPDATE doubts SET next_at = clock_timestamp(), tries = 0 FROM waiting
 WHERE doubts.order_id = waiting.order_id AND doubts.order_id = ANY(ARRAY(SELECT order_id FROM waiting))
RETURNING 1;

-- REOPEN
-- Sent by no process yet.
-- These orders are in doubt and due now, settled or not.
-- $1 ids.
INSERT INTO doubts (order_id) SELECT id FROM unnest($1::varchar[]) AS t(id) ORDER BY id
ON CONFLICT (order_id) DO UPDATE
   SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
RETURNING 1;

-- REQUEST_CANCEL
-- Sent by the API's cancel.
-- The wish first, then everything that follows from it: it forbids further sends from this commit on. Repeated it
-- changes nothing, so that no client can keep the reconciler from its work by repeating it. An order that waits in the
-- queue is taken out, and is over at once.
-- $1 the id.
WITH known AS (
    SELECT id FROM orders WHERE id = $1 AND status = 'INITIATED'
), wish AS (
    INSERT INTO cancel_requests (order_id) SELECT id FROM known ON CONFLICT DO NOTHING RETURNING order_id
), unqueued AS (
    DELETE FROM order_queue WHERE order_id = $1 AND EXISTS (SELECT FROM known) RETURNING order_id
),
counted AS (
    INSERT INTO order_queue_sums (delta) SELECT -1 * count(*) FROM unqueued HAVING count(*) > 0
), ended AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity, 'NOT_PLACED', 'proved:canceled'
      FROM unqueued x
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.order_id AND i.status = 'INITIATED' OFFSET 0) AS o
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM ended) AS written
    HAVING count(*) > 0
), forbidden AS (
    INSERT INTO doubts (order_id, fence) SELECT order_id, 1 FROM wish WHERE NOT EXISTS (SELECT FROM unqueued)
    ON CONFLICT (order_id) DO UPDATE
       SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
)
SELECT id FROM known;

-- VENUE_WORD
-- Sent by the API's cancel.
-- What the exchange reported of an order, before it is said whether it can be canceled.
-- $1 the id.
SELECT (SELECT ROW((array_agg(e.ord_status ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC))[1],
            bool_or(e.exec_type <> 'rejected' AND e.ord_status <> 'rejected'),
            (array_agg(e.exchange_order_id ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC) FILTER (WHERE e.exchange_order_id IS NOT NULL))[1])
   FROM executions e WHERE e.order_id = $1::varchar
 HAVING count(*) > 0) AS word;

-- COUNTS
-- Sent by the reconciler and the operator.
-- How many orders are in doubt, how many of them wait for a person, and for how long the oldest has been; and orphans
-- that are open, up to 10,000. For the metrics and `ordertrail doubts`.
SELECT count(*) AS count,
       count(*) FILTER (WHERE (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'UNRESOLVED' OFFSET 0)
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'COMPLETED' OFFSET 0)
      OR (EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = d.order_id) AND NOT (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' AND o.reason LIKE 'operator:%' OFFSET 0)
 OR coalesce((SELECT e.ord_status IN ('canceled', 'expired', 'filled', 'rejected') FROM executions e
               WHERE e.order_id = d.order_id
               ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC
               LIMIT 1),
             EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' OFFSET 0)))))
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'NOT_PLACED' OFFSET 0) OR (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = d.order_id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = d.order_id OFFSET 0))))) AS unresolved,
       coalesce(extract(epoch FROM clock_timestamp() - min(d.since)), 0)::float8 AS oldest_seconds,
       (SELECT count(*) FROM (SELECT FROM orphans WHERE closed_at IS NULL LIMIT 10000) AS open) AS open_orphans
  FROM doubts d
 WHERE d.settled_at IS NULL;

-- OLDEST
-- Sent by the operator.
-- The orders that have been in doubt for longest; for `ordertrail doubts`.
-- $1 orders at most.
SELECT d.order_id, d.since, extract(epoch FROM clock_timestamp() - d.since)::float8 AS age_seconds, d.tries,
       d.last_seen AS last_observation, d.next_at,
       (SELECT max(o.status)::text FROM orders o WHERE o.id = d.order_id) AS status,
       (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'UNRESOLVED' OFFSET 0)
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'COMPLETED' OFFSET 0)
      OR (EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = d.order_id) AND NOT (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' AND o.reason LIKE 'operator:%' OFFSET 0)
 OR coalesce((SELECT e.ord_status IN ('canceled', 'expired', 'filled', 'rejected') FROM executions e
               WHERE e.order_id = d.order_id
               ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC
               LIMIT 1),
             EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' OFFSET 0)))))
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'NOT_PLACED' OFFSET 0) OR (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = d.order_id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = d.order_id OFFSET 0)))) AS is_unresolved,
       first.instrument, first.side, first.quantity, first.client_order_id
  FROM doubts d
  LEFT JOIN LATERAL (SELECT * FROM orders o WHERE o.id = d.order_id ORDER BY o.status LIMIT 1) AS first ON true
 WHERE d.settled_at IS NULL
 ORDER BY d.since
 LIMIT $1;

-- LOCK_DOUBT
-- Sent by the operator.
-- An operator settles an order: first in its transaction, so that what is decided next is decided by rows as they are
-- once everybody before it has let go of the order.
-- $1 the id.
SELECT FROM doubts WHERE order_id = $1 FOR UPDATE;

-- RESOLVE
-- Sent by the operator.
-- An operator's word settles what is counted as unresolved, unless it is being sent just now; it raises the fence, so
-- that a reconciler that has leased the order lets go. Not placed: only where nothing shows acceptance. One that is
-- placed is reviewed once more, for its owner may want it canceled. Returns what the order is, and whether the word was
-- taken; nothing: it was never in doubt.
-- $1 the id; $2 the statuses of the rows; $3 the reason, with the operator's evidence. Of the action: $4 who; $5 through
-- which door; $6 the evidence; $7 how much was filled, $8 at which average price, or null.
WITH doubt AS MATERIALIZED (
    SELECT d.order_id, (SELECT max(o.status) FROM orders o WHERE o.id = d.order_id) AS status,
           d.settled_at IS NULL AND (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'UNRESOLVED' OFFSET 0)
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'COMPLETED' OFFSET 0)
      OR (EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = d.order_id) AND NOT (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' AND o.reason LIKE 'operator:%' OFFSET 0)
 OR coalesce((SELECT e.ord_status IN ('canceled', 'expired', 'filled', 'rejected') FROM executions e
               WHERE e.order_id = d.order_id
               ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC
               LIMIT 1),
             EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' OFFSET 0)))))
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'NOT_PLACED' OFFSET 0) OR (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = d.order_id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = d.order_id OFFSET 0)))) AS is_unresolved,
           (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = d.order_id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = d.order_id OFFSET 0)) AS was_accepted,
           EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'COMPLETED' OFFSET 0) AS is_placed,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = d.order_id AND w.answer IS NULL AND a.send_by >= clock_timestamp() OFFSET 0)
               AS is_being_sent
      FROM doubts d WHERE d.order_id = $1
), held AS MATERIALIZED (
    SELECT order_id, status FROM doubt
     WHERE is_unresolved
       AND NOT is_being_sent
       AND NOT (was_accepted AND 'NOT_PLACED' = ANY($2::order_status_enum[]))
       AND NOT (is_placed AND $2::order_status_enum[] = '{COMPLETED}')
), appended AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, reason, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           x.status, $3,
           (SELECT max(r.exchange_order_id) FROM orders r WHERE r.id = o.id)
      FROM held JOIN orders o ON o.id = held.order_id AND o.status = 'UNRESOLVED' AND o.id = $1
     CROSS JOIN unnest($2::order_status_enum[]) AS x(status)
     ORDER BY x.status
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM appended) AS written
    HAVING count(*) > 0
), settled AS (
    UPDATE doubts d
       SET settled_at = CASE WHEN $2::order_status_enum[] <> '{COMPLETED}' THEN clock_timestamp() END,
           next_at = clock_timestamp(), fence = d.fence + 1, leased_until = NULL, last_seen = $3
      FROM held WHERE d.order_id = held.order_id
), acted AS (
    INSERT INTO operator_actions (action, operator, origin, reason, order_id, subject, before, after)
    SELECT 'resolve', $4::varchar, $5::varchar, $6::varchar, order_id, NULL, jsonb_build_object('status', status), jsonb_strip_nulls(jsonb_build_object('statuses', $2::order_status_enum[], 'filled_quantity', $7::bigint, 'filled_price', $8::varchar))
      FROM held
    RETURNING id, acted_at
)
SELECT is_unresolved, was_accepted, is_placed, is_being_sent, held.order_id IS NOT NULL AS is_taken
  FROM doubt LEFT JOIN held USING (order_id);
