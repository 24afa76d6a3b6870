"""The statements that read executions, and what those of an order come to: the domain's fold, which a test holds equal.

Nothing of it is kept: sums are made from an order's own range of rows, and trades that were corrected since are found
by what refers to them, which is little.
"""

from ordertrail.storage.execution_reads import NEWEST_EXECUTIONS_MAX
from ordertrail.storage.postgres import fragments

# Not the parameter itself: a plan for its value needs the fewest partitions and looks cheapest, so that the statement
# would be planned each time, which takes ten times as long as to run it.
_ORDER = "(SELECT $1::varchar)"

# Executions, each with the rank of its epoch, of which there are few.
_RANKED = f"""(
    SELECT {", ".join(fragments.read_execution_columns("e"))},
           p.rank AS epoch_rank, coalesce(e.seq, -1) AS place
      FROM executions e JOIN execution_epochs p ON p.session = e.session AND p.epoch = e.epoch
     WHERE e.order_id = {_ORDER}
)"""

# `Execution.position`: no two of an order are equal.
_POSITION = "epoch_rank, place, transact_time, session, exec_id"
_NEWEST_FIRST = "epoch_rank DESC, place DESC, transact_time DESC, session DESC, exec_id DESC"

_LISTED = ", ".join(
    f"array_agg({column} ORDER BY {_POSITION}) AS executions_{column}" for column in fragments.EXECUTION_COLUMNS
)

# The trades of an order that others refer to, and what counts of each: `_chains` of the domain, from the trade on. Each
# step is a look-up by a key.
_CHAINS = f"""\
chain AS (
    SELECT t.order_id, t.session, t.exec_id AS trade_id, t.last_qty AS face_qty,
           t.last_qty * coalesce(t.last_px, 0) AS face_notional,
           t.exec_id, t.epoch, t.seq, t.exec_type, t.last_qty, t.last_px, t.transact_time, t.recorded_at
      FROM (SELECT DISTINCT r.order_id, r.session, r.exec_ref_id FROM executions r
             WHERE r.order_id = {_ORDER} AND r.exec_ref_id IS NOT NULL AND r.exec_type <> 'trade') AS r
     CROSS JOIN LATERAL (
        SELECT * FROM executions t
         WHERE t.order_id = r.order_id AND t.session = r.session AND t.exec_id = r.exec_ref_id
           AND t.exec_type = 'trade'
        OFFSET 0
     ) AS t
    UNION ALL
    SELECT c.order_id, c.session, c.trade_id, c.face_qty, c.face_notional,
           r.exec_id, r.epoch, r.seq, r.exec_type, r.last_qty, r.last_px, r.transact_time, r.recorded_at
      FROM chain c
     {fragments.CHAIN_LINKS}
), counted AS (
    SELECT DISTINCT ON (c.order_id, c.session, c.trade_id) c.order_id, c.face_qty, c.face_notional,
           {fragments.CHAIN_QUANTITY} AS last_qty,
           {fragments.CHAIN_NOTIONAL} AS notional,
           c.exec_type = 'trade_cancel' OR c.last_qty < c.face_qty AS is_busted
      FROM chain c JOIN execution_epochs p ON p.session = c.session AND p.epoch = c.epoch
     WHERE {fragments.CHAIN_COUNTED}
     ORDER BY c.order_id, c.session, c.trade_id,
              {fragments.CHAIN_LATEST_FIRST}
)"""

# An order with its trail, oldest first, and what was executed of it; its newest executions come as arrays, oldest
# first, with its first row alone.
# $1 the order's id.
READ_EXECUTED_ORDER = f"""
WITH RECURSIVE newest AS MATERIALIZED (
    SELECT {", ".join(fragments.EXECUTION_COLUMNS)}, place
      FROM {_RANKED} AS e
     ORDER BY {_NEWEST_FIRST}
     LIMIT {NEWEST_EXECUTIONS_MAX}
), listed AS (
    SELECT {_LISTED}
      FROM newest
), word AS (
    SELECT ord_status, cum_qty FROM newest ORDER BY {_NEWEST_FIRST} LIMIT 1
), face AS (
    SELECT coalesce(sum(e.last_qty), 0) AS quantity, coalesce(sum(e.last_qty * coalesce(e.last_px, 0)), 0) AS notional
      FROM executions e
     WHERE e.order_id = {_ORDER} AND e.exec_type = 'trade'
), {_CHAINS}, corrected AS (
    SELECT coalesce(sum(last_qty - face_qty), 0) AS quantity, coalesce(sum(notional - face_notional), 0) AS notional,
           coalesce(bool_or(is_busted), false) AS is_busted
      FROM counted
), total AS (
    SELECT face.quantity + corrected.quantity AS quantity, face.notional + corrected.notional AS notional, is_busted
      FROM face CROSS JOIN corrected
)
SELECT id, orders.created_at, orders.recorded_at, type, side, instrument, limit_price, quantity,
       orders.status::text AS status, reason, exchange_order_id, client_order_id, place_by,
       {fragments.send_by("orders")} AS send_by, clock_timestamp() AS read_at,
       {fragments.is_queued("$1::varchar")} AS is_queued,
       {fragments.has_open_claim("$1::varchar", column=7)} AS has_open_claim,
       {fragments.is_forbidden("$1::varchar")} AS is_forbidden,
       (SELECT c.requested_at FROM cancel_requests c WHERE c.order_id = $1::varchar) AS cancel_requested_at,
       e.*
  FROM orders
  LEFT JOIN LATERAL (
    SELECT total.quantity AS executed_qty, {fragments.average("total.quantity", "total.notional")} AS executed_avg_px,
           total.is_busted,
           word.ord_status AS word_ord_status, word.cum_qty AS word_cum_qty,
           listed.*
      FROM total CROSS JOIN listed LEFT JOIN word ON true
  ) AS e ON orders.status = (SELECT min(f.status) FROM orders f WHERE f.id = $1::varchar)
 WHERE id = $1::varchar
 ORDER BY {fragments.WRITTEN_AT}, orders.status
"""

# A page of an order's executions, oldest first; one row of nulls where it has none, and none where there is no order.
# $1 the order's id; $2 how many at the most; $3 to $7 the position after which it begins, nulls: at the first.
LIST_EXECUTIONS = f"""
SELECT {", ".join(f"page.{column}" for column in fragments.EXECUTION_COLUMNS)}
  FROM (SELECT FROM orders WHERE id = $1::varchar LIMIT 1) AS o
  LEFT JOIN LATERAL (
    SELECT *
      FROM {_RANKED} AS e
     WHERE $3::integer IS NULL
        OR ({_POSITION}) > ($3::integer, $4::bigint, $5::timestamptz, $6::integer, $7::varchar)
     ORDER BY {_POSITION}
     LIMIT $2
  ) AS page ON true
 ORDER BY {_POSITION}
"""
