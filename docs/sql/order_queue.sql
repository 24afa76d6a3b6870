-- The statements of the queue of orders, one constant each; every one is a transaction of its own.
--
-- Made from ordertrail/storage/postgres/order_queue_statements.py by `make documents`; not written by hand.

-- CLAIM_QUEUED
-- Sent by the workers.
-- A worker takes out the oldest orders whose time is not up, that no other is taking, and claims to send them; from here
-- on the reconciler looks after them, as after orders whose request has recorded them. Of some instruments none, of
-- others one. Nothing while placing is halted.
-- $1 orders at the most; $2 instruments of which none, $3 of which one at the most; $4 who claims; $5 seconds in which
-- the send may start; $6 seconds after that in which the exchange may accept it; $7 seconds until the review.
WITH instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), oldest AS MATERIALIZED (
    SELECT order_id, instrument FROM order_queue
     WHERE NOT (SELECT is_halted FROM instant)
       AND start_by > (SELECT at FROM instant)
       AND instrument <> ALL($2::varchar[])
     ORDER BY order_id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM order_queue
     WHERE order_id = ANY(ARRAY(
           SELECT order_id
             FROM (SELECT order_id, instrument,
                          row_number() OVER (PARTITION BY instrument ORDER BY order_id) AS number FROM oldest) AS o
            WHERE number = 1 OR instrument <> ALL($3::varchar[])))
    RETURNING order_id, queued_at, start_by
), windows AS MATERIALIZED (
    SELECT order_id, queued_at, least(at + $5::float8 * interval '1 second', start_by) AS send_by
      FROM taken CROSS JOIN instant
), claimed AS (
    INSERT INTO attempts (order_id, number, fence, claimed_by, send_by, accept_by)
    SELECT order_id, 1, 0, $4, send_by, send_by + $6::float8 * interval '1 second'
      FROM windows
     ORDER BY order_id
    RETURNING order_id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $7::float8 * interval '1 second', array_agg(order_id)
      FROM claimed CROSS JOIN instant
     GROUP BY at
), counted AS (
    INSERT INTO order_queue_sums (delta) SELECT -1 * count(*) FROM taken HAVING count(*) > 0
)
SELECT o.id, o.created_at, o.type, o.side, o.instrument, o.limit_price, o.quantity, o.client_order_id, o.place_by,
       extract(epoch FROM at - w.queued_at)::float8 AS waited_seconds,
       w.send_by + $6::float8 * interval '1 second' AS accept_by,
       extract(epoch FROM w.send_by - at)::float8 AS seconds_left
  FROM windows w CROSS JOIN instant
 CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = w.order_id AND i.status = 'INITIATED' OFFSET 0) AS o
 ORDER BY o.id;

-- EXPIRE_QUEUED
-- Sent by the workers and the reconciler.
-- Orders whose first send has not started in time are taken out: nobody has sent them, and nobody will. By workers and
-- by the reconciler.
-- $1 orders at the most.
WITH instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), unqueued AS (
    DELETE FROM order_queue WHERE order_id = ANY(ARRAY(
           SELECT order_id FROM order_queue
            WHERE start_by <= (SELECT at FROM instant)
            ORDER BY start_by
            LIMIT $1
              FOR UPDATE SKIP LOCKED)) RETURNING order_id
), counted AS (
    INSERT INTO order_queue_sums (delta) SELECT -1 * count(*) FROM unqueued HAVING count(*) > 0
), ended AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity, 'NOT_PLACED', 'proved:not_sent:too_late'
      FROM unqueued x
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.order_id AND i.status = 'INITIATED' OFFSET 0) AS o
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM ended) AS written
    HAVING count(*) > 0
)
SELECT order_id AS id FROM unqueued ORDER BY order_id;

-- NOTIFY_WORKERS
-- Sent by the API's queueing.
-- After orders were queued, in a transaction of its own: those that notify are committed one after the other.
SELECT pg_notify('order_queue', '');

-- QUEUE_DEPTH
-- Sent by every process.
-- How many orders wait, and since when the oldest does.
SELECT (SELECT coalesce(sum(delta), 0)::bigint FROM order_queue_sums) AS orders,
       coalesce(extract(epoch FROM clock_timestamp()
                                   - (SELECT queued_at FROM order_queue ORDER BY order_id LIMIT 1)), 0)::float8
           AS oldest_seconds;

-- COMPACT_QUEUE_SUMS
-- Sent by every process.
-- Joins what transactions have noted of the depth; what another process is joining is left to it.
-- $1 rows at the most; $2 rows at the least.
WITH joined AS (
    DELETE FROM order_queue_sums
     WHERE id = ANY(ARRAY(SELECT id FROM order_queue_sums
                           WHERE (SELECT count(*) FROM (SELECT FROM order_queue_sums LIMIT $2::integer) AS noted)
                                 >= $2::integer
                           ORDER BY id LIMIT $1::integer FOR UPDATE SKIP LOCKED))
    RETURNING delta
)
INSERT INTO order_queue_sums (delta) SELECT sum(delta)::bigint FROM joined HAVING count(*) > 0;
