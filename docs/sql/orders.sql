-- The statements that write and read trails, one constant each.
--
-- The columns of an order come as arrays, one element an order. Times come from the database's clock, once a
-- statement, so that a row's deadlines and its own time agree.
--
-- Made from ordertrail/storage/postgres/order_statements.py by `make documents`; not written by hand.

-- INSERT_INITIATED[has_keys = false, has_place_by = false]
-- Sent by placement.
-- New orders, before any byte of them goes to the exchange; returns those that were not there yet, and whether placing
-- is halted: then none of them is sent.
-- $1 to $4: seconds from now to send_by, accept_by, the review, and place_by where the caller gave none. An array each
-- of $5 id, $6 type, $7 side, $8 instrument, $9 limit_price, $10 quantity, $11 client_order_id, $12 place_by; the last
-- two are null where no order of the batch has one.
WITH input AS MATERIALIZED (
    SELECT *, $11::varchar AS client_order_id, $12::timestamptz AS place_by
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[])
        AS t(id, type, side, instrument, limit_price, quantity)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at, is_halted FROM recorded CROSS JOIN instant;

-- INSERT_INITIATED[has_keys = false, has_place_by = true]
-- Sent by placement.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *, $11::varchar AS client_order_id
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[], $12::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at, is_halted FROM recorded CROSS JOIN instant;

