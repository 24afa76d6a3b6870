-- The statements of feeds: a venue's epochs, who owns its feed, what has been applied, and the inbox.
--
-- Made from ordertrail/storage/postgres/feed_statements.py by `make documents`; not written by hand.

-- SESSION_OF
-- Sent by the feed and the processors.
-- The session of an epoch, where the epoch is known.
-- $1 the venue, $2 the epoch.
SELECT session FROM execution_epochs WHERE venue = $1 AND epoch = $2;

-- LOCK_EPOCHS
-- Sent by the feed and the processors.
-- Before an epoch is begun, so that of two that are begun at once the later sees the session of the earlier.
LOCK TABLE execution_epochs IN SHARE ROW EXCLUSIVE MODE;

-- BEGIN_EPOCH
-- Sent by the feed and the processors.
-- An epoch is known from now on; returns its session: the venue's one, or one of its own.
-- $1 the venue, $2 the epoch, $3 the scope of its exec ids: order or epoch.
WITH begun AS (
    INSERT INTO execution_epochs (venue, epoch, session)
    SELECT $1::varchar, $2::varchar,
           coalesce(CASE WHEN $3::varchar = 'order'
                         THEN (SELECT min(session) FROM execution_epochs WHERE venue = $1::varchar) END,
                    (SELECT coalesce(max(session), 0) + 1 FROM execution_epochs))
     WHERE NOT EXISTS (SELECT FROM execution_epochs WHERE venue = $1::varchar AND epoch = $2::varchar)
    RETURNING session
)
SELECT session FROM begun
 UNION ALL
SELECT session FROM execution_epochs WHERE venue = $1::varchar AND epoch = $2::varchar;

-- NEWEST_EPOCH
-- Sent by the feed.
-- The epoch that was first known last.
-- $1 the venue.
SELECT epoch FROM execution_epochs WHERE venue = $1 ORDER BY rank DESC LIMIT 1;

-- COVERAGE
-- Sent by the feed.
-- What has been applied or parked, as ranges that lie apart.
-- $1 the venue, $2 the epoch.
SELECT lower(range) AS first, upper(range) - 1 AS last
  FROM (SELECT unnest(range_agg(seqs)) AS range FROM execution_coverage WHERE venue = $1 AND epoch = $2) AS r
 ORDER BY 1;

-- LIVE_ORDERS
-- Sent by the feed.
-- Of so many placed orders after an id, in the order of ids, which are open by the venue's latest word. It is sent for a
-- venue whose socket cannot send again what it has sent.
-- $1 the id after which, '' the first; $2 how many placed orders.
WITH page AS MATERIALIZED (
    SELECT c.id FROM orders c WHERE c.id > $1::varchar AND c.status = 'COMPLETED' ORDER BY c.id LIMIT $2
)
SELECT page.id, NOT (EXISTS (SELECT FROM orders o WHERE o.id = page.id AND o.status >= 'REJECTED' AND o.reason LIKE 'operator:%' OFFSET 0)
 OR coalesce((SELECT e.ord_status IN ('canceled', 'expired', 'filled', 'rejected') FROM executions e
               WHERE e.order_id = page.id
               ORDER BY (SELECT p.rank FROM execution_epochs p WHERE p.session = e.session AND p.epoch = e.epoch) DESC,
coalesce(e.seq, -1) DESC, e.transact_time DESC
               LIMIT 1),
             EXISTS (SELECT FROM orders o WHERE o.id = page.id AND o.status >= 'REJECTED' OFFSET 0))) AS is_live FROM page ORDER BY page.id;

-- LEASE_FEED
-- Sent by the feed.
-- A process takes the feed, or keeps it; nothing is returned where another process owns it.
-- $1 the venue, $2 the process, $3 seconds until the lease ends.
INSERT INTO feeds (venue, holder, leased_until, fence)
VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 second', 1)
ON CONFLICT (venue) DO UPDATE
   SET holder = excluded.holder, leased_until = excluded.leased_until,
       fence = feeds.fence + CASE WHEN feeds.holder = excluded.holder THEN 0 ELSE 1 END,
       changed_at = CASE WHEN feeds.holder = excluded.holder THEN feeds.changed_at ELSE clock_timestamp() END
 WHERE feeds.holder IS NULL OR feeds.holder = excluded.holder OR feeds.leased_until <= clock_timestamp()
