"""What the exchange has shown unasked, since when it remembers, and whose turn it is to look."""

from alembic import op

revision = "0003"
down_revision = "0002"

# Orders that the exchange's own reports or lists have shown while no row of theirs said so: proof of acceptance.
SIGHTINGS = """
CREATE TABLE sightings (
    order_id          varchar COLLATE "C" PRIMARY KEY,
    exchange_order_id varchar NOT NULL,
    seen_at           timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

# A venue that begins a new epoch has forgotten what was before: it may not know an order that it has accepted.
EPOCHS = """
CREATE TABLE venue_epochs (
    venue    varchar NOT NULL,
    epoch    varchar NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, epoch)
)
"""

SWEEP_TURN = "ALTER TABLE sweep_positions ADD COLUMN leased_until timestamptz"

APPEND_ONLY = ("sightings", "venue_epochs")


def upgrade() -> None:
    for statement in (SIGHTINGS, EPOCHS, SWEEP_TURN):
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    raise NotImplementedError("trails are never taken away")
