"""The statements that prepare connections, hold transactions and ask for a sign of life."""

# Once a connection, which is then known to be a session of its own on a server that can be written to.
# A commit that may be forgotten is no commit: orders are sent on the strength of it. What is stronger than `on` stays.
# $1 names of settings, those of newer servers too; $2 their values.
PREPARE_SESSION = """
SELECT pg_backend_pid() AS backend_pid,
       current_setting('transaction_read_only') = 'on' AS is_read_only,
       current_setting('session_replication_role') <> 'origin' AS is_without_triggers,
       (SELECT count(set_config(name, value, false))
          FROM unnest($1::text[], $2::text[]) AS wanted (name, value)
         WHERE current_setting(name, true) <> ALL (ARRAY[value, 'remote_apply'])) AS changed
"""

# Where a pooler is suspected, in transactions of their own on two connections.
BACKEND_PID = "SELECT pg_backend_pid()"

# Around statements of which each must see what was committed before it began. All others are transactions by
# themselves.
BEGIN = "BEGIN"

# Around the statements that list orders, which see one moment.
BEGIN_READ_ONLY = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# The second statement of the transaction that lists orders.
# $1 milliseconds after which PostgreSQL gives up, as text.
LIMIT_STATEMENT_TIME = "SELECT set_config('statement_timeout', $1, true)"

# The end of both kinds of transactions; one that has failed is rolled back by it.
COMMIT = "COMMIT"

# Every second, for the readiness of a process: whether the server can be written to, and the session is still the one
# that was prepared.
PING = "SELECT pg_backend_pid() AS backend_pid, current_setting('transaction_read_only') = 'on' AS is_read_only"