RETURNING fence;

-- RELEASE_FEED
-- Sent by the feed.
-- A process gives the feed up, and a standby need not wait.
-- $1 the venue, $2 the process.
UPDATE feeds SET holder = NULL, leased_until = NULL, changed_at = clock_timestamp() WHERE venue = $1 AND holder = $2;

-- READ_FEED
-- Sent by the feed and the operator.
-- How a venue's feed stands, and where the inbox ends.
-- $1 the venue.
SELECT venue, holder, coalesce(leased_until > clock_timestamp(), false) AS is_owned, epoch, seq, changed_at,
       greatest(extract(epoch FROM clock_timestamp() - coalesce(leased_until, changed_at)), 0)::float8
           AS unowned_seconds
  FROM feeds WHERE venue = $1;

-- PUT_IN_INBOX
-- Sent by the feed.
-- A frame that fills a gap, or that has no place; the processors are woken.
-- $1 the venue, $2 the epoch, $3 the scope of its exec ids, $4 how many reports, $5 the first and $6 the last seq; $7
-- the body.
WITH put AS (
    INSERT INTO execution_inbox (venue, epoch, exec_id_scope, count, first_seq, last_seq, body)
    VALUES ($1::varchar, $2::varchar, $3::varchar, $4::integer, $5::bigint, $6::bigint, $7::text)
    RETURNING venue
)
SELECT pg_notify('execution_inbox', venue) FROM put;

-- PUT_AT_TAIL
-- Sent by the feed.
-- A frame that follows on the tail, which it moves; where the tail is elsewhere nothing is put in, and nothing returned.
-- $1 to $7 as before; $8 the epoch and $9 the seq of the tail.
WITH moved AS (
    INSERT INTO feeds (venue, epoch, seq) VALUES ($1::varchar, $2::varchar, $6::bigint)
    ON CONFLICT (venue) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, changed_at = clock_timestamp()
     WHERE feeds.epoch IS NULL
        OR feeds.epoch = $8::varchar AND feeds.seq = $9::bigint
        OR feeds.epoch <> $8::varchar AND $9::bigint = 0
    RETURNING venue
), put AS (
    INSERT INTO execution_inbox (venue, epoch, exec_id_scope, count, first_seq, last_seq, body)
    SELECT venue, $2::varchar, $3::varchar, $4::integer, $5::bigint, $6::bigint, $7::text FROM moved
    RETURNING venue
)
SELECT pg_notify('execution_inbox', venue) FROM put;

-- INBOX_DEPTH
-- Sent by the feed and the processors.
-- How many frames wait, counted up to a limit.
-- $1 the venue, $2 the limit.
SELECT count(*) AS count FROM (SELECT FROM execution_inbox WHERE venue = $1 LIMIT $2) AS waiting;

-- INBOX_BYTES
-- Sent by the processors.
-- How much room the inbox takes on the disk, or where that is too much, what its frames take: what was deleted leaves
-- room behind that is used again, and the files rarely become smaller. Compressed bodies are measured as they are kept.
-- $1 what is too much, in bytes.
SELECT CASE WHEN files.bytes < $1 THEN files.bytes
            ELSE (SELECT coalesce(sum(pg_column_size(body)), 0) FROM execution_inbox) END AS bytes
  FROM (SELECT pg_total_relation_size('execution_inbox') AS bytes) AS files;

-- PEEK_INBOX
-- Sent by the processors.
-- The oldest frames, left where they are.
-- $1 the venue, $2 how many at the most.
SELECT id, venue, epoch, exec_id_scope, count, first_seq, last_seq, body FROM execution_inbox WHERE venue = $1 ORDER BY id LIMIT $2;

-- DROP_FROM_INBOX
-- Sent by the processors.
-- Frames whose reports are applied or parked.
-- $1 their numbers.
DELETE FROM execution_inbox WHERE id = ANY($1::bigint[]);
