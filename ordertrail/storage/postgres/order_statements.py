"""The statements that write and read trails, one constant each.

The columns of an order come as arrays, one element an order. Times come from the database's clock, once a
statement, so that a row's deadlines and its own time agree.
"""

from textwrap import indent
from typing import NamedTuple

from ordertrail.storage.postgres import fragments


class Variant(NamedTuple):
    """Which columns any of the new orders of a batch has."""

    has_keys: bool
    has_place_by: bool


_ARRAYS = (
    ("id", "varchar"),
    ("type", "varchar"),
    ("side", "varchar"),
    ("instrument", "varchar"),
    ("limit_price", "float8"),
    ("quantity", "integer"),
    ("client_order_id", "varchar"),
    ("place_by", "timestamptz"),
)
_VARIANTS = tuple(Variant(has_keys, has_place_by) for has_keys in (False, True) for has_place_by in (False, True))


def _new_orders(variant: Variant, *, first: int) -> str:
    """New orders from arrays, whose parameters begin with the one of this number.

    An array costs as much to encode whether its elements are null or not, so a column that no order of a batch has
    comes as one null instead.
    """
    is_left_out = {"client_order_id": not variant.has_keys, "place_by": not variant.has_place_by}
    arrays, names, nulls = [], [], []
    for number, (name, kind) in enumerate(_ARRAYS, start=first):
        if is_left_out.get(name):
            nulls.append(f", ${number}::{kind} AS {name}")
        else:
            arrays.append(f"${number}::{kind}[]")
            names.append(name)
    return f"""
    SELECT *{"".join(nulls)}
      FROM unnest({", ".join(arrays)})
        AS t({", ".join(names)})"""


_INITIATED = ("recorded", "'INITIATED'::order_status_enum")
_COMPLETED = ("completed", "'COMPLETED'::order_status_enum")


def _insert_initiated(variant: Variant, result: str) -> str:
    """INITIATED of new orders, and a batch of their ids for the reconciler to review; keys only where there are any.

    The switch is read with it: what it returns is obeyed, so that no process has to be told of a halt.
    """
    claimed = fragments.claimed_keys("client_order_id IS NOT NULL") + ", " if variant.has_keys else ""
    condition = f"\n     WHERE {fragments.KEY_IS_OURS}" if variant.has_keys else ""
    return f"""
WITH input AS MATERIALIZED ({_new_orders(variant, first=5)}
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at, {fragments.IS_HALTED} AS is_halted
), {claimed}recorded AS (
    INSERT INTO orders ({fragments.ORDER_COLUMNS},
                        status, client_order_id, place_by, send_by, accept_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, {fragments.place_by(retry_seconds="$4")},
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
){result}"""


def _insert_queued(variant: Variant) -> str:
    claimed = fragments.claimed_keys("client_order_id IS NOT NULL") + ", " if variant.has_keys else ""
    condition = f"\n     WHERE {fragments.KEY_IS_OURS}" if variant.has_keys else ""
    return f"""
WITH input AS MATERIALIZED ({_new_orders(variant, first=3)}
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), {claimed}recorded AS (
    INSERT INTO orders ({fragments.ORDER_COLUMNS},
                        status, client_order_id, place_by, start_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, {fragments.place_by(retry_seconds="$2")},
           coalesce(place_by, at + $1::float8 * interval '1 second')
      FROM input CROSS JOIN instant{condition}
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, instrument, start_by
), queued AS (
    INSERT INTO order_queue (order_id, instrument, queued_at, start_by)
    SELECT id, instrument, at, start_by FROM recorded CROSS JOIN instant
), {fragments.queue_counted("recorded", factor=1)}, {fragments.logged(_INITIATED)}
SELECT id, at FROM recorded CROSS JOIN instant
"""


