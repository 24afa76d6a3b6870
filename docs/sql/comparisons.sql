-- The statements that compare executions with the venue's, one constant each; every one is a transaction of its own.
--
-- Made from ordertrail/storage/postgres/comparison_statements.py by `make documents`; not written by hand.

-- EPOCH_SESSION
-- Sent by the comparison of executions.
-- Before a comparison: the session that the epoch's executions have, and by when rows are counted. Nothing is returned
-- where nothing of the epoch was ever applied.
-- $1 the venue, $2 the epoch.
SELECT session, clock_timestamp() AS at FROM execution_epochs WHERE venue = $1 AND epoch = $2;

-- KEPT_EXECUTIONS
-- Sent by the comparison of executions.
-- The rows to be compared with one page of the venue's, found by order: those with its exec ids, and all others that
-- should be on it. The bounds choose partitions.
-- $1 the session, $2 the epoch; $3 order ids, of which $4 is the least and $5 the greatest; $6 exec ids; $7 the first
-- and $8 the last seq of the page; $9 since when rows are not counted.
SELECT e.order_id, e.exec_id, e.seq, e.exec_type, e.last_qty, e.last_px, e.exec_ref_id,
       e.epoch = $2::varchar AND e.seq BETWEEN $7::bigint AND $8::bigint AND e.recorded_at < $9::timestamptz
           AS is_counted
  FROM executions e
 WHERE e.order_id = ANY($3::varchar[]) AND e.order_id BETWEEN $4::varchar AND $5::varchar
   AND e.session = $1::integer
   AND (e.exec_id = ANY($6::varchar[]) OR (e.epoch = $2::varchar AND e.seq BETWEEN $7::bigint AND $8::bigint));

-- PARKED_SEQS
-- Sent by the comparison of executions.
-- Of reports that are no rows: which of them wait for a person, or were closed by one.
-- $1 the venue, $2 the epoch, $3 seqs.
SELECT DISTINCT seq FROM parked
 WHERE venue = $1 AND epoch = $2 AND kind = 'execution_report' AND seq = ANY($3::bigint[]);

-- COUNT_EXECUTIONS
-- Sent by the comparison of executions.
-- A walk over all executions, some at a time: how many of them are of the range. In the order of their key, so that it
-- goes on where it was.
-- $1 the order id, $2 the session and $3 the exec id after which it goes on; $4 the session, $5 the epoch, $6 the first
-- and $7 the last seq that are counted, $8 since when rows are not; $9 rows at the most.
WITH part AS MATERIALIZED (
    SELECT order_id, session, exec_id, epoch, seq, recorded_at FROM executions
     WHERE (order_id, session, exec_id) > ($1::varchar, $2::integer, $3::varchar)
     ORDER BY order_id, session, exec_id
     LIMIT $9::integer
), last AS (
    SELECT order_id, session, exec_id FROM part ORDER BY order_id DESC, session DESC, exec_id DESC LIMIT 1
)
SELECT (SELECT count(*) FROM part
         WHERE session = $4::integer AND epoch = $5::varchar AND seq BETWEEN $6::bigint AND $7::bigint
           AND recorded_at < $8::timestamptz) AS count,
       last.order_id, last.session, last.exec_id
  FROM last;

-- KEEP_COMPARISON
-- Sent by the comparison of executions.
-- What a comparison came to.
-- $1 the venue, $2 the epoch, $3 the last seq that was compared, $4 how many reports; $5 how many are missing here, $6
-- differ, $7 are unknown to the venue; $8 whether all is equal; $9 examples and more, as JSON.
INSERT INTO execution_comparisons (venue, epoch, up_to_seq, reports, missing, different, unknown, is_equal, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb);

-- NEWEST_COMPARISON
-- Sent by the comparison of executions.
-- What the last one came to, for the metrics of every replica.
-- $1 the venue.
SELECT venue, epoch, up_to_seq, reports, missing, different, unknown, details::text AS details, compared_at
  FROM execution_comparisons WHERE venue = $1 ORDER BY id DESC LIMIT 1;
