"""The statements about what the exchange shows unasked, one constant each; every one is a transaction of its own."""

from ordertrail.domain.operator_action import OperatorAction
from ordertrail.storage.postgres import fragments

# A replica takes the turn to sweep; one that dies in it leaves it to the next after the lease. Returns the position up
# to which executions were compared; nothing: another has the turn, or has just had it.
# $1 the venue; $2 seconds until the lease ends.
LEASE_SWEEP = """
INSERT INTO sweep_positions (venue, epoch, seq, leased_until)
VALUES ($1, '', 0, clock_timestamp() + $2::float8 * interval '1 second')
ON CONFLICT (venue) DO UPDATE SET leased_until = excluded.leased_until
 WHERE sweep_positions.leased_until IS NULL OR sweep_positions.leased_until <= clock_timestamp()
RETURNING epoch, seq
"""

# The position moves past the executions that were compared: forward, or to another epoch.
# $1 the venue, $2 the epoch, $3 the position.
MOVE_SWEEP = """
UPDATE sweep_positions
   SET epoch = $2::varchar,
       seq = CASE WHEN epoch = $2::varchar THEN greatest(seq, $3::bigint) ELSE $3::bigint END
 WHERE venue = $1::varchar
"""

# The replica ends its turn.
# $1 the venue; $2 seconds until the next may begin.
END_SWEEP = """
UPDATE sweep_positions SET leased_until = clock_timestamp() + $2::float8 * interval '1 second' WHERE venue = $1
"""

# Keeps that the venue is in this epoch, and returns when it was first seen if it came after another one.
# $1 the venue, $2 the epoch.
NOTE_EPOCH = """
WITH noted AS (
    INSERT INTO venue_epochs (venue, epoch)
    SELECT $1::varchar, $2::varchar
     WHERE NOT EXISTS (SELECT FROM venue_epochs WHERE venue = $1::varchar AND epoch = $2::varchar)
    ON CONFLICT DO NOTHING
    RETURNING begun_at
), known AS (
    SELECT begun_at FROM venue_epochs WHERE venue = $1::varchar UNION ALL SELECT begun_at FROM noted
)
SELECT max(begun_at) AS begun_at FROM known HAVING count(*) > 1
"""

# Which statuses are in the trails of orders that the exchange has shown; those without a trail are missing.
# $1 ids.
STATUSES_OF = """
SELECT id, array_agg(status::text) AS statuses FROM orders WHERE id = ANY($1::varchar[]) GROUP BY id
"""

# The exchange has shown orders that no row of theirs calls placed: kept as proof, and due for review. Orders whose
# request may still be placing them are kept too, but reviewed when their batch is due.
# $1 ids, $2 the exchange's ids, one element an order.
KEEP_OBSERVATIONS = f"""
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
       SET {fragments.REOPENED}
)
SELECT order_id FROM kept
"""

# The exchange has shown orders that were never recorded here: kept for a person. Returns those not kept before; what is
# known of the others is filled in where it was not, for reports say less of an order than the list of open orders.
# $1 the venue, $2 the epoch; one element an order: $3 client order ids, $4 the exchange's ids, and where they are known
# $5 instruments, $6 sides, $7 quantities.
KEEP_ORPHANS = """
WITH shown AS (
    SELECT * FROM unnest($3::varchar[], $4::varchar[], $5::varchar[], $6::varchar[], $7::bigint[])
        AS t(client_order_id, exchange_order_id, instrument, side, quantity)
), fresh AS (
    INSERT INTO orphans (venue, epoch, client_order_id, exchange_order_id, instrument, side, quantity)
    SELECT $1::varchar, $2::varchar, * FROM shown
    ON CONFLICT DO NOTHING
    RETURNING client_order_id
), filled_in AS (
    UPDATE orphans o SET instrument = s.instrument, side = s.side, quantity = s.quantity
      FROM shown s
     WHERE o.venue = $1::varchar AND o.epoch = $2::varchar
       AND o.client_order_id = s.client_order_id AND o.exchange_order_id = s.exchange_order_id
       AND o.closed_at IS NULL AND o.instrument IS NULL AND s.instrument IS NOT NULL
)
SELECT client_order_id FROM fresh
"""

_ORPHAN = """
SELECT o.id, o.seen_at AS shown_at, o.venue, o.epoch, o.client_order_id, o.exchange_order_id,
       o.instrument, o.side, o.quantity, o.closed_at, a.operator AS closed_by, a.reason AS evidence
  FROM orphans o
  LEFT JOIN operator_actions a ON o.closed_at IS NOT NULL AND a.action = 'close_orphan' AND a.subject = o.id::varchar"""

# Orders at the exchange that were never recorded here, oldest first; for `ordertrail orphans`.
# $1 orders at most; $2 whether only those that are open.
LIST_ORPHANS = f"""{_ORPHAN}
 WHERE o.closed_at IS NULL OR NOT $2::boolean
 ORDER BY o.id
 LIMIT $1
"""

# One of them; for `ordertrail orphans show`.
# $1 its id.
READ_ORPHAN = f"""{_ORPHAN}
 WHERE o.id = $1
"""

# An operator has found out whose it is and closes it, once.
# $1 its id; of the action: $2 who; $3 through which door; $4 the evidence.
CLOSE_ORPHAN = f"""
WITH closed AS (
    UPDATE orphans SET closed_at = clock_timestamp() WHERE id = $1 AND closed_at IS NULL
    RETURNING id, venue, client_order_id, exchange_order_id
), {
    fragments.acted(
        OperatorAction.CLOSE_ORPHAN,
        "closed",
        operator="$2::varchar",
        origin="$3::varchar",
        reason="$4::varchar",
        subject="id::varchar",
        before="jsonb_build_object('venue', venue, 'client_order_id', client_order_id, "
        "'exchange_order_id', exchange_order_id)",
    )
}
SELECT id FROM closed
"""
