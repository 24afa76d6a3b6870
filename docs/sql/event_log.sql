-- The statements that read the event log and keep it, one constant each; every one is a transaction of its own.
--
-- A row can be read once no transaction is open that may still write one before it: its place is before the oldest that
-- runs, by the same snapshot in which it is read. Rows of several partitions are merged by their keys.
--
-- Made from ordertrail/storage/postgres/event_log_statements.py by `make documents`; not written by hand.

-- READ_LOG
-- Sent by the readers of events.
-- What follows a place in the log, the oldest first, and whether the row at that place is there as it was. No row after
-- those that bring enough, and no more than so many.
-- $1 the transaction and $2 the id of the row that was read last; $3 rows and $4 events at the most.
WITH place AS MATERIALIZED (
    SELECT b.origin, b.txid AS bound_txid, b.id AS bound_id, b.nonce AS bound_nonce,
           event_log_is_here() AS is_here, event_log_timeline() AS timeline,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction
      FROM event_log_bounds b
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
 ORDER BY page.txid, page.id;

-- NEWEST_IN_LOG
-- Sent by the readers of events.
-- The newest row that can be read.
WITH place AS MATERIALIZED (
    SELECT b.origin, b.txid AS bound_txid, b.id AS bound_id, b.nonce AS bound_nonce,
           event_log_is_here() AS is_here, event_log_timeline() AS timeline,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction
      FROM event_log_bounds b
)
SELECT place.*, newest.*
  FROM place
  LEFT JOIN LATERAL (SELECT txid, id, nonce FROM event_log
                      WHERE txid < place.oldest_running
                      ORDER BY txid DESC, id DESC LIMIT 1) AS newest ON true;

-- FIND_IN_LOG
-- Sent by the readers of events.
-- The rows at some places in the log.
-- $1 transactions, $2 ids, one element a place.
WITH place AS MATERIALIZED (
    SELECT b.origin, b.txid AS bound_txid, b.id AS bound_id, b.nonce AS bound_nonce,
           event_log_is_here() AS is_here, event_log_timeline() AS timeline,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction
      FROM event_log_bounds b
)
SELECT place.*, wanted.number,
       (SELECT nonce FROM event_log l WHERE (l.txid, l.id) = (wanted.txid, wanted.id) OFFSET 0) AS nonce_there
  FROM place CROSS JOIN unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS wanted(txid, id, number)
 ORDER BY wanted.number;

-- LOGGED_TRAIL_ROWS
-- Sent by the readers of events.
-- The rows of trails that the log names.
-- $1 ids, $2 statuses, one element a row.
SELECT x.number, o.id, o.status::text AS status, o.created_at, o.recorded_at, o.reason, o.exchange_order_id
  FROM unnest($1::varchar[], $2::order_status_enum[]) WITH ORDINALITY AS x(id, status, number)
 CROSS JOIN LATERAL (SELECT * FROM orders s WHERE s.id = x.id AND s.status = x.status OFFSET 0) AS o;

-- LOGGED_EXECUTIONS
-- Sent by the readers of events.
-- The executions that the log names.
-- $1 ids of orders, $2 sessions, $3 exec ids, one element an execution.
SELECT x.number, e.session, e.exec_id, e.epoch, e.seq, e.exec_type, e.ord_status, e.exchange_order_id, e.last_qty, e.last_px, e.cum_qty, e.leaves_qty, e.avg_px, e.exec_ref_id, e.reject_reason, least(greatest(e.transact_time, '0001-01-02Z'), '9999-12-30Z') AS transact_time, e.recorded_at,
       (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) AS epoch_rank
  FROM unnest($1::varchar[], $2::integer[], $3::varchar[]) WITH ORDINALITY AS x(order_id, session, exec_id, number)
 CROSS JOIN LATERAL (SELECT * FROM executions s
                      WHERE s.order_id = x.order_id AND s.session = x.session AND s.exec_id = x.exec_id OFFSET 0) AS e;

-- HORIZON
-- Sent by the event log's upkeep, every process and the operator.
-- Which transaction that is, and for how long it has been open; null where the role may not see whose it is.
WITH horizon AS MATERIALIZED (
    SELECT event_log_is_here() AS is_here,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction
), open AS MATERIALIZED (
    SELECT backend_xid AS id, pid, datname AS database, NULL AS prepared, xact_start AS since
      FROM pg_stat_activity WHERE backend_xid IS NOT NULL
     UNION ALL
    SELECT transaction, NULL, database, gid, prepared FROM pg_prepared_xacts
)
SELECT horizon.*, open.pid, open.database, open.prepared,
       extract(epoch FROM clock_timestamp() - open.since)::float8 AS seconds
  FROM horizon LEFT JOIN open ON open.id::text::bigint = horizon.oldest_running & 4294967295;

-- HORIZON_UNNAMED
-- Sent by the event log's upkeep, every process and the operator.
-- The same, where the role may not even look into what is running.
SELECT event_log_is_here() AS is_here,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction, NULL::integer AS pid, NULL AS database, NULL AS prepared, NULL::float8 AS seconds;

-- RENEW_LOG
-- Sent by the event log's upkeep.
-- A log that was written elsewhere, as before a dump was restored, begins anew.
SELECT renew_event_log() AS is_renewed;

-- MAKE_LOG_PARTITIONS
-- Sent by the event log's upkeep.
-- The days that events may be logged in soon, and the one before this.
-- $1 days from today.
SELECT make_event_log_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, $1::integer) AS n;

-- DROP_LOG_PARTITION
-- Sent by the event log's upkeep.
-- The oldest day of the log, where it ended so long ago; returns its name.
-- $1 days.
SELECT drop_event_log_partition(clock_timestamp() - $1::float8 * interval '1 day') AS name;

-- DROP_LOG_DEFAULT
-- Sent by the event log's upkeep.
-- The rows that no day had room for, where the newest was logged so long ago.
-- $1 days.
SELECT drop_event_log_default(clock_timestamp() - $1::float8 * interval '1 day') AS is_dropped;

-- COUNT_MISPLACED_IN_LOG
-- Sent by the event log's upkeep.
-- How many rows are in the partition that takes what no other takes, counted up to a limit; in an order, so that the
-- rest is not even looked at.
-- $1 the limit.
SELECT count(*) AS count FROM (SELECT FROM event_log_default ORDER BY txid, id LIMIT $1) AS misplaced;

-- INSPECT_LOG
-- Sent by the operator.
-- By `ordertrail check`, before a deploy: what the role may do for the log, and what it may see of others' transactions.
SELECT event_log_is_here() AS is_here,
       pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE') AS may_keep,
       has_table_privilege('pg_stat_activity', 'SELECT') AND has_table_privilege('pg_prepared_xacts', 'SELECT')
           AND has_function_privilege('pg_stat_get_activity(integer)', 'EXECUTE')
           AND has_function_privilege('pg_prepared_xact()', 'EXECUTE') AS may_see_running,
       pg_has_role('pg_read_all_stats', 'USAGE') AS may_see_since_when
  FROM pg_class c WHERE c.oid = 'event_log'::regclass;
