-- The statements that prepare connections, hold transactions and ask for a sign of life.
--
-- Made from ordertrail/storage/postgres/connection_statements.py by `make documents`; not written by hand.
--
-- Beside these, the driver asks once a connection for the types that it does not know. A connection begins with
--   application_name = ordertrail
--   timezone = UTC
--   jit = off
--   enable_seqscan = off
--   enable_hashjoin = off
--   enable_mergejoin = off
--   lock_timeout = a quarter of ORDERTRAIL_DATABASE_TIMEOUT_SECONDS
-- so a plan that is explained by hand is only ours with these settings.

-- PREPARE_SESSION
-- Sent by every process.
-- Once a connection. A commit that may be forgotten is no commit: orders are sent on the strength of it.
SELECT set_config('synchronous_commit', 'on', false)
 WHERE current_setting('synchronous_commit') = 'off';

-- BEGIN
-- Sent by placement, the spool's replay and the operator.
-- Around statements of which each must see what was committed before it began. All others are transactions by
-- themselves.
BEGIN;

-- BEGIN_READ_ONLY
-- Sent by the API's reads.
-- Around the statement that lists orders.
BEGIN READ ONLY;

-- LIMIT_STATEMENT_TIME
-- Sent by the API's reads.
-- The second statement of the transaction that lists orders.
-- $1 milliseconds after which PostgreSQL gives up, as text.
SELECT set_config('statement_timeout', $1, true);

-- COMMIT
-- Sent by placement, the spool's replay, the API's reads and the operator.
-- The end of both kinds of transactions; one that has failed is rolled back by it.
COMMIT;

-- PING
-- Sent by every process.
-- Every second, for the readiness of a process.
SELECT 1;