def _insert_completed(ids: str, exchange_order_ids: str) -> str:
    """The happy path's second row, derived from the first: two arrays to send instead of eight."""
    return f"""
INSERT INTO orders ({fragments.ORDER_COLUMNS},
                    status, exchange_order_id)
SELECT {fragments.ORDER_OF_O},
       'COMPLETED', x.exchange_order_id
  FROM unnest({ids}::varchar[], {exchange_order_ids}::varchar[]) AS x(id, exchange_order_id)
 {fragments.initiated_row_of("x.id")}
 ORDER BY o.id
ON CONFLICT DO NOTHING
RETURNING id
"""


# New orders, before any byte of them goes to the exchange; returns those that were not there yet, and whether placing
# is halted: then none of them is sent.
# $1 to $4: seconds from now to send_by, accept_by, the review, and place_by where the caller gave none. An array each
# of $5 id, $6 type, $7 side, $8 instrument, $9 limit_price, $10 quantity, $11 client_order_id, $12 place_by; the last
# two are null where no order of the batch has one.
INSERT_INITIATED = {
    variant: _insert_initiated(
        variant,
        f""", {fragments.logged(_INITIATED)}
SELECT id, at, is_halted FROM recorded CROSS JOIN instant
""",
    )
    for variant in _VARIANTS
}

# New orders for the queue, and the queue's rows with them; returns those that were not there yet. `send_by` comes with
# the claim. Until then no reconciler has to look after them, so there is no batch.
# $1 seconds from now until which the first send may start, and $2 to place_by, where the caller gave none. An array
# each of $3 id, $4 type, $5 side, $6 instrument, $7 limit_price, $8 quantity, $9 client_order_id, $10 place_by; the
# last two are null where no order of the batch has one.
INSERT_QUEUED = {variant: _insert_queued(variant) for variant in _VARIANTS}

# COMPLETED of orders that the exchange has accepted, before their clients hear of it.
# $1 ids; $2 the exchange's ids.
INSERT_COMPLETED = f"""
WITH completed AS ({indent(_insert_completed("$1", "$2"), "    ")}), {fragments.logged(_COMPLETED)}
SELECT id FROM completed
"""

# INITIATED of new orders and COMPLETED of others: half as many commits as for one kind after the other.
# $1 to $12 as in INSERT_INITIATED; $13 ids of the accepted orders; $14 the exchange's ids.
INSERT_INITIATED_AND_COMPLETED = {
    variant: _insert_initiated(
        variant,
        f""", completed AS ({indent(_insert_completed("$13", "$14"), "    ")}
), {fragments.logged(_INITIATED, _COMPLETED)}
SELECT (SELECT count(*) FROM recorded) AS initiated, (SELECT count(*) FROM completed) AS completed, at, is_halted
  FROM instant
""",
    )
    for variant in _VARIANTS
}

# Failing case 3: INITIATED could not be written, and the order was never sent. It is written now; what is there already
# stays. The first statement of a transaction: a try of before that has not ended yet is waited for, so that HOLD sees
# whether that one has queued the order.
# An array each of $1 id, $2 type, $3 side, $4 instrument, $5 limit_price, $6 quantity, $7 client_order_id, $8 place_by;
# $9 seconds to place_by where the caller gave none.
INSERT_LATE_INITIATED = f"""
WITH input AS MATERIALIZED (
    SELECT *
      FROM unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::float8[], $6::integer[],
                  $7::varchar[], $8::timestamptz[])
        AS t(id, type, side, instrument, limit_price, quantity, client_order_id, place_by)
), instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), {fragments.claimed_keys("client_order_id IS NOT NULL")}, ours AS (
    SELECT * FROM input
     WHERE {fragments.KEY_IS_OURS}
        OR EXISTS (SELECT FROM order_keys k WHERE k.client_order_id = input.client_order_id AND k.order_id = input.id)
), recorded AS (
    INSERT INTO orders ({fragments.ORDER_COLUMNS},
                        status, client_order_id, place_by, send_by)
    SELECT id, at AT TIME ZONE 'UTC', type, side, instrument, limit_price, quantity, 'INITIATED',
           client_order_id, {fragments.place_by(retry_seconds="$9")}, at
      FROM ours CROSS JOIN instant
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, status
), {fragments.logged(("recorded", "status"))}
SELECT FROM recorded LIMIT 0
"""

