"""The statements that write and read trails, one constant each.

The columns of an order come as arrays, one element an order. Times come from the database's clock, once a
statement, so that a row's deadlines and its own time agree.
"""

import itertools

_INPUT = """
input AS MATERIALIZED (
    SELECT *
      FROM unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::float8[], $6::integer[],
                  $7::varchar[], $8::timestamptz[], $9::float8[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by, retry_seconds)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
)"""

# A key is claimed once and for ever; an order whose key is taken is not recorded.
_CLAIMED = """
claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input WHERE client_order_id IS NOT NULL ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
)"""

_KEY_IS_OURS = """
 WHERE client_order_id IS NULL
    OR id IN (SELECT order_id FROM claimed)"""

_RECORDED = """
recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status,
                        client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, coalesce(place_by, CASE WHEN type = 'limit' THEN at + $4::float8 * interval '1 second' END),
           at + $1::float8 * interval '1 second', at + $2::float8 * interval '1 second'
      FROM input CROSS JOIN instant{condition}
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), batch AS (
    INSERT INTO order_batches (due_at, order_ids)
    SELECT at + $3::float8 * interval '1 second', array_agg(id)
      FROM recorded CROSS JOIN instant
     GROUP BY at
)"""

# The first row of each x. Not a plain join: planned while the table is still empty, that reads all of the table's
# index and compares each row with each x, and the plan is kept while the table grows.
_INITIATED_OF_X = """
 CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o"""

# The happy path's second row, derived from the first: two arrays to send instead of eight.
_COMPLETED = f"""
INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, exchange_order_id)
SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
       'COMPLETED', x.exchange_order_id
  FROM unnest({{arrays}}) AS x(id, exchange_order_id){_INITIATED_OF_X}
 ORDER BY o.id
ON CONFLICT DO NOTHING
RETURNING id
"""  # noqa: S608  # nosec B608 - built from constants

_COUNTS = """
SELECT (SELECT count(*) FROM recorded) AS initiated, (SELECT count(*) FROM completed) AS completed, at FROM instant"""


def _insert_initiated(*, has_keys: bool, has_place_by: bool, and_completed: bool = False) -> str:
    """INITIATED for many orders, `and_completed` COMPLETED for others; returns what was inserted now.

    $1 to $4 are the windows in seconds (send, accept, review, retry), the rest the columns. Those that no order of
    a batch has are left out: each array costs as much to encode whether its elements are null or not. COMPLETED's
    ids and exchange ids come last.
    """
    columns = [
        ("id", "varchar"),
        ("type", "varchar"),
        ("side", "varchar"),
        ("instrument", "varchar"),
        ("limit_price", "float8"),
        ("quantity", "integer"),
    ]
    absent = []
    for name, kind, is_there in (
        ("client_order_id", "varchar", has_keys),
        ("place_by", "timestamptz", has_place_by),
    ):
        if is_there:
            columns.append((name, kind))
        else:
            absent.append(f", NULL::{kind} AS {name}")
    arrays = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(columns, start=5))
    names = ", ".join(name for name, _ in columns)
    result = "SELECT id, at FROM recorded CROSS JOIN instant"
    if and_completed:
        first = 5 + len(columns)
        completed = _COMPLETED.format(arrays=f"${first}::varchar[], ${first + 1}::varchar[]")
        result = f", completed AS ({completed}){_COUNTS}"
    return f"""
WITH input AS MATERIALIZED (
    SELECT t.*{"".join(absent)} FROM unnest({arrays}) AS t({names})
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), {_CLAIMED + "," if has_keys else ""} {_RECORDED.format(condition=_KEY_IS_OURS if has_keys else "")}
{result}
"""  # noqa: S608  # nosec B608 - built from constants


# By (has_keys, has_place_by).
_COLUMNS = tuple(itertools.product((False, True), repeat=2))
INSERT_INITIATED = {(k, p): _insert_initiated(has_keys=k, has_place_by=p) for k, p in _COLUMNS}
INSERT_COMPLETED = _COMPLETED.format(arrays="$1::varchar[], $2::varchar[]")
# Rows of both kinds at once: half as many commits as for one kind after the other.
INSERT_INITIATED_AND_COMPLETED = {
    (k, p): _insert_initiated(has_keys=k, has_place_by=p, and_completed=True) for k, p in _COLUMNS
}

# Nobody sends these orders while they are held, nor later on the strength of what was read before. That a statement
# sees all sends that were claimed, it must begin after this one.
HOLD = """
INSERT INTO doubts (order_id, settled_at) SELECT id, clock_timestamp() FROM unnest($1::varchar[]) AS t(id) ORDER BY id
ON CONFLICT (order_id) DO UPDATE
   SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
"""

# An INITIATED that was thought not to be there may have been sent by reconciliation meanwhile.
_WAS_SENT_LATER = """
EXISTS (SELECT FROM attempts a WHERE a.order_id = {id})"""

