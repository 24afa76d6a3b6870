-- What brings an empty database up to date, whole or not at all; one that has some of it gets the rest.
--
-- Made from ordertrail/storage/postgres/migrations by `make documents`; not written by hand. What each
-- table is for stands in ../schema.md.

BEGIN;

SET LOCAL lock_timeout = '60s';

SELECT pg_advisory_xact_lock(7305112026);

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TYPE order_status_enum AS ENUM (
    'INITIATED',                    -- recorded; being sent, or about to be
    'EXCHANGE_CREATION_FAILED',     -- the exchange has not got it: refused:CODE or not_sent:CAUSE
    'DATABASE_PERSISTENCE_FAILED',  -- a row could not be written: accepted, refused:, not_sent: or unknown:
    'EXCHANGE_OUTCOME_UNKNOWN',     -- sent, and no answer that proves anything: unknown:CAUSE
    'UNRESOLVED',                   -- answers contradict each other; a person must look
    'NOT_PLACED',                   -- settled: not at the exchange, and never sent again
    'COMPLETED',                    -- the exchange has accepted it
    'PARTIALLY_FILLED',             -- from here on: what the exchange reported after accepting it
    'REJECTED',
    'EXPIRED',
    'CANCELED',
    'FILLED'
);

CREATE TABLE orders (
    id                varchar COLLATE "C" NOT NULL,
    created_at        timestamp DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    type              varchar NOT NULL,
    side              varchar NOT NULL,
    instrument        varchar NOT NULL,
    limit_price       double precision,
    quantity          integer NOT NULL,
    status            order_status_enum NOT NULL,
    reason            varchar,
    exchange_order_id varchar,
    client_order_id   varchar,
    place_by          timestamptz,
    send_by           timestamptz,
    accept_by         timestamptz,
    PRIMARY KEY (id, status)
);

CREATE INDEX orders_troubles ON orders (id) WHERE status NOT IN ('INITIATED', 'COMPLETED');

CREATE INDEX orders_created_at ON orders USING brin (created_at) WITH (pages_per_range = 32);

CREATE TABLE order_keys (
    client_order_id varchar COLLATE "C" PRIMARY KEY,
    order_id        varchar COLLATE "C" NOT NULL
);

