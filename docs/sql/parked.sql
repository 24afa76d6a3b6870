-- The statements about what the exchange sent and nobody can understand; every one is a transaction of its own.
--
-- Made from ordertrail/storage/postgres/parked_statements.py by `make documents`; not written by hand.

-- PARK
-- Sent by the sweep.
-- Keeps what could not be understood, each thing once for ever, and few of them: a hostile exchange fills no disk.
-- Returns those that are kept now, and whether they are new; what is missing is not kept.
-- $1 the venue; one element a thing: $2 kinds, $3 fields, $4 reasons, $5 as they came, $6 fingerprints, $7 ids of
-- orders, $8 epochs, $9 positions; $10 how many may be new, $11 how many may be open.
WITH things AS (
    SELECT DISTINCT ON (fingerprint) *
      FROM unnest($2::varchar[], $3::varchar[], $4::varchar[], $5::bytea[], $6::bytea[], $7::varchar[], $8::varchar[],
                  $9::bigint[])
           AS t(kind, field, reason, raw, fingerprint, order_id, epoch, seq)
), known AS (
    SELECT p.fingerprint FROM things JOIN parked p USING (fingerprint)
), kept AS (
    INSERT INTO parked (venue, kind, field, reason, raw, fingerprint, order_id, epoch, seq)
    SELECT $1::varchar, kind, field, reason, raw, fingerprint, order_id, epoch, seq FROM things
     WHERE fingerprint NOT IN (SELECT fingerprint FROM known)
     ORDER BY fingerprint
     LIMIT least($10::integer,
                 greatest($11::integer - (SELECT count(*)
                                            FROM (SELECT FROM parked WHERE closed_at IS NULL LIMIT $11::integer) o), 0))
    ON CONFLICT DO NOTHING
    RETURNING fingerprint
)
SELECT fingerprint, true AS is_new FROM kept UNION ALL SELECT fingerprint, false FROM known;

-- COUNT_PARKED
-- Sent by the sweep and the operator.
-- How many things nobody has closed, counted up to a limit.
-- $1 the limit.
SELECT count(*) AS count FROM (SELECT FROM parked WHERE closed_at IS NULL LIMIT $1) AS open;

-- LIST_PARKED
-- Sent by the operator.
-- For a person: things that could not be understood, oldest first.
-- $1 how many at the most, $2 whether only those that nobody has closed.
SELECT p.id, p.parked_at, p.venue, p.kind, p.field, p.reason, p.raw, p.order_id, p.epoch, p.seq, p.closed_at,
       a.operator AS closed_by, a.reason AS evidence
  FROM parked p
  LEFT JOIN operator_actions a ON a.action = 'close_parked' AND a.subject = p.id::text
 WHERE NOT $2::boolean OR p.closed_at IS NULL
 ORDER BY p.id
 LIMIT $1;

-- READ_PARKED
-- Sent by the operator.
-- For a person: one of them.
-- $1 its id.
SELECT p.id, p.parked_at, p.venue, p.kind, p.field, p.reason, p.raw, p.order_id, p.epoch, p.seq, p.closed_at,
       a.operator AS closed_by, a.reason AS evidence
  FROM parked p
  LEFT JOIN operator_actions a ON a.action = 'close_parked' AND a.subject = p.id::text
 WHERE p.id = $1;

-- CLOSE_PARKED
-- Sent by the operator.
-- An operator closes one, once, and says how they know what it was; nothing is returned where none was open.
-- $1 its id, $2 the operator, $3 the door, $4 the evidence.
WITH closed AS (
    UPDATE parked SET closed_at = clock_timestamp() WHERE id = $1 AND closed_at IS NULL RETURNING id, order_id
), acted AS (
    INSERT INTO operator_actions (action, operator, origin, reason, order_id, subject, before, after)
    SELECT 'close_parked', $2::varchar, $3::varchar, $4::varchar, order_id, id::text, NULL, NULL
      FROM closed
    RETURNING id, acted_at
)
SELECT id FROM closed;
