"""The event log: one row a commit says which rows of trails and executions it has written, in partitions by day."""

from alembic import op

revision = "0006"
down_revision = "0005"

# A reader may go past a row once no transaction that is open can still write one before it, so the order begins with
# the transaction's id; and what a statement has seen committed comes before what it writes itself, also where its
# transaction had taken its id before, in another statement: so the place is no earlier than the newest transaction that
# was completed when the statement began.
PLACE = "greatest(pg_current_xact_id()::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)"

IDS = "CREATE SEQUENCE event_log_ids"

LOG = f"""
CREATE TABLE event_log (
    txid                bigint NOT NULL DEFAULT {PLACE},
    id                  bigint NOT NULL DEFAULT nextval('event_log_ids'),
    logged_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    nonce               bigint NOT NULL DEFAULT (random() * 9007199254740992)::bigint,
    count               integer NOT NULL,
    order_ids           varchar[],
    statuses            order_status_enum[],
    session             integer,
    execution_order_ids varchar[],
    exec_ids            varchar[],
    PRIMARY KEY (txid, id, logged_at)
) PARTITION BY RANGE (logged_at)
"""

# Ids of a day have little in common that packing could save, and packing them costs the orders' time.
PLAIN = """
ALTER TABLE event_log ALTER order_ids SET STORAGE EXTERNAL, ALTER execution_order_ids SET STORAGE EXTERNAL,
                      ALTER exec_ids SET STORAGE EXTERNAL
"""

