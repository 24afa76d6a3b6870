"""What a person on call leaves and is left with: operators' actions, things that could not be read, and true times."""

from alembic import op

revision = "0004"
down_revision = "0003"

# A row that went through the spool has the time of its step, and beside it when it was written. Only rows of a caller
# who traces have a trace. Without a default, so that no row is written anew.
TRAIL = """
ALTER TABLE orders ADD COLUMN recorded_at timestamp, ADD COLUMN trace_id varchar
"""

# What executions lead to is no trouble: nearly every order will have such a row.
FAILED = """
CREATE INDEX orders_failed ON orders (id)
 WHERE status IN ('EXCHANGE_CREATION_FAILED', 'DATABASE_PERSISTENCE_FAILED', 'EXCHANGE_OUTCOME_UNKNOWN', 'UNRESOLVED',
                  'NOT_PLACED')
"""

# Everything that a person did, by whatever door. The newest of `halt` and `resume` is the switch.
ACTIONS = """
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
)
"""

ACTIONS_SWITCH = "CREATE INDEX operator_actions_switch ON operator_actions (id) WHERE action IN ('halt', 'resume')"

ACTIONS_ORDER = "CREATE INDEX operator_actions_order ON operator_actions (order_id) WHERE order_id IS NOT NULL"

HALT_STAYS = """
INSERT INTO operator_actions (acted_at, action, operator, origin, reason)
SELECT changed_at, CASE WHEN is_on THEN 'halt' ELSE 'resume' END, changed_by, 'cli', reason
  FROM switches WHERE name = 'halt'
"""

# For processes of the release before this one, which are still running; they read it every second.
SWITCHES = """
CREATE VIEW switches AS
SELECT 'halt'::varchar AS name, action = 'halt' AS is_on, acted_at AS changed_at, operator AS changed_by, reason
  FROM operator_actions WHERE action IN ('halt', 'resume')
 ORDER BY id DESC
 LIMIT 1
"""

# What the exchange sent and nobody can understand. It has a key of its own, for it may have no id; the same thing
# again is the same row.
PARKED = """
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
)
"""

PARKED_OPEN = "CREATE INDEX parked_open ON parked (id) WHERE closed_at IS NULL"

ORPHANS = """
ALTER TABLE orphans ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
                    ADD COLUMN instrument varchar,
                    ADD COLUMN side varchar,
                    ADD COLUMN quantity bigint,
                    ADD COLUMN closed_at timestamptz
"""

ORPHANS_OPEN = "CREATE INDEX orphans_open ON orphans (id) WHERE closed_at IS NULL"

# For late arrivals of the last day.
SIGHTINGS_SEEN = "CREATE INDEX sightings_seen_at ON sightings (seen_at)"

# An operator closes a thing once; why stands in operator_actions, in the same transaction. Until then what was not
# known of it may be filled in.
REFUSE_ALL_BUT_CLOSING = """
CREATE FUNCTION refuse_all_but_closing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL OR NOT to_jsonb(NEW) @> jsonb_strip_nulls(to_jsonb(OLD)) THEN
        RAISE EXCEPTION '% can only be closed, and once', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$
"""

CLOSED_ONCE = ("parked", "orphans")


def upgrade() -> None:
    for statement in (TRAIL, FAILED, "DROP INDEX orders_troubles"):
        op.execute(statement)
    for statement in (ACTIONS, ACTIONS_SWITCH, ACTIONS_ORDER, HALT_STAYS, "DROP TABLE switches", SWITCHES):
        op.execute(statement)
    op.execute("DROP TRIGGER append_only ON orphans")
    for statement in (PARKED, PARKED_OPEN, ORPHANS, ORPHANS_OPEN, SIGHTINGS_SEEN, REFUSE_ALL_BUT_CLOSING):
        op.execute(statement)
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_actions "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    for table in CLOSED_ONCE:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER closed_once BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_all_but_closing()"
        )


def downgrade() -> None:
    raise NotImplementedError("trails are never taken away")
