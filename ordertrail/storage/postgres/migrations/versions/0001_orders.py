"""The seed's table of orders, append-only by the database's own word, and what lies beside it."""

from alembic import op

revision = "0001"
down_revision = None

# Declared in rising precedence: max(status) over an order's rows is its present status.
STATUSES = """
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
)
"""

# The first eight columns are the seed's. The last five are set where they mean something:
# client_order_id, place_by, send_by and accept_by on INITIATED, reason and exchange_order_id on the others.
ORDERS = """
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
)
"""

# Few rows, so it costs the happy path nothing; it makes "everything that went wrong" cheap to list.
TROUBLES = """
CREATE INDEX orders_troubles ON orders (id) WHERE status NOT IN ('INITIATED', 'COMPLETED')
"""

# Time ranges over a table that is written in time order.
BY_TIME = "CREATE INDEX orders_created_at ON orders USING brin (created_at) WITH (pages_per_range = 32)"

# One key, one order, for ever. A table of its own, so that orders can be split by id or time without losing it.
KEYS = """
CREATE TABLE order_keys (
    client_order_id varchar COLLATE "C" PRIMARY KEY,
    order_id        varchar COLLATE "C" NOT NULL
)
"""

# What was recorded together and nobody has looked at since: a row here is deleted by whoever has seen to it that
# its orders are settled or in doubt. A queue and not a cursor, so a row that becomes visible late is not missed,
# and settled orders cost nothing however many there are.
BATCHES = """
CREATE TABLE order_batches (
    due_at    timestamptz NOT NULL,
    id        bigint GENERATED ALWAYS AS IDENTITY,
    order_ids varchar[] NOT NULL,
    PRIMARY KEY (due_at, id)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)
"""

# Sends after the first: the claim is committed before the send, the answer after it.
# A claim without an answer means that the order is in doubt.
ATTEMPTS = """
CREATE TABLE attempts (
    order_id   varchar COLLATE "C" NOT NULL,
    number     integer NOT NULL CHECK (number > 1),
    fence      bigint NOT NULL,
    claimed_by varchar NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    send_by    timestamptz NOT NULL,
    accept_by  timestamptz,
    PRIMARY KEY (order_id, number)
)
"""

ATTEMPT_ANSWERS = """
CREATE TABLE attempt_answers (
    order_id          varchar COLLATE "C" NOT NULL,
    number            integer NOT NULL,
    answered_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    answer            varchar NOT NULL CHECK (answer IN ('accepted', 'refused', 'not_sent', 'unknown')),
    reason            varchar,
    exchange_order_id varchar,
    PRIMARY KEY (order_id, number),
    FOREIGN KEY (order_id, number) REFERENCES attempts
)
"""

REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$
"""

APPEND_ONLY = ("orders", "order_keys", "attempts", "attempt_answers")


def upgrade() -> None:
    for statement in (STATUSES, ORDERS, TROUBLES, BY_TIME, KEYS, BATCHES, ATTEMPTS, ATTEMPT_ANSWERS, REFUSE):
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    raise NotImplementedError("trails are never taken away")
