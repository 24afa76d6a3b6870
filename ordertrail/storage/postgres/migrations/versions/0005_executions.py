"""Execution reports: their rows, what has been applied of them, the inbox they wait in, and who feeds it."""

from alembic import op

revision = "0005"
down_revision = "0004"

# Which session an epoch's exec ids belong to, and the order in which epochs were first known.
EPOCHS = """
CREATE TABLE execution_epochs (
    venue    varchar NOT NULL,
    epoch    varchar NOT NULL,
    rank     integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    session  integer NOT NULL,
    known_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, epoch)
)
"""

EXECUTIONS = """
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
) PARTITION BY RANGE (order_id)
"""

# Takes what no other partition takes. Ids begin with the milliseconds since 1970, so a month is a range of them.
DEFAULT_PARTITION = "CREATE TABLE executions_default PARTITION OF executions DEFAULT"

# A trigger of the parent does not fire where somebody changes a partition by its own name.
MAKE_PARTITION = """
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
$$
"""

MONTHS = """
SELECT make_executions_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
  FROM generate_series(-1, 2) AS n
"""

# A report `rejected` waits here for another one, or a row, that shows acceptance.
REJECTED = "CREATE INDEX executions_rejected ON executions (order_id) WHERE ord_status = 'rejected'"

# What refers to a trade is rare, and looked for by what it refers to: a chain is followed from its trade on.
REFERS = """
CREATE INDEX executions_refers ON executions (order_id, session, exec_ref_id) WHERE exec_ref_id IS NOT NULL
"""

# Lists by these statuses; few orders have them beside those that are filled, or many, and then in the order of ids.
# FILLED is not here: a list of it finds one in every few orders, and every fill would pay for it.
ENDED = """
CREATE INDEX orders_ended ON orders (status, id) WHERE status IN ('REJECTED', 'EXPIRED', 'CANCELED')
"""

COVERAGE = """
CREATE TABLE execution_coverage (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue varchar NOT NULL,
    epoch varchar NOT NULL,
    seqs  int8multirange NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)
"""

# What the trades of each transaction add to positions at their face value, and what revisions have changed since;
# joined from time to time.
POSITIONS = """
CREATE TABLE position_sums (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instruments varchar[] NOT NULL,
    sides       varchar[] NOT NULL,
    quantities  numeric[] NOT NULL,
    notionals   numeric[] NOT NULL,
    as_of       timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)
"""

# What refers to an execution and is not in the sums yet, or to none that is there.
REVISIONS = """
CREATE TABLE position_revisions (
    order_id    varchar COLLATE "C" NOT NULL,
    session     integer NOT NULL,
    exec_id     varchar COLLATE "C" NOT NULL,
    exec_ref_id varchar COLLATE "C" NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    reviewed_at   timestamptz,
    PRIMARY KEY (order_id, session, exec_id)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)
"""

INBOX = """
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
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)
"""

# A frame is read once, and soon: packing it takes as long as all that the feed does, and unpacking comes to it.
INBOX_PLAIN = "ALTER TABLE execution_inbox ALTER COLUMN body SET STORAGE EXTERNAL"

# Who feeds a venue's reports, and where the inbox ends. A frame is put in only from there.
FEEDS = """
CREATE TABLE feeds (
    venue        varchar PRIMARY KEY,
    holder       varchar,
    leased_until timestamptz,
    fence        bigint NOT NULL DEFAULT 0,
    epoch        varchar,
    seq          bigint,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70)
"""

# When a report that was parked for want of its order is tried again.
RETRIES = """
CREATE TABLE parked_retries (
    parked_id bigint PRIMARY KEY REFERENCES parked,
    tries     integer NOT NULL DEFAULT 0,
    due_at    timestamptz NOT NULL
)
"""

RETRIES_DUE = "CREATE INDEX parked_retries_due ON parked_retries (due_at)"

# Our executions compared with the venue's: once a day, and by hand.
COMPARISONS = """
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
)
"""

APPEND_ONLY = ("execution_epochs", "executions", "executions_default", "execution_comparisons")


def upgrade() -> None:
    for statement in (EPOCHS, EXECUTIONS, DEFAULT_PARTITION, MAKE_PARTITION, MONTHS, REJECTED, REFERS, ENDED):
        op.execute(statement)
    for statement in (COVERAGE, POSITIONS, REVISIONS, INBOX, INBOX_PLAIN, FEEDS, RETRIES, RETRIES_DUE, COMPARISONS):
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    raise NotImplementedError("trails are never taken away")