# Which log this is. Transaction ids mean something only where they were given: restored from a dump, the log is none.
# `written_by` is the transaction that wrote the row, and where PostgreSQL says that another one did (the row's `xmin`),
# somebody has copied it: a dump, a replica by rows. A standby, a base backup and pg_upgrade copy pages, and keep both.
# `txid`, `id` and `nonce` are of the newest row that is kept no longer; what comes before it is gone, whichever
# partition it was in.
BOUNDS = """
CREATE TABLE event_log_bounds (
    is_the_only_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_only_one),
    origin          bigint NOT NULL DEFAULT (random() * 9007199254740992)::bigint,
    written_by      bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    txid            bigint NOT NULL DEFAULT 0,
    id              bigint NOT NULL DEFAULT 0,
    nonce           bigint NOT NULL DEFAULT 0,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

FIRST_BOUNDS = "INSERT INTO event_log_bounds DEFAULT VALUES"

# A transaction's id is kept in a row without how often ids have begun anew.
IS_HERE = """
CREATE FUNCTION event_log_is_here() RETURNS boolean STABLE LANGUAGE sql
RETURN (SELECT b.xmin::text::bigint = b.written_by & 4294967295 FROM event_log_bounds b)
"""

CAN_GO_ON = """
CREATE FUNCTION event_log_can_go_on() RETURNS boolean STABLE LANGUAGE sql
RETURN event_log_is_here()
   AND NOT EXISTS (SELECT FROM event_log_bounds WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
   AND NOT EXISTS (SELECT FROM event_log WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
"""

# The server's timeline, which is another one once a standby has taken over. 0: it does not say, as where a provider
# has taken away the right to ask; it explains why a mark is gone, and decides nothing.
TIMELINE = """
CREATE FUNCTION event_log_timeline() RETURNS bigint STABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END
$$
"""

# Takes what no other partition takes: a day that nobody has made room for in time, a clock that is far off.
MAKE_DEFAULT = """
CREATE FUNCTION make_event_log_default() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE event_log_default PARTITION OF event_log DEFAULT WITH (toast_tuple_target = 8160);
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_log_default
       FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
END
$$
"""

# Made beside the log and then attached, so that nobody who writes waits for its making. Where the default partition
# holds rows of that day already, they stay there, and so does the day. A trigger of the parent does not fire where
# somebody changes a partition by its own name.
MAKE_PARTITION = """
CREATE FUNCTION make_event_log_partition(day date) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
DECLARE
    name text := 'event_log_' || to_char(day, 'YYYY_MM_DD');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE event_log INCLUDING ALL) WITH (toast_tuple_target = 8160)', name);
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
    EXECUTE format('ALTER TABLE event_log ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
                   day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    RETURN true;
EXCEPTION WHEN check_violation THEN
    RETURN false;
END
$$
"""

# Takes away the oldest partition that ends before this moment, if there is one: detached, and then dropped. Readers
# lock the log before they look, so each sees the partition and the old bound, or neither.
DROP_PARTITION = """
CREATE FUNCTION drop_event_log_partition(before timestamptz) RETURNS text
LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
DECLARE
    oldest text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7305112028) THEN
        RETURN NULL;
    END IF;
    SELECT c.relname INTO oldest
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'event_log'::regclass
       AND c.relname ~ '^event_log_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
       AND (to_date(right(c.relname, 10), 'YYYY_MM_DD') + 1)::timestamp AT TIME ZONE 'UTC' <= before
     ORDER BY c.relname LIMIT 1;
    IF oldest IS NULL THEN
        RETURN NULL;
    END IF;
    LOCK TABLE event_log IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('UPDATE event_log_bounds b '
                   'SET txid = l.txid, id = l.id, nonce = l.nonce, changed_at = clock_timestamp(), '
                   'written_by = pg_current_xact_id()::text::bigint '
                   'FROM (SELECT txid, id, nonce FROM %I ORDER BY txid DESC, id DESC LIMIT 1) AS l '
                   'WHERE (l.txid, l.id) > (b.txid, b.id)', oldest);
    EXECUTE format('ALTER TABLE event_log DETACH PARTITION %I', oldest);
    EXECUTE format('DROP TABLE %I', oldest);
    RETURN oldest;
END
$$
"""

# The rows that no partition was made for, once all of them are older than this moment.
DROP_DEFAULT = """
CREATE FUNCTION drop_event_log_default(before timestamptz) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
BEGIN
    IF (SELECT max(logged_at) < before FROM event_log_default) IS NOT TRUE
       OR NOT pg_try_advisory_xact_lock(7305112028) THEN
        RETURN false;
    END IF;
    LOCK TABLE event_log IN ACCESS EXCLUSIVE MODE;
    IF (SELECT max(logged_at) < before FROM event_log_default) IS NOT TRUE THEN
        RETURN false;
    END IF;
    UPDATE event_log_bounds b
       SET txid = l.txid, id = l.id, nonce = l.nonce, changed_at = clock_timestamp(),
           written_by = pg_current_xact_id()::text::bigint
      FROM (SELECT txid, id, nonce FROM event_log_default ORDER BY txid DESC, id DESC LIMIT 1) AS l
     WHERE (l.txid, l.id) > (b.txid, b.id);
    ALTER TABLE event_log DETACH PARTITION event_log_default;
    DROP TABLE event_log_default;
    PERFORM make_event_log_default();
    RETURN true;
END
$$
"""


# Elsewhere than it was written the log is none: it begins anew, and its name is another. Whoever comes second finds
# that done, once it has the lock. On a young server a copy may have the very id of the row that was copied; then a row
# whose transaction is still to come shows it, and where there is none, the log goes on as it is.
RENEW = """
CREATE FUNCTION renew_event_log() RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
DECLARE
    partition text;
BEGIN
    IF event_log_can_go_on() THEN
        RETURN false;
    END IF;
    LOCK TABLE event_log IN ACCESS EXCLUSIVE MODE;
    IF event_log_can_go_on() THEN
        RETURN false;
    END IF;
    DELETE FROM event_log_bounds;
    INSERT INTO event_log_bounds DEFAULT VALUES;
    FOR partition IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event_log'::regclass LOOP
        EXECUTE format('DROP TABLE %s', partition);
    END LOOP;
    PERFORM make_event_log_default();
    PERFORM make_event_log_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, 7) AS n;
    RETURN true;
END
$$
"""

DAYS = "SELECT make_event_log_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, 7) AS n"


def upgrade() -> None:
    for statement in (IDS, LOG, PLAIN, BOUNDS, FIRST_BOUNDS, IS_HERE, CAN_GO_ON, TIMELINE):
        op.execute(statement)
    for function in (MAKE_DEFAULT, MAKE_PARTITION, DROP_PARTITION, DROP_DEFAULT, RENEW):
        op.execute(function)
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    for statement in ("SELECT make_event_log_default()", DAYS):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("trails are never taken away")
