"""What reconciliation keeps beside the trails: orders in doubt, wishes to cancel, and what the exchange has unasked."""

from alembic import op

revision = "0002"
down_revision = "0001"

# One row an order on which claims, cancels and settling serialise; made when an order is first looked after, and
# kept, so that a fence never goes back.
DOUBTS = """
CREATE TABLE doubts (
    order_id     varchar COLLATE "C" PRIMARY KEY,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until timestamptz,
    fence        bigint NOT NULL DEFAULT 0,
    tries        integer NOT NULL DEFAULT 0,
    last_seen    varchar,
    settled_at   timestamptz
) WITH (fillfactor = 70)
"""

DOUBTS_DUE = "CREATE INDEX doubts_due ON doubts (next_at) WHERE settled_at IS NULL"

CANCELS = """
CREATE TABLE cancel_requests (
    order_id     varchar COLLATE "C" PRIMARY KEY,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

# Orders at the exchange that we never recorded: kept for a person, counted, alerted on.
ORPHANS = """
CREATE TABLE orphans (
    venue             varchar NOT NULL,
    epoch             varchar NOT NULL,
    client_order_id   varchar NOT NULL,
    exchange_order_id varchar NOT NULL,
    seen_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, epoch, client_order_id, exchange_order_id)
)
"""

SWEEPS = """
CREATE TABLE sweep_positions (
    venue varchar PRIMARY KEY,
    epoch varchar NOT NULL,
    seq   bigint NOT NULL
)
"""

# The operator's switch: one row, changed by `ordertrail halt` and `resume`.
SWITCHES = """
CREATE TABLE switches (
    name       varchar PRIMARY KEY,
    is_on      boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by varchar NOT NULL,
    reason     varchar
)
"""

APPEND_ONLY = ("cancel_requests", "orphans")


def upgrade() -> None:
    for statement in (DOUBTS, DOUBTS_DUE, CANCELS, ORPHANS, SWEEPS, SWITCHES):
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    raise NotImplementedError("trails are never taken away")
