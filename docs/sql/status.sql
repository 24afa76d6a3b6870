-- The statement of the status: what the database knows of what waits for a person.
--
-- Made from ordertrail/storage/postgres/status_statements.py by `make documents`; not written by hand.

-- STATUS_FIGURES
-- Sent by every process and the operator.
-- Every ten seconds in every process of the API, and for `ordertrail status` where no API answers: the schema, orders in
-- doubt, what is parked and orphaned, late arrivals of a day among the newest 1,000 orders that the exchange showed
-- unasked, and the operator's switch. What a hostile exchange can make many is counted up to 10,000. Of reports: the
-- feed that was changed last, the oldest frames in the inbox, and up to where the feed's epoch is applied. Of the queue
-- of orders: how many wait, and since when the oldest does. Of the event log: the oldest day that is kept, and rows that
-- have none.
WITH doubt AS (
SELECT count(*) AS count,
       count(*) FILTER (WHERE (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'UNRESOLVED' OFFSET 0)
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'COMPLETED' OFFSET 0)
      OR (EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = d.order_id) AND NOT (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' AND o.reason LIKE 'operator:%' OFFSET 0)
 OR coalesce((SELECT e.ord_status IN ('canceled', 'expired', 'filled', 'rejected') FROM executions e
               WHERE e.order_id = d.order_id
               ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC
               LIMIT 1),
             EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status >= 'REJECTED' OFFSET 0)))))
 AND (NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'NOT_PLACED' OFFSET 0) OR (EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND (o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted')) OFFSET 0)
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = d.order_id AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = d.order_id OFFSET 0))))) AS unresolved,
       coalesce(extract(epoch FROM clock_timestamp() - min(d.since)), 0)::float8 AS oldest_seconds,
       (SELECT count(*) FROM (SELECT FROM orphans WHERE closed_at IS NULL LIMIT 10000) AS open) AS open_orphans
  FROM doubts d
 WHERE d.settled_at IS NULL
), late AS MATERIALIZED (
    SELECT s.order_id, EXISTS (SELECT FROM orders o WHERE o.id = s.order_id AND o.status >= 'REJECTED' OFFSET 0) AS is_over
      FROM (SELECT order_id FROM sightings
             WHERE seen_at > clock_timestamp() - interval '24 hours'
             ORDER BY seen_at DESC
             LIMIT 1000) AS s
     WHERE EXISTS (SELECT FROM orders o WHERE o.id = s.order_id AND o.status = 'NOT_PLACED' OFFSET 0)
), switch AS (
    SELECT action = 'halt' AS is_halted, operator, acted_at, reason
      FROM operator_actions WHERE action IN ('halt', 'resume')
     ORDER BY id DESC
     LIMIT 1
), feed AS MATERIALIZED (
    SELECT venue, holder, coalesce(leased_until > clock_timestamp(), false) AS is_owned, epoch, seq,
           extract(epoch FROM clock_timestamp() - coalesce(leased_until, changed_at))::float8 AS free_seconds
      FROM feeds ORDER BY changed_at DESC
     LIMIT 1
)
SELECT clock_timestamp() AS read_at,
       (SELECT version_num FROM alembic_version) AS schema_version,
       doubt.count AS doubts, doubt.unresolved, doubt.oldest_seconds,
       (SELECT count(*) FROM (SELECT FROM parked WHERE closed_at IS NULL LIMIT 10000) AS open) AS parked,
       (SELECT count(*) FROM (SELECT FROM parked WHERE closed_at IS NULL AND kind = 'execution_report'
                               LIMIT 10000) AS open) AS parked_reports,
       doubt.open_orphans AS orphans,
       (SELECT count(*) FROM late) AS late_arrivals,
       ARRAY(SELECT order_id FROM late WHERE NOT is_over LIMIT 5) AS live_late_arrivals,
       coalesce(switch.is_halted, false) AS is_halted,
       switch.operator AS halt_operator, switch.acted_at AS halt_acted_at, switch.reason AS halt_reason,
       feed.venue AS feed_venue, feed.holder AS feed_holder, feed.is_owned AS feed_is_owned, feed.epoch AS feed_epoch,
       feed.seq AS feed_seq, feed.free_seconds AS feed_free_seconds,
       (SELECT upper(seqs) - 1
          FROM (SELECT unnest(range_agg(c.seqs)) AS seqs FROM execution_coverage c
                 WHERE c.venue = feed.venue AND c.epoch = feed.epoch) AS ranges
         WHERE lower(seqs) <= 1) AS applied_up_to,
       (SELECT count(*) FROM (SELECT FROM execution_inbox ORDER BY id LIMIT 10000) AS waiting) AS inbox_frames,
       (SELECT extract(epoch FROM clock_timestamp() - put_at)::float8
          FROM execution_inbox ORDER BY id LIMIT 1) AS inbox_oldest_seconds,
       (SELECT max(as_of) FROM position_sums) AS last_trade_applied_at,
       (SELECT coalesce(sum(delta), 0)::bigint FROM order_queue_sums) AS queued_orders,
       (SELECT extract(epoch FROM clock_timestamp() - queued_at)::float8
          FROM order_queue ORDER BY order_id LIMIT 1) AS queued_oldest_seconds,
       (SELECT replace(right(min(c.relname), 10), '_', '-')
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'event_log'::regclass AND c.relname <> 'event_log_default') AS events_oldest_day,
       (SELECT count(*) FROM (SELECT FROM event_log_default ORDER BY txid, id LIMIT 10000) AS misplaced)
           AS events_misplaced
  FROM doubt LEFT JOIN switch ON true LEFT JOIN feed ON true;
