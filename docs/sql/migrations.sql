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

COMMIT;