# In a transaction before INSERT_NEVER_SENT or the whole REPLAY, and after INITIATED was written. The reconciler sends
# none of these orders until that is committed, nor later on the strength of what it read before. A statement sees all
# sends that were claimed only if it begins after this one.
# An order that is queued is taken out, or whoever has it out is waited for.
# $1 ids.
HOLD = f"""
WITH {fragments.unqueued("order_id = ANY($1::varchar[])")}, {fragments.queue_counted("unqueued")}
INSERT INTO doubts (order_id, settled_at) SELECT id, clock_timestamp() FROM unnest($1::varchar[]) AS t(id) ORDER BY id
ON CONFLICT (order_id) DO UPDATE
   SET {fragments.REOPENED}
"""

# The row that says that an order was never sent; after HOLD. It is left out where the order has been sent since.
# $1 ids; $2 the reason of the row.
INSERT_NEVER_SENT = f"""
WITH recorded AS (
    INSERT INTO orders ({fragments.ORDER_COLUMNS},
                        status, reason)
    SELECT {fragments.ORDER_OF_O}, 'DATABASE_PERSISTENCE_FAILED', $2::varchar
      FROM unnest($1::varchar[]) AS x(id)
     {fragments.initiated_row_of("x.id")}
     WHERE NOT {fragments.was_sent_later("x.id")}
     ORDER BY o.id
    ON CONFLICT DO NOTHING
    RETURNING id, status
), {fragments.logged(("recorded", "status"))}
SELECT FROM recorded LIMIT 0
"""

# Trails from a spool, one element of the arrays a row. A replayed order is never sent, so where INITIATED is not there
# yet it comes without a place_by, and its send_by has passed. The reconciler reviews these orders at once, for it may
# have been here before; its fence rises, for it does not know these rows, which may forbid what it is about to do.
# An array each of $1 id, $2 type, $3 side, $4 instrument, $5 limit_price, $6 quantity, $7 client_order_id, $8 place_by,
# $9 status, $10 reason, $11 exchange_order_id, $12 the time of its step by its process's clock; $13 the reason of rows
# that are left out where the reconciler has sent the order since; $14 the seconds after which a step's time is not
# believed. Nor is it if it lies ahead; and no step was before the order's first row.
REPLAY = f"""
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
), {fragments.claimed_keys("client_order_id IS NOT NULL AND status = 'INITIATED'")}, replayed AS (
    INSERT INTO orders ({fragments.ORDER_COLUMNS},
                        status, reason, exchange_order_id, client_order_id, send_by, recorded_at)
    SELECT id, created_at, type, side, instrument, limit_price, quantity, status, reason,
           exchange_order_id,
           CASE WHEN status = 'INITIATED' AND id IN (SELECT order_id FROM claimed) THEN client_order_id END,
           CASE WHEN status = 'INITIATED' THEN at END,
           nullif(at AT TIME ZONE 'UTC', created_at)
      FROM timed
     WHERE reason IS DISTINCT FROM $13::varchar OR NOT {fragments.was_sent_later("timed.id")}
     ORDER BY id, status
    ON CONFLICT DO NOTHING
    RETURNING id, status, reason, exchange_order_id
), {fragments.first_claim_answered("replayed")}, {fragments.logged(("replayed", "status"))}
INSERT INTO doubts (order_id) SELECT DISTINCT id FROM replayed ORDER BY id
ON CONFLICT (order_id) DO UPDATE
   SET {fragments.REOPENED}
"""

# Which orders have these keys; after an insert that left some out, and where no new order is taken.
# $1 client_order_ids.
KEY_OWNERS = "SELECT client_order_id, order_id FROM order_keys WHERE client_order_id = ANY($1::varchar[])"