-- INSERT_INITIATED[has_keys = true, has_place_by = false]
-- Sent by placement.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *, $12::timestamptz AS place_by
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[], $11::varchar[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     WHERE client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at, is_halted FROM recorded CROSS JOIN instant;

-- INSERT_INITIATED[has_keys = true, has_place_by = true]
-- Sent by placement.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[], $11::varchar[], $12::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     WHERE client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at, is_halted FROM recorded CROSS JOIN instant;

-- INSERT_QUEUED[has_keys = false, has_place_by = false]
-- Sent by the API's queueing.
-- New orders for the queue, and the queue's rows with them; returns those that were not there yet. `send_by` comes with
-- the claim. Until then no reconciler has to look after them, so there is no batch.
-- $1 seconds from now until which the first send may start, and $2 to place_by, where the caller gave none. An array
-- each of $3 id, $4 type, $5 side, $6 instrument, $7 limit_price, $8 quantity, $9 client_order_id, $10 place_by; the
-- last two are null where no order of the batch has one.
WITH input AS MATERIALIZED (
    SELECT *, $9::varchar AS client_order_id, $10::timestamptz AS place_by
      FROM unnest($3::varchar[], $4::varchar[], $5::varchar[], $6::varchar[], $7::float8[], $8::integer[])
        AS t(id, type, side, instrument, limit_price, quantity)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, start_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $2::float8 * interval '1 second' END),
           coalesce(place_by, at + $1::float8 * interval '1 second')
      FROM input CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, instrument, start_by
), queued AS (
    INSERT INTO order_queue (order_id, instrument, queued_at, start_by)
    SELECT id, instrument, at, start_by FROM recorded CROSS JOIN instant
), counted AS (
    INSERT INTO order_queue_sums (delta) SELECT 1 * count(*) FROM recorded HAVING count(*) > 0
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at FROM recorded CROSS JOIN instant;

-- INSERT_QUEUED[has_keys = false, has_place_by = true]
-- Sent by the API's queueing.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *, $9::varchar AS client_order_id
      FROM unnest($3::varchar[], $4::varchar[], $5::varchar[], $6::varchar[], $7::float8[], $8::integer[], $10::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, start_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $2::float8 * interval '1 second' END),
           coalesce(place_by, at + $1::float8 * interval '1 second')
      FROM input CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, instrument, start_by
), queued AS (
    INSERT INTO order_queue (order_id, instrument, queued_at, start_by)
    SELECT id, instrument, at, start_by FROM recorded CROSS JOIN instant
), counted AS (
    INSERT INTO order_queue_sums (delta) SELECT 1 * count(*) FROM recorded HAVING count(*) > 0
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at FROM recorded CROSS JOIN instant;

-- INSERT_QUEUED[has_keys = true, has_place_by = false]
-- Sent by the API's queueing.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *, $10::timestamptz AS place_by
      FROM unnest($3::varchar[], $4::varchar[], $5::varchar[], $6::varchar[], $7::float8[], $8::integer[], $9::varchar[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, start_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $2::float8 * interval '1 second' END),
           coalesce(place_by, at + $1::float8 * interval '1 second')
      FROM input CROSS JOIN instant
     WHERE client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, instrument, start_by
), queued AS (
    INSERT INTO order_queue (order_id, instrument, queued_at, start_by)
    SELECT id, instrument, at, start_by FROM recorded CROSS JOIN instant
), counted AS (
    INSERT INTO order_queue_sums (delta) SELECT 1 * count(*) FROM recorded HAVING count(*) > 0
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at FROM recorded CROSS JOIN instant;

-- INSERT_QUEUED[has_keys = true, has_place_by = true]
-- Sent by the API's queueing.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *
      FROM unnest($3::varchar[], $4::varchar[], $5::varchar[], $6::varchar[], $7::float8[], $8::integer[], $9::varchar[], $10::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, start_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $2::float8 * interval '1 second' END),
           coalesce(place_by, at + $1::float8 * interval '1 second')
      FROM input CROSS JOIN instant
     WHERE client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, instrument, start_by
), queued AS (
    INSERT INTO order_queue (order_id, instrument, queued_at, start_by)
    SELECT id, instrument, at, start_by FROM recorded CROSS JOIN instant
), counted AS (
    INSERT INTO order_queue_sums (delta) SELECT 1 * count(*) FROM recorded HAVING count(*) > 0
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id, at FROM recorded CROSS JOIN instant;

-- INSERT_COMPLETED
-- Sent by placement and the workers.
-- COMPLETED of orders that the exchange has accepted, before their clients hear of it.
-- $1 ids; $2 the exchange's ids.
WITH completed AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           'COMPLETED', x.exchange_order_id
      FROM unnest($1::varchar[], $2::varchar[]) AS x(id, exchange_order_id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'COMPLETED'::order_status_enum AS status FROM completed) AS written
    HAVING count(*) > 0
)
SELECT id FROM completed;

-- INSERT_INITIATED_AND_COMPLETED[has_keys = false, has_place_by = false]
-- Sent by placement.
-- INITIATED of new orders and COMPLETED of others: half as many commits as for one kind after the other.
-- $1 to $12 as in INSERT_INITIATED; $13 ids of the accepted orders; $14 the exchange's ids.
WITH input AS MATERIALIZED (
    SELECT *, $11::varchar AS client_order_id, $12::timestamptz AS place_by
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[])
        AS t(id, type, side, instrument, limit_price, quantity)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), completed AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           'COMPLETED', x.exchange_order_id
      FROM unnest($13::varchar[], $14::varchar[]) AS x(id, exchange_order_id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id

), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded UNION ALL SELECT id, 'COMPLETED'::order_status_enum AS status FROM completed) AS written
    HAVING count(*) > 0
)
SELECT (SELECT count(*) FROM recorded) AS initiated, (SELECT count(*) FROM completed) AS completed, at, is_halted
  FROM instant;

-- INSERT_INITIATED_AND_COMPLETED[has_keys = false, has_place_by = true]
-- Sent by placement.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *, $11::varchar AS client_order_id
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[], $12::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), completed AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           'COMPLETED', x.exchange_order_id
      FROM unnest($13::varchar[], $14::varchar[]) AS x(id, exchange_order_id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id

), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded UNION ALL SELECT id, 'COMPLETED'::order_status_enum AS status FROM completed) AS written
    HAVING count(*) > 0
)
SELECT (SELECT count(*) FROM recorded) AS initiated, (SELECT count(*) FROM completed) AS completed, at, is_halted
  FROM instant;

