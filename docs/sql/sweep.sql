-- The statements about what the exchange shows unasked, one constant each; every one is a transaction of its own.
--
-- Made from ordertrail/storage/postgres/sweep_statements.py by `make documents`; not written by hand.

-- LEASE_SWEEP
-- Sent by the sweep.
-- A replica takes the turn to sweep; one that dies in it leaves it to the next after the lease. Returns the position up
-- to which executions were compared; nothing: another has the turn, or has just had it.
-- $1 the venue; $2 seconds until the lease ends.
INSERT INTO sweep_positions (venue, epoch, seq, leased_until)
VALUES ($1, '', 0, clock_timestamp() + $2::float8 * interval '1 second')
ON CONFLICT (venue) DO UPDATE SET leased_until = excluded.leased_until
 WHERE sweep_positions.leased_until IS NULL OR sweep_positions.leased_until <= clock_timestamp()
RETURNING epoch, seq;

-- MOVE_SWEEP
-- Sent by the sweep.
-- The position moves past the executions that were compared: forward, or to another epoch.
-- $1 the venue, $2 the epoch, $3 the position.
UPDATE sweep_positions
   SET epoch = $2::varchar,
       seq = CASE WHEN epoch = $2::varchar THEN greatest(seq, $3::bigint) ELSE $3::bigint END
 WHERE venue = $1::varchar;

-- END_SWEEP
-- Sent by the sweep.
-- The replica ends its turn.
-- $1 the venue; $2 seconds until the next may begin.
UPDATE sweep_positions SET leased_until = clock_timestamp() + $2::float8 * interval '1 second' WHERE venue = $1;

-- NOTE_EPOCH
-- Sent by the reconciler.
-- Keeps that the venue is in this epoch, and returns when it was first seen if it came after another one.
-- $1 the venue, $2 the epoch.
WITH noted AS (
    INSERT INTO venue_epochs (venue, epoch)
    SELECT $1::varchar, $2::varchar
     WHERE NOT EXISTS (SELECT FROM venue_epochs WHERE venue = $1::varchar AND epoch = $2::varchar)
    ON CONFLICT DO NOTHING
    RETURNING begun_at
), known AS (
    SELECT begun_at FROM venue_epochs WHERE venue = $1::varchar UNION ALL SELECT begun_at FROM noted
)
SELECT max(begun_at) AS begun_at FROM known HAVING count(*) > 1;

-- STATUSES_OF
-- Sent by the sweep.
-- Which statuses are in the trails of orders that the exchange has shown; those without a trail are missing.
-- $1 ids.
SELECT id, array_agg(status::text) AS statuses FROM orders WHERE id = ANY($1::varchar[]) GROUP BY id;

-- KEEP_OBSERVATIONS
-- Sent by the sweep.
-- The exchange has shown orders that no row of theirs calls placed: kept as proof, and due for review. Orders whose
-- request may still be placing them are kept too, but reviewed when their batch is due.
-- $1 ids, $2 the exchange's ids, one element an order.
WITH seen AS (
    SELECT * FROM unnest($1::varchar[], $2::varchar[]) AS t(order_id, exchange_order_id)
), kept AS (
    INSERT INTO sightings (order_id, exchange_order_id) SELECT order_id, exchange_order_id FROM seen ORDER BY order_id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), reopened AS (
    INSERT INTO doubts (order_id)
    SELECT order_id FROM kept
     WHERE EXISTS (SELECT FROM orders r WHERE r.id = kept.order_id AND r.status <> 'INITIATED' OFFSET 0)
        OR EXISTS (SELECT FROM doubts d WHERE d.order_id = kept.order_id OFFSET 0)
     ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE
       SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
)
SELECT order_id FROM kept;

-- KEEP_ORPHANS
-- Sent by the sweep.
-- The exchange has shown orders that were never recorded here: kept for a person. Returns those not kept before.
-- $1 the venue, $2 the epoch; one element an order: $3 client order ids, $4 the exchange's ids.
INSERT INTO orphans (venue, epoch, client_order_id, exchange_order_id)
SELECT $1, $2, * FROM unnest($3::varchar[], $4::varchar[])
ON CONFLICT DO NOTHING
RETURNING client_order_id;