CREATE TABLE order_batches (
    due_at    timestamptz NOT NULL,
    id        bigint GENERATED ALWAYS AS IDENTITY,
    order_ids varchar[] NOT NULL,
    PRIMARY KEY (due_at, id)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE attempts (
    order_id   varchar COLLATE "C" NOT NULL,
    number     integer NOT NULL CHECK (number > 1),
    fence      bigint NOT NULL,
    claimed_by varchar NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    send_by    timestamptz NOT NULL,
    accept_by  timestamptz,
    PRIMARY KEY (order_id, number)
);

CREATE TABLE attempt_answers (
    order_id          varchar COLLATE "C" NOT NULL,
    number            integer NOT NULL,
    answered_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    answer            varchar NOT NULL CHECK (answer IN ('accepted', 'refused', 'not_sent', 'unknown')),
    reason            varchar,
    exchange_order_id varchar,
    PRIMARY KEY (order_id, number),
    FOREIGN KEY (order_id, number) REFERENCES attempts
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON order_keys FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON attempts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON attempt_answers FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;

-- Running upgrade 0001 -> 0002

CREATE TABLE doubts (
    order_id     varchar COLLATE "C" PRIMARY KEY,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until timestamptz,
    fence        bigint NOT NULL DEFAULT 0,
    tries        integer NOT NULL DEFAULT 0,
    last_seen    varchar,
    settled_at   timestamptz
) WITH (fillfactor = 70);

CREATE INDEX doubts_due ON doubts (next_at) WHERE settled_at IS NULL;

CREATE TABLE cancel_requests (
    order_id     varchar COLLATE "C" PRIMARY KEY,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE orphans (
    venue             varchar NOT NULL,
    epoch             varchar NOT NULL,
    client_order_id   varchar NOT NULL,
    exchange_order_id varchar NOT NULL,
    seen_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, epoch, client_order_id, exchange_order_id)
);

CREATE TABLE sweep_positions (
    venue varchar PRIMARY KEY,
    epoch varchar NOT NULL,
    seq   bigint NOT NULL
);

CREATE TABLE switches (
    name       varchar PRIMARY KEY,
    is_on      boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by varchar NOT NULL,
    reason     varchar
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cancel_requests FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orphans FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE sightings (
    order_id          varchar COLLATE "C" PRIMARY KEY,
    exchange_order_id varchar NOT NULL,
    seen_at           timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE venue_epochs (
    venue    varchar NOT NULL,
    epoch    varchar NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, epoch)
);

ALTER TABLE sweep_positions ADD COLUMN leased_until timestamptz;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sightings FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON venue_epochs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

ALTER TABLE orders ADD COLUMN recorded_at timestamp, ADD COLUMN trace_id varchar;

CREATE INDEX orders_failed ON orders (id)
 WHERE status IN ('EXCHANGE_CREATION_FAILED', 'DATABASE_PERSISTENCE_FAILED', 'EXCHANGE_OUTCOME_UNKNOWN', 'UNRESOLVED',
                  'NOT_PLACED');

DROP INDEX orders_troubles;

CREATE TABLE operator_actions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    acted_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    action     varchar NOT NULL,
    operator   varchar NOT NULL,
    origin     varchar NOT NULL,
    reason     varchar,
    order_id   varchar COLLATE "C",
    subject    varchar,
    before     jsonb,
    after      jsonb,
    request_id varchar UNIQUE
);

CREATE INDEX operator_actions_switch ON operator_actions (id) WHERE action IN ('halt', 'resume');

CREATE INDEX operator_actions_order ON operator_actions (order_id) WHERE order_id IS NOT NULL;

INSERT INTO operator_actions (acted_at, action, operator, origin, reason)
SELECT changed_at, CASE WHEN is_on THEN 'halt' ELSE 'resume' END, changed_by, 'cli', reason
  FROM switches WHERE name = 'halt';

DROP TABLE switches;

CREATE VIEW switches AS
SELECT 'halt'::varchar AS name, action = 'halt' AS is_on, acted_at AS changed_at, operator AS changed_by, reason
  FROM operator_actions WHERE action IN ('halt', 'resume')
 ORDER BY id DESC
 LIMIT 1;

DROP TRIGGER append_only ON orphans;

CREATE TABLE parked (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    venue       varchar NOT NULL,
    kind        varchar NOT NULL,
    field       varchar,
    reason      varchar NOT NULL,
    raw         bytea NOT NULL,
    fingerprint bytea NOT NULL UNIQUE,
    order_id    varchar COLLATE "C",
    epoch       varchar,
    seq         bigint,
    closed_at   timestamptz
);

CREATE INDEX parked_open ON parked (id) WHERE closed_at IS NULL;

ALTER TABLE orphans ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
                    ADD COLUMN instrument varchar,
                    ADD COLUMN side varchar,
                    ADD COLUMN quantity bigint,
                    ADD COLUMN closed_at timestamptz;

CREATE INDEX orphans_open ON orphans (id) WHERE closed_at IS NULL;

CREATE INDEX sightings_seen_at ON sightings (seen_at);

CREATE FUNCTION refuse_all_but_closing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL OR NOT to_jsonb(NEW) @> jsonb_strip_nulls(to_jsonb(OLD)) THEN
        RAISE EXCEPTION '% can only be closed, and once', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_actions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON parked FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER closed_once BEFORE UPDATE ON parked FOR EACH ROW EXECUTE FUNCTION refuse_all_but_closing();

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON orphans FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER closed_once BEFORE UPDATE ON orphans FOR EACH ROW EXECUTE FUNCTION refuse_all_but_closing();

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

-- Running upgrade 0004 -> 0005

CREATE TABLE execution_epochs (
    venue    varchar NOT NULL,
    epoch    varchar NOT NULL,
    rank     integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    session  integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, epoch)
);

CREATE TABLE executions (
    order_id          varchar COLLATE "C" NOT NULL,
    session           integer NOT NULL,
    exec_id           varchar COLLATE "C" NOT NULL,
    epoch             varchar NOT NULL,
    seq               bigint,
    exec_type         varchar NOT NULL,
    ord_status        varchar NOT NULL,
    exchange_order_id varchar,
    last_qty          bigint NOT NULL,
    last_px           numeric,
    cum_qty           bigint NOT NULL,
    leaves_qty        bigint NOT NULL,
    avg_px            numeric,
    exec_ref_id       varchar COLLATE "C",
    reject_reason     varchar,
    transact_time     timestamptz NOT NULL,
    recorded_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, session, exec_id)
) PARTITION BY RANGE (order_id);

CREATE TABLE executions_default PARTITION OF executions DEFAULT;

CREATE FUNCTION make_executions_partition(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name text := 'executions_' || to_char(month, 'YYYY_MM');
    since text := lpad(to_hex((extract(epoch FROM date_trunc('month', month::timestamp)) * 1000)::bigint), 12, '0');
    until text := lpad(to_hex((extract(epoch FROM date_trunc('month', month::timestamp) + interval '1 month')
                               * 1000)::bigint), 12, '0');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF executions FOR VALUES FROM (%L) TO (%L)', name,
                   left(since, 8) || '-' || right(since, 4), left(until, 8) || '-' || right(until, 4));
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
    RETURN true;
END
$$;

SELECT make_executions_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
  FROM generate_series(-1, 2) AS n;

