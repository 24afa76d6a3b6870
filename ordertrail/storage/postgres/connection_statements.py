"""The statements that prepare connections, hold transactions and ask for a sign of life."""

# Once a connection. A commit that may be forgotten is no commit: orders are sent on the strength of it.
PREPARE_SESSION = """
SELECT set_config('synchronous_commit', 'on', false)
 WHERE current_setting('synchronous_commit') = 'off'
"""

# Around statements of which each must see what was committed before it began. All others are transactions by
# themselves.
BEGIN = "BEGIN"

# Around the statement that lists orders.
BEGIN_READ_ONLY = "BEGIN READ ONLY"

# The second statement of the transaction that lists orders.
# $1 milliseconds after which PostgreSQL gives up, as text.
LIMIT_STATEMENT_TIME = "SELECT set_config('statement_timeout', $1, true)"

# The end of both kinds of transactions; one that has failed is rolled back by it.
COMMIT = "COMMIT"

# Every second, for the readiness of a process.
PING = "SELECT 1"
