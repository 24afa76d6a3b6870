"""The statements of an installation: of the embedded server's first start, and of bringing the schema up to date."""

# When the embedded server is made, in single-user mode. The role is no superuser: its password is no secret, and a
# superuser could run programs.
CREATE_ROLE = "CREATE ROLE ordertrail LOGIN CREATEDB PASSWORD 'ordertrail'"

# The same, for figures and checkpoints without a superuser.
GRANT_MONITORING = "GRANT pg_monitor, pg_checkpoint TO ordertrail"

# The same.
CREATE_DATABASE = "CREATE DATABASE ordertrail OWNER ordertrail"

# At the start of every process, on a connection of its own: which migration was applied last.
SCHEMA_VERSION = "SELECT version_num FROM alembic_version"

# The first statement of the transaction that migrates.
LIMIT_LOCK_TIME = "SET LOCAL lock_timeout = '60s'"

# The second, so that one process migrates at a time. Transaction-scoped, so that it holds behind a pooler that hands
# out connections by transaction. Any number would do; every version of Ordertrail must use the same.
LOCK_MIGRATIONS = "SELECT pg_advisory_xact_lock(7305112026)"

# By `ordertrail check`, before a deploy: what kind of server this is, and what it takes the time to be.
INSPECT_SERVER = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       clock_timestamp() AS now
"""
