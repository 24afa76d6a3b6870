"""The statements of the operator's switch; every one is a transaction of its own, but for RESUME and its lock."""

from ordertrail.domain.operator_action import OperatorAction
from ordertrail.storage.postgres import fragments

HALTED, RESUMED = OperatorAction.HALT, OperatorAction.RESUME

# Every second, in every process that may place, and when one starts: how the switch stands, and who turned it.
READ_SWITCH = f"""
SELECT action = 'halt' AS is_halted, acted_at AS turned_at, operator, reason, id {fragments.SWITCH}
"""

# `ordertrail halt`, whatever stands. The lock has whoever turns the switch come one after the other: the newest row is
# the one that was committed last. Returns by which transaction, so that HALT_UNDER_WAY can tell who began before it.
# $1 who; $2 through which door; $3 why, or null.
HALT = f"""
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(7305112027)
), {fragments.acted(HALTED, "turn", operator="$1::varchar", origin="$2::varchar", reason="$3::varchar")}
SELECT acted_at AS turned_at, pg_current_xact_id()::text AS transaction FROM acted
"""

# First in the transaction of RESUME, so that what is newest is read once everybody before has turned the switch.
LOCK_SWITCH = "SELECT pg_advisory_xact_lock(7305112027)"

# `ordertrail resume`: only if nobody has turned the switch since it was read. A resume that is committed late, when its
# operator has long given it up, ends no halt that came meanwhile. Returns a row where it is done.
# $1 who; $2 through which door; $3 why, or null; $4 the row of the switch that was read, or null: there was none.
RESUME = f"""
WITH unturned AS (
    SELECT 1 WHERE (SELECT id {fragments.SWITCH}) IS NOT DISTINCT FROM $4::bigint
), {fragments.acted(RESUMED, "unturned", operator="$1::varchar", origin="$2::varchar", reason="$3::varchar")}
SELECT FROM acted
"""

# After a halt, until nothing is under way any more that was begun before it. `has_earlier_statements`: one is running
# that cannot have seen the halt, so that what it records is not counted here. A backup is taken for one.
# `startable`: sends that may still begin, and until when; `unanswered`: sends of which no answer is recorded.
# $1 the halt's transaction.
HALT_UNDER_WAY = f"""
WITH instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), recorded AS (
    SELECT o.id, {fragments.send_by("o")} AS send_by
      FROM order_batches b CROSS JOIN unnest(b.order_ids) AS x(id)
     {fragments.initiated_row_of("x.id")}
     WHERE NOT EXISTS (SELECT FROM orders r WHERE r.id = x.id AND r.status <> 'INITIATED' OFFSET 0)
), claimed AS (
    SELECT d.order_id, a.send_by
      FROM doubts d
     CROSS JOIN LATERAL (SELECT * FROM attempts t WHERE t.order_id = d.order_id OFFSET 0) AS a
     WHERE d.settled_at IS NULL
       AND NOT EXISTS (SELECT FROM attempt_answers w
                        WHERE w.order_id = a.order_id AND w.number = a.number OFFSET 0)
), sends AS (
    SELECT send_by FROM recorded UNION ALL SELECT send_by FROM claimed
)
SELECT at,
       EXISTS (SELECT FROM pg_stat_activity
                WHERE datname = current_database()
                  AND pid <> pg_backend_pid()
                  AND backend_xmin IS NOT NULL
                  AND age(backend_xmin) >= age($1::text::xid)) AS has_earlier_statements,
       (SELECT count(*) FROM sends WHERE send_by > at) AS startable,
       (SELECT max(send_by) FROM sends WHERE send_by > at) AS last_send_by,
       (SELECT count(*) FROM sends) AS unanswered
  FROM instant
"""