-- INSERT_INITIATED_AND_COMPLETED[has_keys = true, has_place_by = false]
-- Sent by placement.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *, $12::timestamptz AS place_by
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[], $11::varchar[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     WHERE client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), completed AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           'COMPLETED', x.exchange_order_id
      FROM unnest($13::varchar[], $14::varchar[]) AS x(id, exchange_order_id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id

), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded UNION ALL SELECT id, 'COMPLETED'::order_status_enum AS status FROM completed) AS written
    HAVING count(*) > 0
)
SELECT (SELECT count(*) FROM recorded) AS initiated, (SELECT count(*) FROM completed) AS completed, at, is_halted
  FROM instant;

-- INSERT_INITIATED_AND_COMPLETED[has_keys = true, has_place_by = true]
-- Sent by placement.
-- As above.
WITH input AS MATERIALIZED (
    SELECT *
      FROM unnest($5::varchar[], $6::varchar[], $7::varchar[], $8::varchar[], $9::float8[], $10::integer[], $11::varchar[], $12::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant
     WHERE client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
), completed AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           'COMPLETED', x.exchange_order_id
      FROM unnest($13::varchar[], $14::varchar[]) AS x(id, exchange_order_id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id

), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, 'INITIATED'::order_status_enum AS status FROM recorded UNION ALL SELECT id, 'COMPLETED'::order_status_enum AS status FROM completed) AS written
    HAVING count(*) > 0
)
SELECT (SELECT count(*) FROM recorded) AS initiated, (SELECT count(*) FROM completed) AS completed, at, is_halted
  FROM instant;

-- INSERT_LATE_INITIATED
-- Sent by placement.
-- Failing case 3: INITIATED could not be written, and the order was never sent. It is written now; what is there already
-- stays. The first statement of a transaction: a try of before that has not ended yet is waited for, so that HOLD sees
-- whether that one has queued the order.
-- An array each of $1 id, $2 type, $3 side, $4 instrument, $5 limit_price, $6 quantity, $7 client_order_id, $8 place_by;
-- $9 seconds to place_by where the caller gave none.
WITH input AS MATERIALIZED (
    SELECT *
      FROM unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::float8[], $6::integer[],
                  $7::varchar[], $8::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), ours AS (
    SELECT * FROM input
     WHERE client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)
        OR EXISTS (SELECT FROM order_keys k WHERE k.client_order_id = input.client_order_id AND k.order_id = input.id)
), recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, client_order_id, place_by, send_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type IN ('limit') THEN at + $9::float8 * interval '1 second' END), at
      FROM ours CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT FROM recorded LIMIT 0;

-- HOLD
-- Sent by placement and the spool's replay.
-- In a transaction before INSERT_NEVER_SENT or the whole REPLAY, and after INITIATED was written. The reconciler sends
-- none of these orders until that is committed, nor later on the strength of what it read before. A statement sees all
-- sends that were claimed only if it begins after this one.
-- An order that is queued is taken out, or whoever has it out is waited for.
-- $1 ids.
WITH unqueued AS (
    DELETE FROM order_queue WHERE order_id = ANY($1::varchar[]) RETURNING order_id
), counted AS (
    INSERT INTO order_queue_sums (delta) SELECT -1 * count(*) FROM unqueued HAVING count(*) > 0
)
INSERT INTO doubts (order_id, settled_at) SELECT id, clock_timestamp() FROM unnest($1::varchar[]) AS t(id) ORDER BY id
ON CONFLICT (order_id) DO UPDATE
   SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0;