CREATE INDEX executions_rejected ON executions (order_id) WHERE ord_status = 'rejected';

CREATE INDEX executions_refers ON executions (order_id, session, exec_ref_id) WHERE exec_ref_id IS NOT NULL;

CREATE INDEX orders_ended ON orders (status, id) WHERE status IN ('REJECTED', 'EXPIRED', 'CANCELED');

CREATE TABLE execution_coverage (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue varchar NOT NULL,
    epoch varchar NOT NULL,
    seqs  int8multirange NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE position_sums (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instruments varchar[] NOT NULL,
    sides       varchar[] NOT NULL,
    quantities  numeric[] NOT NULL,
    notionals   numeric[] NOT NULL,
    as_of       timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE position_revisions (
    order_id    varchar COLLATE "C" NOT NULL,
    session     integer NOT NULL,
    exec_id     varchar COLLATE "C" NOT NULL,
    exec_ref_id varchar COLLATE "C" NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    reviewed_at   timestamptz,
    PRIMARY KEY (order_id, session, exec_id)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE execution_inbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue         varchar NOT NULL,
    epoch         varchar NOT NULL,
    exec_id_scope varchar NOT NULL,
    count         integer NOT NULL,
    first_seq     bigint,
    last_seq      bigint,
    body          text NOT NULL,
    put_at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

ALTER TABLE execution_inbox ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE feeds (
    venue        varchar PRIMARY KEY,
    holder       varchar,
    leased_until timestamptz,
    fence        bigint NOT NULL DEFAULT 0,
    epoch        varchar,
    seq          bigint,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);

CREATE TABLE parked_retries (
    parked_id bigint PRIMARY KEY REFERENCES parked,
    tries     integer NOT NULL DEFAULT 0,
    due_at    timestamptz NOT NULL
);

CREATE INDEX parked_retries_due ON parked_retries (due_at);

CREATE TABLE execution_comparisons (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    compared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    venue       varchar NOT NULL,
    epoch       varchar NOT NULL,
    up_to_seq   bigint NOT NULL,
    reports     bigint NOT NULL,
    missing     bigint NOT NULL,
    different   bigint NOT NULL,
    unknown     bigint NOT NULL,
    is_equal    boolean NOT NULL,
    details     jsonb
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution_epochs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON executions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON executions_default FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution_comparisons FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

-- Running upgrade 0005 -> 0006

CREATE SEQUENCE event_log_ids;

CREATE TABLE event_log (
    txid                bigint NOT NULL DEFAULT greatest(pg_current_xact_id()::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1),
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
) PARTITION BY RANGE (logged_at);

ALTER TABLE event_log ALTER order_ids SET STORAGE EXTERNAL, ALTER execution_order_ids SET STORAGE EXTERNAL,
                      ALTER exec_ids SET STORAGE EXTERNAL;

CREATE TABLE event_log_bounds (
    is_the_only_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_only_one),
    origin          bigint NOT NULL DEFAULT (random() * 9007199254740992)::bigint,
    written_by      bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    txid            bigint NOT NULL DEFAULT 0,
    id              bigint NOT NULL DEFAULT 0,
    nonce           bigint NOT NULL DEFAULT 0,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO event_log_bounds DEFAULT VALUES;

CREATE FUNCTION event_log_is_here() RETURNS boolean STABLE LANGUAGE sql
RETURN (SELECT b.xmin::text::bigint = b.written_by & 4294967295 FROM event_log_bounds b);

CREATE FUNCTION event_log_can_go_on() RETURNS boolean STABLE LANGUAGE sql
RETURN event_log_is_here()
   AND NOT EXISTS (SELECT FROM event_log_bounds WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
   AND NOT EXISTS (SELECT FROM event_log WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint);

CREATE FUNCTION event_log_timeline() RETURNS bigint STABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END
$$;

CREATE FUNCTION make_event_log_default() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE event_log_default PARTITION OF event_log DEFAULT WITH (toast_tuple_target = 8160);
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_log_default
       FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
END
$$;

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
$$;

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
$$;

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
$$;

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
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

SELECT make_event_log_default();

SELECT make_event_log_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, 7) AS n;

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';

-- Running upgrade 0006 -> 0007

CREATE TABLE order_queue (
    order_id   varchar COLLATE "C" PRIMARY KEY,
    instrument varchar NOT NULL,
    queued_at  timestamptz NOT NULL,
    start_by   timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE INDEX order_queue_start_by ON order_queue (start_by);

CREATE TABLE order_queue_sums (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delta bigint NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

ALTER TABLE orders ADD COLUMN start_by timestamptz;

ALTER TABLE attempts DROP CONSTRAINT attempts_number_check, ADD CONSTRAINT attempts_number_check CHECK (number > 0);

UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';

COMMIT;
