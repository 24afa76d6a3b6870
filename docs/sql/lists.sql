-- The statements that list orders, put together from constant parts; only values that a client chose are bound.
--
-- A list is driven by ids, newest first, and never sorts the table. Every trail begins with INITIATED, and that row has
-- the order's own fields, so it stands for the order.
--
-- Made from ordertrail/storage/postgres/read_statements.py by `make documents`; not written by hand.
--
-- Sent by the API's reads, in a transaction of its own that only reads: see BEGIN_READ_ONLY, LIMIT_STATEMENT_TIME and
-- COMMIT in connections.sql.
--
-- A line that begins with -- is there where the client asked for that filter, or for a page after the first,
-- whose ids are below the last one's. $1 is the size of the page, $2 the key where there is one; the others are
-- numbered without a gap: the last id, instrument, side, created_after, created_before. Statuses and outcomes
-- stand in the text, so that the planner sees which index has them; the ones here stand for any of their kind.

-- All orders.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM orders o
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
--     AND o.id < $2
     ORDER BY o.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- The order of a key, $2.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM orders o
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $4
--     AND o.side = $5
       AND o.id = (SELECT k.order_id FROM order_keys k WHERE k.client_order_id = $2)
--     AND o.created_at > $6
--     AND o.created_at < $7
--     AND o.id < $3
     ORDER BY o.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- The order of a key, $2, if its present status is the wanted one; `outcome` may come to it.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM orders o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $4
--     AND o.side = $5
       AND o.id = (SELECT k.order_id FROM order_keys k WHERE k.client_order_id = $2)
--     AND o.created_at > $6
--     AND o.created_at < $7
--     AND fold.outcome = 'placed'
       AND fold.status IN ('COMPLETED')
--     AND o.id < $3
     ORDER BY o.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- The order of a key, $2, if its outcome is the wanted one.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM orders o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $4
--     AND o.side = $5
       AND o.id = (SELECT k.order_id FROM order_keys k WHERE k.client_order_id = $2)
--     AND o.created_at > $6
--     AND o.created_at < $7
       AND fold.outcome = 'placed'
--     AND o.id < $3
     ORDER BY o.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By a status that most orders have had: trails are read until there are enough, or so many rows were read.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM (SELECT w.id
              FROM (SELECT DISTINCT ON (r.id) r.id, r.status
                      FROM (SELECT l.id, l.status FROM orders l
                             WHERE true
--                             AND l.id < $2
                             ORDER BY l.id DESC, l.status DESC
                             LIMIT 500000) AS r
                     ORDER BY r.id DESC, r.status DESC) AS w
             WHERE w.status IN ('COMPLETED')) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By such a status, and by outcome.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM (SELECT w.id
              FROM (SELECT DISTINCT ON (r.id) r.id, r.status
                      FROM (SELECT l.id, l.status FROM orders l
                             WHERE true
--                             AND l.id < $2
                             ORDER BY l.id DESC, l.status DESC
                             LIMIT 500000) AS r
                     ORDER BY r.id DESC, r.status DESC) AS w
             WHERE w.status IN ('COMPLETED')) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
       AND fold.outcome = 'placed'
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By another end than FILLED, off the index orders_ended.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM (SELECT id FROM orders s
             WHERE s.status IN ('EXPIRED')
--             AND s.id < $2
               AND s.status IN ('REJECTED', 'EXPIRED', 'CANCELED')
               AND NOT EXISTS (SELECT FROM orders h WHERE h.id = s.id AND h.status > s.status)) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By such an end, and by outcome, off the same index.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM (SELECT id FROM orders s
             WHERE s.status IN ('EXPIRED')
--             AND s.id < $2
               AND s.status IN ('REJECTED', 'EXPIRED', 'CANCELED')
               AND NOT EXISTS (SELECT FROM orders h WHERE h.id = s.id AND h.status > s.status)) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
       AND fold.outcome = 'placed'
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By the status of a failure, off the index orders_failed.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM (SELECT id FROM orders s
             WHERE s.status IN ('EXCHANGE_CREATION_FAILED')
--             AND s.id < $2
               AND s.status IN ('EXCHANGE_CREATION_FAILED', 'DATABASE_PERSISTENCE_FAILED', 'EXCHANGE_OUTCOME_UNKNOWN', 'UNRESOLVED', 'NOT_PLACED')
               AND NOT EXISTS (SELECT FROM orders h WHERE h.id = s.id AND h.status > s.status)) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By such a status, and by outcome, off the same index.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM (SELECT id FROM orders s
             WHERE s.status IN ('EXCHANGE_CREATION_FAILED')
--             AND s.id < $2
               AND s.status IN ('EXCHANGE_CREATION_FAILED', 'DATABASE_PERSISTENCE_FAILED', 'EXCHANGE_OUTCOME_UNKNOWN', 'UNRESOLVED', 'NOT_PLACED')
               AND NOT EXISTS (SELECT FROM orders h WHERE h.id = s.id AND h.status > s.status)) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
       AND fold.outcome = 'not_placed'
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By the outcome not_placed, off the index orders_failed.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM ((SELECT DISTINCT id FROM orders s
             WHERE true
--             AND s.id < $2
               AND s.status IN ('EXCHANGE_CREATION_FAILED', 'DATABASE_PERSISTENCE_FAILED', 'EXCHANGE_OUTCOME_UNKNOWN', 'UNRESOLVED', 'NOT_PLACED')
             ORDER BY id DESC)) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
       AND fold.outcome = 'not_placed'
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By the outcome pending, off the same index and the queue of orders.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM ((SELECT DISTINCT id FROM orders s
             WHERE true
--             AND s.id < $2
               AND s.status IN ('EXCHANGE_CREATION_FAILED', 'DATABASE_PERSISTENCE_FAILED', 'EXCHANGE_OUTCOME_UNKNOWN', 'UNRESOLVED', 'NOT_PLACED')
             ORDER BY id DESC)
            UNION ALL
            (SELECT q.order_id FROM order_queue q
             WHERE true
--             AND q.order_id < $2
             ORDER BY q.order_id DESC)) AS s
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
       AND fold.outcome = 'pending'
     ORDER BY s.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By the outcome placed.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM orders o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
       AND fold.outcome = 'placed'
--     AND o.id < $2
     ORDER BY o.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;

-- By the outcome unknown.
WITH page AS MATERIALIZED (
    SELECT o.id,
           EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                    WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
           EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id) AS is_forbidden,
           EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0) AS is_queued
      FROM orders o
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                                  WHERE a.order_id = o.id AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = o.id)
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN EXISTS (SELECT FROM order_queue q WHERE q.order_id = o.id OFFSET 0)
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold
     WHERE o.status = 'INITIATED'
--     AND o.instrument = $3
--     AND o.side = $4
--     AND o.created_at > $5
--     AND o.created_at < $6
       AND fold.outcome = 'unknown'
--     AND o.id < $2
       AND NOT EXISTS (SELECT FROM orders h WHERE h.id = o.id AND h.status >= 'NOT_PLACED')
     ORDER BY o.id DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank;
