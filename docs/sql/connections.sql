-- The statements that prepare connections, hold transactions and ask for a sign of life.
--
-- Made from ordertrail/storage/postgres/connection_statements.py by `make documents`; not written by hand.
--
-- Beside these, the driver asks once a connection for the types that it does not know. A connection begins with
--   timezone = UTC
--   default_transaction_isolation = read committed
--   default_transaction_deferrable = off
--   row_security = off
--   idle_session_timeout = 0
--   synchronous_commit = on
--   plan_cache_mode = auto
--   jit = off
--   enable_seqscan = off
--   enable_hashjoin = off
--   enable_mergejoin = off
--   enable_nestloop = on
--   enable_indexscan = on
--   enable_indexonlyscan = on
--   enable_bitmapscan = on
--   search_path = public, or what the URL says
--   statement_timeout, idle_in_transaction_session_timeout = ORDERTRAIL_DATABASE_TIMEOUT_SECONDS
--   lock_timeout = a quarter of it
--   transaction_timeout = 3 times it, where PostgreSQL knows it (17 and newer)
-- so a plan that is explained by hand is only ours with these settings.

-- PREPARE_SESSION
-- Sent by every process.
-- Once a connection, which is then known to be a session of its own on a server that can be written to.
-- A commit that may be forgotten is no commit: orders are sent on the strength of it. What is stronger than `on` stays.
-- $1 names of settings, those of newer servers too; $2 their values.
SELECT pg_backend_pid() AS backend_pid,
       current_setting('transaction_read_only') = 'on' AS is_read_only,
       current_setting('session_replication_role') <> 'origin' AS is_without_triggers,
       (SELECT count(set_config(name, value, false))
          FROM unnest($1::text[], $2::text[]) AS wanted (name, value)
         WHERE current_setting(name, true) <> ALL (ARRAY[value, 'remote_apply'])) AS changed;

-- BACKEND_PID
-- Sent by every process.
-- Where a pooler is suspected, in transactions of their own on two connections.
SELECT pg_backend_pid();

-- BEGIN
-- Sent by every process.
-- Around statements of which each must see what was committed before it began. All others are transactions by
-- themselves.
BEGIN;

-- BEGIN_READ_ONLY
-- Sent by the API's reads.
-- Around the statements that list orders, which see one moment.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- LIMIT_STATEMENT_TIME
-- Sent by the API's reads.
-- The second statement of the transaction that lists orders.
-- $1 milliseconds after which PostgreSQL gives up, as text.
SELECT set_config('statement_timeout', $1, true);

-- COMMIT
-- Sent by every process.
-- The end of both kinds of transactions; one that has failed is rolled back by it.
COMMIT;

-- PING
-- Sent by every process.
-- Every second, for the readiness of a process: whether the server can be written to, and the session is still the one
-- that was prepared.
SELECT pg_backend_pid() AS backend_pid, current_setting('transaction_read_only') = 'on' AS is_read_only;