-- INSERT_NEVER_SENT
-- Sent by placement.
-- The row that says that an order was never sent; after HOLD. It is left out where the order has been sent since.
-- $1 ids; $2 the reason of the row.
WITH recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, reason)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity, 'DATABASE_PERSISTENCE_FAILED', $2::varchar
      FROM unnest($1::varchar[]) AS x(id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
     WHERE NOT EXISTS (SELECT FROM attempts a WHERE a.order_id = x.id)
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id, status
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT FROM recorded LIMIT 0;

-- REPLAY
-- Sent by the spool's replay.
-- Trails from a spool, one element of the arrays a row. A replayed order is never sent, so where INITIATED is not there
-- yet it comes without a place_by, and its send_by has passed. The reconciler reviews these orders at once, for it may
-- have been here before; its fence rises, for it does not know these rows, which may forbid what it is about to do.
-- An array each of $1 id, $2 type, $3 side, $4 instrument, $5 limit_price, $6 quantity, $7 client_order_id, $8 place_by,
-- $9 status, $10 reason, $11 exchange_order_id, $12 the time of its step by its process's clock; $13 the reason of rows
-- that are left out where the reconciler has sent the order since; $14 the seconds after which a step's time is not
-- believed. Nor is it if it lies ahead; and no step was before the order's first row.
WITH input AS MATERIALIZED (
    SELECT *
      FROM unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::float8[], $6::integer[],
                  $7::varchar[], $8::timestamptz[], $9::order_status_enum[], $10::varchar[], $11::varchar[],
                  $12::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by, status, reason,
             exchange_order_id, step_at)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), timed AS MATERIALIZED (
    SELECT input.*, at,
           CASE WHEN step_at < at AND step_at > at - $14::float8 * interval '1 second'
                THEN least(at AT TIME ZONE 'UTC',
                           greatest(step_at AT TIME ZONE 'UTC',
                                    (SELECT i.created_at FROM orders i
                                      WHERE i.id = input.id AND i.status = 'INITIATED')))
                ELSE at AT TIME ZONE 'UTC' END AS created_at
      FROM input CROSS JOIN instant
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE client_order_id IS NOT NULL AND status = 'INITIATED'
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), replayed AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, reason, exchange_order_id, client_order_id, send_by, recorded_at)
    SELECT id, created_at, type, side, instrument, limit_price, quantity, status, reason,
           exchange_order_id,
           CASE WHEN status = 'INITIATED' AND id IN (SELECT order_id FROM claimed) THEN client_order_id END,
           CASE WHEN status = 'INITIATED' THEN at END,
           nullif(at AT TIME ZONE 'UTC', created_at)
      FROM timed
     WHERE reason IS DISTINCT FROM $13::varchar OR NOT EXISTS (SELECT FROM attempts a WHERE a.order_id = timed.id)
     ORDER BY id, status
    ON CONFLICT DO NOTHING
    RETURNING id, status, reason, exchange_order_id
), answered AS (
    INSERT INTO attempt_answers (order_id, number, answer, reason, exchange_order_id)
    SELECT x.id, 1,
           CASE WHEN x.reason = 'accepted' THEN 'accepted'
                WHEN x.reason LIKE 'refused:%' THEN 'refused'
                WHEN x.reason LIKE 'not_sent:%' THEN 'not_sent'
                ELSE 'unknown' END,
           x.reason, x.exchange_order_id
      FROM replayed x
     WHERE x.status < 'UNRESOLVED' AND x.status <> 'INITIATED'
       AND EXISTS (SELECT FROM attempts a WHERE a.order_id = x.id AND a.number = 1 OFFSET 0)
     ORDER BY x.id, x.status
    ON CONFLICT DO NOTHING
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM replayed) AS written
    HAVING count(*) > 0
)
INSERT INTO doubts (order_id) SELECT DISTINCT id FROM replayed ORDER BY id
ON CONFLICT (order_id) DO UPDATE
   SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0;

-- KEY_OWNERS
-- Sent by placement.
-- Which orders have these keys; after an insert that left some out, and where no new order is taken.
-- $1 client_order_ids.
SELECT client_order_id, order_id FROM order_keys WHERE client_order_id = ANY($1::varchar[]);

-- INITIATED_TIMES
-- Sent by placement.
-- Since when these orders have been recorded, by the database's clock, for deadlines are reckoned from it; and whether
-- placing is halted; after an insert that found some there.
-- $1 ids.
SELECT id, coalesce(recorded_at, created_at) AS created_at, coalesce((SELECT action = 'halt' FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1), false) AS is_halted
  FROM orders
 WHERE id = ANY($1::varchar[]) AND status = 'INITIATED';

