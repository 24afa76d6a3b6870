"""The statements that read the event log and keep it, one constant each; every one is a transaction of its own.

A row can be read once no transaction is open that may still write one before it: its place is before the oldest that
runs, by the same snapshot in which it is read. Rows of several partitions are merged by their keys.
"""

from ordertrail.storage.postgres import fragments

# The log's name, the timeline that the server writes, what is gone of the log, and what a snapshot lets be read.
_PLACE = """
    SELECT b.origin, b.txid AS bound_txid, b.id AS bound_id, b.nonce AS bound_nonce,
           event_log_is_here() AS is_here, event_log_timeline() AS timeline,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction
      FROM event_log_bounds b"""

# What follows a place in the log, the oldest first, and whether the row at that place is there as it was. No row after
# those that bring enough, and no more than so many.
# $1 the transaction and $2 the id of the row that was read last; $3 rows and $4 events at the most.
READ_LOG = f"""
WITH place AS MATERIALIZED ({_PLACE}
), page AS MATERIALIZED (
    SELECT l.*, sum(count) OVER (ORDER BY txid, id) - count AS events_before
      FROM (SELECT txid, id, nonce, count, order_ids, statuses, session, execution_order_ids, exec_ids
              FROM event_log
             WHERE (txid, id) > ($1::bigint, $2::bigint)
               AND txid < (SELECT oldest_running FROM place)
             ORDER BY txid, id
             LIMIT $3) AS l
)
SELECT place.*, page.*, page.statuses::text[] AS order_statuses,
       (SELECT nonce FROM event_log WHERE (txid, id) = ($1::bigint, $2::bigint)) AS nonce_there
  FROM place LEFT JOIN page ON events_before < $4::integer
 ORDER BY page.txid, page.id
"""

# The newest row that can be read.
NEWEST_IN_LOG = f"""
WITH place AS MATERIALIZED ({_PLACE}
)
SELECT place.*, newest.*
  FROM place
  LEFT JOIN LATERAL (SELECT txid, id, nonce FROM event_log
                      WHERE txid < place.oldest_running
                      ORDER BY txid DESC, id DESC LIMIT 1) AS newest ON true
"""

# The rows at some places in the log.
# $1 transactions, $2 ids, one element a place.
FIND_IN_LOG = f"""
WITH place AS MATERIALIZED ({_PLACE}
)
SELECT place.*, wanted.number,
       (SELECT nonce FROM event_log l WHERE (l.txid, l.id) = (wanted.txid, wanted.id) OFFSET 0) AS nonce_there
  FROM place CROSS JOIN unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS wanted(txid, id, number)
 ORDER BY wanted.number
"""

# The rows of trails that the log names.
# $1 ids, $2 statuses, one element a row.
LOGGED_TRAIL_ROWS = """
SELECT x.number, o.id, o.status::text AS status, o.created_at, o.recorded_at, o.reason, o.exchange_order_id
  FROM unnest($1::varchar[], $2::order_status_enum[]) WITH ORDINALITY AS x(id, status, number)
 CROSS JOIN LATERAL (SELECT * FROM orders s WHERE s.id = x.id AND s.status = x.status OFFSET 0) AS o
"""

# The executions that the log names.
# $1 ids of orders, $2 sessions, $3 exec ids, one element an execution.
LOGGED_EXECUTIONS = f"""
SELECT x.number, {", ".join(fragments.read_execution_columns("e"))},
       (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) AS epoch_rank
  FROM unnest($1::varchar[], $2::integer[], $3::varchar[]) WITH ORDINALITY AS x(order_id, session, exec_id, number)
 CROSS JOIN LATERAL (SELECT * FROM executions s
                      WHERE s.order_id = x.order_id AND s.session = x.session AND s.exec_id = x.exec_id OFFSET 0) AS e
"""

# The oldest transaction that is running, of any database of the server: until it has ended, no row can be read that was
# logged after it took its id. In a snapshot ids are whole, elsewhere without how often they have begun anew.
_OLDEST_RUNNING = """
    SELECT event_log_is_here() AS is_here,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction"""

# Which transaction that is, and for how long it has been open; null where the role may not see whose it is.
HORIZON = f"""
WITH horizon AS MATERIALIZED ({_OLDEST_RUNNING}
), open AS MATERIALIZED (
    SELECT backend_xid AS id, pid, datname AS database, NULL AS prepared, xact_start AS since
      FROM pg_stat_activity WHERE backend_xid IS NOT NULL
     UNION ALL
    SELECT transaction, NULL, database, gid, prepared FROM pg_prepared_xacts
)
SELECT horizon.*, open.pid, open.database, open.prepared,
       extract(epoch FROM clock_timestamp() - open.since)::float8 AS seconds
  FROM horizon LEFT JOIN open ON open.id::text::bigint = horizon.oldest_running & 4294967295
"""

# The same, where the role may not even look into what is running.
HORIZON_UNNAMED = f"""
{_OLDEST_RUNNING.strip()}, NULL::integer AS pid, NULL AS database, NULL AS prepared, NULL::float8 AS seconds
"""

# A log that was written elsewhere, as before a dump was restored, begins anew.
RENEW_LOG = "SELECT renew_event_log() AS is_renewed"

# The days that events may be logged in soon, and the one before this.
# $1 days from today.
MAKE_LOG_PARTITIONS = """
SELECT make_event_log_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, $1::integer) AS n
"""

# The oldest day of the log, where it ended so long ago; returns its name.
# $1 days.
DROP_LOG_PARTITION = """
SELECT drop_event_log_partition(clock_timestamp() - $1::float8 * interval '1 day') AS name
"""

# The rows that no day had room for, where the newest was logged so long ago.
# $1 days.
DROP_LOG_DEFAULT = """
SELECT drop_event_log_default(clock_timestamp() - $1::float8 * interval '1 day') AS is_dropped
"""

# How many rows are in the partition that takes what no other takes, counted up to a limit; in an order, so that the
# rest is not even looked at.
# $1 the limit.
COUNT_MISPLACED_IN_LOG = """
SELECT count(*) AS count FROM (SELECT FROM event_log_default ORDER BY txid, id LIMIT $1) AS misplaced
"""

# By `ordertrail check`, before a deploy: what the role may do for the log, and what it may see of others' transactions.
INSPECT_LOG = """
SELECT event_log_is_here() AS is_here,
       pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE') AS may_keep,
       has_table_privilege('pg_stat_activity', 'SELECT') AND has_table_privilege('pg_prepared_xacts', 'SELECT')
           AND has_function_privilege('pg_stat_get_activity(integer)', 'EXECUTE')
           AND has_function_privilege('pg_prepared_xact()', 'EXECUTE') AS may_see_running,
       pg_has_role('pg_read_all_stats', 'USAGE') AS may_see_since_when
  FROM pg_class c WHERE c.oid = 'event_log'::regclass
"""
