-- The statements of the operator's switch; every one is a transaction of its own, but for RESUME and its lock.
--
-- Made from ordertrail/storage/postgres/switch_statements.py by `make documents`; not written by hand.

-- READ_SWITCH
-- Sent by every process and the operator.
-- Every second, in every process that may place, and when one starts: how the switch stands, and who turned it.
SELECT action = 'halt' AS is_halted, acted_at AS turned_at, operator, reason, id FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1;

-- HALT
-- Sent by the operator.
-- `ordertrail halt`, whatever stands. The lock has whoever turns the switch come one after the other: the newest row is
-- the one that was committed last. Returns by which transaction, so that HALT_UNDER_WAY can tell who began before it.
-- $1 who; $2 through which door; $3 why, or null.
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(7305112027)
), acted AS (
    INSERT INTO operator_actions (action, operator, origin, reason, order_id, subject, before, after)
    SELECT 'halt', $1::varchar, $2::varchar, $3::varchar, NULL, NULL, NULL, NULL
      FROM turn
    RETURNING id, acted_at
)
SELECT acted_at AS turned_at, pg_current_xact_id()::text AS transaction FROM acted;

-- LOCK_SWITCH
-- Sent by the operator.
-- First in the transaction of RESUME, so that what is newest is read once everybody before has turned the switch.
SELECT pg_advisory_xact_lock(7305112027);

-- RESUME
-- Sent by the operator.
-- `ordertrail resume`: only if nobody has turned the switch since it was read. A resume that is committed late, when its
-- operator has long given it up, ends no halt that came meanwhile. Returns a row where it is done.
-- $1 who; $2 through which door; $3 why, or null; $4 the row of the switch that was read, or null: there was none.
WITH unturned AS (
    SELECT 1 WHERE (SELECT id FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1) IS NOT DISTINCT FROM $4::bigint
), acted AS (
    INSERT INTO operator_actions (action, operator, origin, reason, order_id, subject, before, after)
    SELECT 'resume', $1::varchar, $2::varchar, $3::varchar, NULL, NULL, NULL, NULL
      FROM unturned
    RETURNING id, acted_at
)
SELECT FROM acted;

-- HALT_UNDER_WAY
-- Sent by the operator.
-- After a halt, until nothing is under way any more that was begun before it. `has_earlier_statements`: one is running
-- that cannot have seen the halt, so that what it records is not counted here. A backup is taken for one.
-- `startable`: sends that may still begin, and until when; `unanswered`: sends of which no answer is recorded.
-- $1 the halt's transaction.
WITH instant AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), recorded AS (
    SELECT o.id, CASE WHEN o.start_by IS NULL THEN o.send_by ELSE (SELECT a.send_by FROM attempts a WHERE a.order_id = o.id AND a.number = 1) END AS send_by
      FROM order_batches b CROSS JOIN unnest(b.order_ids) AS x(id)
     CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = x.id AND i.status = 'INITIATED' OFFSET 0) AS o
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
  FROM instant;
