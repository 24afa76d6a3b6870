"""The statements by which processors keep reports in order: what is tried again, joined, and made room for."""

from ordertrail.storage.execution_rows import PARKED_RETRY_SECONDS, REPORT_KIND

# How long a parked report waits for each try, and the number of the last one, from 0.
_PAUSES = f"(ARRAY{list(PARKED_RETRY_SECONDS)})"
_LAST_TRY = len(PARKED_RETRY_SECONDS) - 1

# Parked reports that are to be tried again now, and whether their order is known by now.
# $1 the venue, $2 how many at the most.
DUE_RETRIES = """
SELECT r.parked_id, r.tries, p.epoch, p.raw, p.order_id,
       EXISTS (SELECT FROM orders o WHERE o.id = p.order_id OFFSET 0) AS is_known
  FROM (SELECT * FROM parked_retries WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $2) AS r
 CROSS JOIN LATERAL (SELECT * FROM parked p WHERE p.id = r.parked_id AND p.venue = $1::varchar OFFSET 0) AS p
 ORDER BY r.parked_id
"""

# An open parked report that has become a row of `executions` is closed; another one is tried again later, or, when it
# has been tried for the last time, it is an orphan and stays parked. Returns what is closed, and the new orphans.
# $1 ids; $2 of each how often it had been tried; $3 whether it is to be tried again.
END_RETRIES = f"""
WITH tried AS MATERIALIZED (
    SELECT t.*, p.venue, p.epoch, p.order_id, p.closed_at, p.report
      FROM unnest($1::bigint[], $2::integer[], $3::boolean[]) AS t(parked_id, tries, is_wanted)
     CROSS JOIN LATERAL (SELECT q.*, convert_from(raw, 'UTF8')::json AS report FROM parked q
                          WHERE q.id = t.parked_id OFFSET 0) AS p
     ORDER BY t.parked_id
), applied AS MATERIALIZED (
    SELECT parked_id FROM tried t
     WHERE EXISTS (
           SELECT FROM executions e
            WHERE e.order_id = t.order_id AND e.exec_id = t.report ->> 'exec_id'
              AND e.session = (SELECT session FROM execution_epochs s WHERE s.venue = t.venue AND s.epoch = t.epoch)
              AND e.exec_type = t.report ->> 'exec_type'
              AND e.last_qty = (t.report ->> 'last_qty')::bigint
              AND e.last_px IS NOT DISTINCT FROM (t.report ->> 'last_px')::numeric
              AND e.exec_ref_id IS NOT DISTINCT FROM t.report ->> 'exec_ref_id'
           OFFSET 0)
), closed AS (
    UPDATE parked SET closed_at = clock_timestamp()
     WHERE id = ANY(ARRAY(SELECT parked_id FROM applied)) AND closed_at IS NULL
    RETURNING id
), given_up AS MATERIALIZED (
    SELECT * FROM tried
     WHERE is_wanted AND tries >= {_LAST_TRY} AND closed_at IS NULL
       AND (parked_id IN (SELECT parked_id FROM applied)) IS NOT TRUE
), orphaned AS (
    INSERT INTO orphans (venue, epoch, client_order_id, exchange_order_id)
    SELECT venue, epoch, order_id, coalesce(report ->> 'exchange_order_id', '') FROM given_up
     WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = given_up.order_id OFFSET 0)
     ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING
    RETURNING client_order_id
), ended AS (
    DELETE FROM parked_retries r
     WHERE r.parked_id = ANY(ARRAY(SELECT parked_id FROM applied
                                    UNION ALL SELECT parked_id FROM given_up
                                    UNION ALL SELECT parked_id FROM tried WHERE NOT is_wanted OR closed_at IS NOT NULL))
), later AS (
    UPDATE parked_retries r
       SET tries = r.tries + 1,
           due_at = clock_timestamp()
                    + {_PAUSES}[r.tries + 2] * interval '1 second'
     WHERE r.parked_id = ANY(ARRAY(SELECT parked_id FROM tried WHERE is_wanted AND tries < {_LAST_TRY}))
       AND (r.parked_id IN (SELECT parked_id FROM applied)) IS NOT TRUE
       AND ((r.parked_id, r.tries) IN (SELECT parked_id, tries FROM tried WHERE closed_at IS NULL)) IS TRUE
)
SELECT ARRAY(SELECT id FROM closed ORDER BY id) AS closed,
       ARRAY(SELECT DISTINCT client_order_id FROM orphaned ORDER BY 1) AS orphaned
"""

# An open parked report, for a person who wants it applied.
# $1 its id.
REPLAYABLE = f"""
SELECT venue, epoch, raw FROM parked WHERE id = $1 AND kind = '{REPORT_KIND}' AND closed_at IS NULL
"""

# Joins what many transactions have noted; what another process is joining is left to it. A reader sees all of it or
# none, whichever rows it is in.
# $1 the venue; $2 rows at the most; $3 rows at the least.
COMPACT_COVERAGE = """
WITH joined AS (
    DELETE FROM execution_coverage
     WHERE id = ANY(ARRAY(SELECT id FROM execution_coverage
                           WHERE venue = $1::varchar
                             AND (SELECT count(*) FROM (SELECT FROM execution_coverage LIMIT $3::integer) AS noted)
                                 >= $3::integer
                           ORDER BY id LIMIT $2::integer FOR UPDATE SKIP LOCKED))
    RETURNING epoch, seqs
)
INSERT INTO execution_coverage (venue, epoch, seqs)
SELECT $1::varchar, epoch, range_agg(seqs) FROM joined GROUP BY epoch
"""

# The months that executions may be in soon, and the one before this.
MAKE_PARTITIONS = """
SELECT make_executions_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
  FROM generate_series(-1, 2) AS n
"""

# How many executions are in the partition that takes what no other takes, counted up to a limit.
# $1 the limit.
COUNT_MISPLACED = """
SELECT count(*) AS count FROM (SELECT FROM executions_default LIMIT $1) AS misplaced
"""