-- INSERT_TRAIL_ROWS
-- Sent by placement and the workers.
-- Rows that follow INITIATED, of any status. The reconciler reviews a failure that is not final soon, without waiting
-- for its batch. What a worker's claim came to is recorded with the row that says so.
-- $1 ids, $2 statuses, $3 reasons, $4 the exchange's ids, one element a row.
WITH recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity,
                        status, reason, exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           x.status, x.reason, x.exchange_order_id
      FROM unnest($1::varchar[], $2::order_status_enum[], $3::varchar[], $4::varchar[])
        AS x(id, status, reason, exchange_order_id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
     ORDER BY o.id, x.status
    ON CONFLICT DO NOTHING
    RETURNING id, status, reason, exchange_order_id
), answered AS (
    INSERT INTO attempt_answers (order_id, number, answer, reason, exchange_order_id)
    SELECT x.id, 1,
           CASE WHEN x.reason = 'accepted' THEN 'accepted'
                WHEN x.reason LIKE 'refused:%' THEN 'refused'
                WHEN x.reason LIKE 'not_sent:%' THEN 'not_sent'
                ELSE 'unknown' END,
           x.reason, x.exchange_order_id
      FROM recorded x
     WHERE x.status < 'UNRESOLVED' AND x.status <> 'INITIATED'
       AND EXISTS (SELECT FROM attempts a WHERE a.order_id = x.id AND a.number = 1 OFFSET 0)
     ORDER BY x.id, x.status
    ON CONFLICT DO NOTHING
), noted AS (
    INSERT INTO doubts (order_id, next_at)
    SELECT DISTINCT id, clock_timestamp() + interval '1 second'
      FROM recorded
     WHERE status < 'UNRESOLVED' AND reason NOT LIKE 'refused:%'
     ORDER BY id
    ON CONFLICT DO NOTHING
), logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM (SELECT id, status AS status FROM recorded) AS written
    HAVING count(*) > 0
)
SELECT id FROM recorded;

-- TRAIL_ROWS_THERE
-- Sent by placement.
-- Which of these rows are there; after an insert that found some there, or no INITIATED to append to.
-- $1 ids, $2 statuses, one element a row.
SELECT o.id, o.status::text AS status
  FROM unnest($1::varchar[], $2::order_status_enum[]) AS x(id, status)
 CROSS JOIN LATERAL (SELECT * FROM orders s WHERE s.id = x.id AND s.status = x.status OFFSET 0) AS o;

-- NEVER_SENT_ROWS_THERE
-- Sent by placement.
-- Which orders have the row that says that they were never sent; after INSERT_NEVER_SENT. Who has sent one may have
-- added a row of the same status, which says something else.
-- $1 ids, $2 the reason of that row.
SELECT o.id
  FROM unnest($1::varchar[]) AS x(id)
 CROSS JOIN LATERAL (SELECT * FROM orders s
                      WHERE s.id = x.id AND s.status = 'DATABASE_PERSISTENCE_FAILED' OFFSET 0) AS o
 WHERE o.reason = $2::varchar;

-- READ_ORDER
-- Sent by placement and the API's reads.
-- One order with its trail. The two subqueries at the end do not depend on the row, so that they run once an order.
-- $1 the id.
SELECT id, orders.created_at, orders.recorded_at, type, side, instrument, limit_price, quantity,
       status::text AS status, reason, exchange_order_id, client_order_id, place_by,
       CASE WHEN orders.start_by IS NULL THEN orders.send_by ELSE (SELECT a.send_by FROM attempts a WHERE a.order_id = orders.id AND a.number = 1) END AS send_by,
       clock_timestamp() AS read_at,
       EXISTS (SELECT FROM order_queue q WHERE q.order_id = $1::varchar OFFSET 0) AS is_queued,
       EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                WHERE a.order_id = $1::varchar AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
       EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = $1::varchar) AS is_forbidden
  FROM orders
 WHERE id = $1::varchar
 ORDER BY coalesce(recorded_at, created_at), orders.status;

-- LIST_REACHED
-- Sent by the API's reads.
-- After a page of a list that reads trails until it has read so many rows, where it has found too few orders: how far it
-- has come. None: to the end.
-- $1 the id before which it began; $2 how many rows it reads, less one.
SELECT id FROM orders WHERE id < $1::varchar ORDER BY id DESC, status DESC LIMIT 1 OFFSET $2;