# Since when these orders have been recorded, by the database's clock, for deadlines are reckoned from it; and whether
# placing is halted; after an insert that found some there.
# $1 ids.
INITIATED_TIMES = f"""
SELECT id, {fragments.WRITTEN_AT} AS created_at, {fragments.IS_HALTED} AS is_halted
  FROM orders
 WHERE id = ANY($1::varchar[]) AND status = 'INITIATED'
"""

# Rows that follow INITIATED, of any status. The reconciler reviews a failure that is not final soon, without waiting
# for its batch. What a worker's claim came to is recorded with the row that says so.
# $1 ids, $2 statuses, $3 reasons, $4 the exchange's ids, one element a row.
INSERT_TRAIL_ROWS = f"""
WITH recorded AS (
    INSERT INTO orders ({fragments.ORDER_COLUMNS},
                        status, reason, exchange_order_id)
    SELECT {fragments.ORDER_OF_O},
           x.status, x.reason, x.exchange_order_id
      FROM unnest($1::varchar[], $2::order_status_enum[], $3::varchar[], $4::varchar[])
        AS x(id, status, reason, exchange_order_id)
     {fragments.initiated_row_of("x.id")}
     ORDER BY o.id, x.status
    ON CONFLICT DO NOTHING
    RETURNING id, status, reason, exchange_order_id
), {fragments.first_claim_answered("recorded")}, noted AS (
    INSERT INTO doubts (order_id, next_at)
    SELECT DISTINCT id, clock_timestamp() + interval '1 second'
      FROM recorded
     WHERE status < 'UNRESOLVED' AND reason NOT LIKE 'refused:%'
     ORDER BY id
    ON CONFLICT DO NOTHING
), {fragments.logged(("recorded", "status"))}
SELECT id FROM recorded
"""

# Which of these rows are there; after an insert that found some there, or no INITIATED to append to.
# $1 ids, $2 statuses, one element a row.
TRAIL_ROWS_THERE = """
SELECT o.id, o.status::text AS status
  FROM unnest($1::varchar[], $2::order_status_enum[]) AS x(id, status)
 CROSS JOIN LATERAL (SELECT * FROM orders s WHERE s.id = x.id AND s.status = x.status OFFSET 0) AS o
"""

# Which orders have the row that says that they were never sent; after INSERT_NEVER_SENT. Who has sent one may have
# added a row of the same status, which says something else.
# $1 ids, $2 the reason of that row.
NEVER_SENT_ROWS_THERE = """
SELECT o.id
  FROM unnest($1::varchar[]) AS x(id)
 CROSS JOIN LATERAL (SELECT * FROM orders s
                      WHERE s.id = x.id AND s.status = 'DATABASE_PERSISTENCE_FAILED' OFFSET 0) AS o
 WHERE o.reason = $2::varchar
"""

# One order with its trail. The two subqueries at the end do not depend on the row, so that they run once an order.
# $1 the id.
READ_ORDER = f"""
SELECT id, orders.created_at, orders.recorded_at, type, side, instrument, limit_price, quantity,
       status::text AS status, reason, exchange_order_id, client_order_id, place_by,
       {fragments.send_by("orders")} AS send_by,
       clock_timestamp() AS read_at,
       {fragments.is_queued("$1::varchar")} AS is_queued,
       {fragments.has_open_claim("$1::varchar", column=7)} AS has_open_claim,
       {fragments.is_forbidden("$1::varchar")} AS is_forbidden
  FROM orders
 WHERE id = $1::varchar
 ORDER BY {fragments.WRITTEN_AT}, orders.status
"""

# After a page of a list that reads trails until it has read so many rows, where it has found too few orders: how far it
# has come. None: to the end.
# $1 the id before which it began; $2 how many rows it reads, less one.
LIST_REACHED = """
SELECT id FROM orders WHERE id < $1::varchar ORDER BY id DESC, status DESC LIMIT 1 OFFSET $2
"""