# Failing case 3: INITIATED and the row that says it was never sent, together; what is there already stays.
INSERT_NEVER_SENT = f"""
WITH {_INPUT}, {_CLAIMED}, ours AS (
    SELECT * FROM input{_KEY_IS_OURS}
        OR EXISTS (SELECT FROM order_keys k WHERE k.client_order_id = input.client_order_id AND k.order_id = input.id)
)
INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason,
                    client_order_id, place_by, send_by)
SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, step.status, step.reason,
       client_order_id, coalesce(place_by, at + retry_seconds * interval '1 second'), at
  FROM ours CROSS JOIN instant
 CROSS JOIN (VALUES ('INITIATED'::order_status_enum, NULL),
                    ('DATABASE_PERSISTENCE_FAILED', $10::varchar)) AS step(status, reason)
 WHERE step.status = 'INITIATED' OR NOT {_WAS_SENT_LATER.format(id="ours.id")}
 ORDER BY id, step.status
ON CONFLICT DO NOTHING
"""  # noqa: S608  # nosec B608 - built from constants

# Trails from a spool, one element of the arrays a row. A replayed order is never sent, so where INITIATED is not there
# yet it comes without a place_by, and its send_by has passed. They are looked after at once, for reconciliation may
# have been here before. Whoever holds one has not seen these rows, which may forbid what it is about to do: its fence
# goes.
REPLAY = f"""
WITH input AS MATERIALIZED (
    SELECT *
      FROM unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::float8[], $6::integer[],
                  $7::varchar[], $8::timestamptz[], $9::order_status_enum[], $10::varchar[], $11::varchar[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by, status, reason,
             exchange_order_id)
), claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input WHERE client_order_id IS NOT NULL AND status = 'INITIATED'
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
), replayed AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason,
                        exchange_order_id, client_order_id, send_by)
    SELECT id, clock_timestamp() AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, status, reason,
           exchange_order_id,
           CASE WHEN status = 'INITIATED' AND id IN (SELECT order_id FROM claimed) THEN client_order_id END,
           CASE WHEN status = 'INITIATED' THEN clock_timestamp() END
      FROM input
     WHERE reason IS DISTINCT FROM $12::varchar OR NOT {_WAS_SENT_LATER.format(id="input.id")}
     ORDER BY id, status
    ON CONFLICT DO NOTHING
    RETURNING id
)
INSERT INTO doubts (order_id) SELECT DISTINCT id FROM replayed ORDER BY id
ON CONFLICT (order_id) DO UPDATE
   SET fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0
"""  # noqa: S608  # nosec B608 - built from constants

KEY_OWNERS = "SELECT client_order_id, order_id FROM order_keys WHERE client_order_id = ANY($1::varchar[])"

INITIATED_TIMES = "SELECT id, created_at FROM orders WHERE id = ANY($1::varchar[]) AND status = 'INITIATED'"

# A failure that is not final is looked after soon, without waiting for its batch.
INSERT_TRAIL_ROWS = f"""
WITH recorded AS (
    INSERT INTO orders (id, created_at, type, side, instrument, limit_price, quantity, status, reason,
                        exchange_order_id)
    SELECT o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity,
           x.status, x.reason, x.exchange_order_id
      FROM unnest($1::varchar[], $2::order_status_enum[], $3::varchar[], $4::varchar[])
        AS x(id, status, reason, exchange_order_id){_INITIATED_OF_X}
     ORDER BY o.id, x.status
    ON CONFLICT DO NOTHING
    RETURNING id, status, reason
), noted AS (
    INSERT INTO doubts (order_id, next_at)
    SELECT DISTINCT id, clock_timestamp() + interval '1 second'
      FROM recorded
     WHERE status < 'UNRESOLVED' AND reason NOT LIKE 'refused:%'
     ORDER BY id
    ON CONFLICT DO NOTHING
)
SELECT id FROM recorded
"""  # noqa: S608  # nosec B608 - built from constants

TRAIL_ROWS_THERE = """
SELECT o.id, o.status::text AS status
  FROM unnest($1::varchar[], $2::order_status_enum[]) AS x(id, status)
 CROSS JOIN LATERAL (SELECT * FROM orders s WHERE s.id = x.id AND s.status = x.status OFFSET 0) AS o
"""

# An attempt without a recorded answer, or with one that does not prove that it did nothing, leaves the order in doubt;
# "accepted" too, for as long as the row that says so has not been written.
HAS_OPEN_CLAIM = """
EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
         WHERE a.order_id = {id} AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)"""

# A cancel forbids every further send from the moment it is committed.
IS_FORBIDDEN = """
EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = {id})"""

# The two questions do not depend on the row, so they are asked once an order.
READ_ORDER = f"""
SELECT id, orders.created_at, type, side, instrument, limit_price, quantity, status::text AS status, reason,
       exchange_order_id, client_order_id, place_by, send_by, clock_timestamp() AS read_at,
       {HAS_OPEN_CLAIM.format(id="$1::varchar")} AS has_open_claim,
       {IS_FORBIDDEN.format(id="$1::varchar")} AS is_forbidden
  FROM orders
 WHERE id = $1::varchar
 ORDER BY orders.created_at, orders.status
"""  # noqa: S608  # nosec B608 - built from constants
