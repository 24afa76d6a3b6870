-- The statements of an installation: of the embedded server's first start, and of bringing the schema up to date.
--
-- Made from ordertrail/storage/postgres/installation_statements.py by `make documents`; not written by hand.

-- CREATE_ROLE
-- Sent by the embedded server's first start.
-- When the embedded server is made, in single-user mode. The role is no superuser: its password is no secret, and a
-- superuser could run programs.
CREATE ROLE ordertrail LOGIN CREATEDB PASSWORD 'ordertrail';

-- GRANT_MONITORING
-- Sent by the embedded server's first start.
-- The same, for figures and checkpoints without a superuser.
GRANT pg_monitor, pg_checkpoint TO ordertrail;

-- CREATE_DATABASE
-- Sent by the embedded server's first start.
-- The same.
CREATE DATABASE ordertrail OWNER ordertrail;

-- SCHEMA_VERSION
-- Sent by every process and the operator.
-- At the start of every process, on a connection of its own: which migration was applied last.
SELECT version_num FROM alembic_version;

-- LIMIT_LOCK_TIME
-- Sent by the migration.
-- The first statement of the transaction that migrates.
SET LOCAL lock_timeout = '60s';

-- LOCK_MIGRATIONS
-- Sent by the migration.
-- The second, so that one process migrates at a time. Transaction-scoped, so that it holds behind a pooler that hands
-- out connections by transaction. Any number would do; every version of Ordertrail must use the same.
SELECT pg_advisory_xact_lock(7305112026);

-- INSPECT_SERVER
-- Sent by the operator.
-- By `ordertrail check`, before a deploy: what kind of server this is, and what it takes the time to be.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       clock_timestamp() AS now;
