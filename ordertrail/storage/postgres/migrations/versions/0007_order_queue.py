"""The queue of orders: what was recorded and nobody has sent yet."""

from alembic import op

revision = "0007"
down_revision = "0006"

# An order that waits has a row here, written with its INITIATED. Who takes it out, to send it, to cancel it or because
# its time is up, deletes the row in the transaction in which that is recorded: so it is one of them. Ids begin with
# the time, so the oldest come first.
QUEUE = """
CREATE TABLE order_queue (
    order_id   varchar COLLATE "C" PRIMARY KEY,
    instrument varchar NOT NULL,
    queued_at  timestamptz NOT NULL,
    start_by   timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)
"""

QUEUE_START_BY = "CREATE INDEX order_queue_start_by ON order_queue (start_by)"

# How many orders wait, as what each transaction has added or taken away; joined from time to time.
SUMS = """
CREATE TABLE order_queue_sums (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delta bigint NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)
"""

# Until when the first send of an order that was queued may start; it marks such an order. Without a default, so that no
# row is written anew.
START_BY = "ALTER TABLE orders ADD COLUMN start_by timestamptz"

# The first send of a queued order is claimed too, and has the number 1.
FIRST_CLAIM = """
ALTER TABLE attempts DROP CONSTRAINT attempts_number_check, ADD CONSTRAINT attempts_number_check CHECK (number > 0)
"""


def upgrade() -> None:
    for statement in (QUEUE, QUEUE_START_BY, SUMS, START_BY, FIRST_CLAIM):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("trails are never taken away")
