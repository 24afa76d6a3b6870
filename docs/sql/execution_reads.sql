-- The statements that read executions, and what those of an order come to: the domain's fold, which a test holds equal.
--
-- Nothing of it is kept: sums are made from an order's own range of rows, and trades that were corrected since are found
-- by what refers to them, which is little.
--
-- Made from ordertrail/storage/postgres/execution_read_statements.py by `make documents`; not written by hand.

-- READ_EXECUTED_ORDER
-- Sent by the API's reads.
-- An order with its trail, oldest first, and what was executed of it; its newest executions come as arrays, oldest
-- first, with its first row alone.
-- $1 the order's id.
WITH RECURSIVE newest AS MATERIALIZED (
    SELECT session, exec_id, epoch, epoch_rank, seq, exec_type, ord_status, exchange_order_id, last_qty, last_px, cum_qty, leaves_qty, avg_px, exec_ref_id, reject_reason, transact_time, recorded_at, place
      FROM (
    SELECT e.session, e.exec_id, e.epoch, e.seq, e.exec_type, e.ord_status, e.exchange_order_id, e.last_qty, e.last_px, e.cum_qty, e.leaves_qty, e.avg_px, e.exec_ref_id, e.reject_reason, least(greatest(e.transact_time, '0001-01-02Z'), '9999-12-30Z') AS transact_time, e.recorded_at,
           p.rank AS epoch_rank, coalesce(e.seq, -1) AS place
      FROM executions e JOIN execution_epochs p ON p.session = e.session AND p.epoch = e.epoch
     WHERE e.order_id = (SELECT $1::varchar)
) AS e
     ORDER BY epoch_rank DESC, place DESC, transact_time DESC, session DESC, exec_id DESC
     LIMIT 100
), listed AS (
    SELECT array_agg(session ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_session, array_agg(exec_id ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_exec_id, array_agg(epoch ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_epoch, array_agg(epoch_rank ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_epoch_rank, array_agg(seq ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_seq, array_agg(exec_type ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_exec_type, array_agg(ord_status ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_ord_status, array_agg(exchange_order_id ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_exchange_order_id, array_agg(last_qty ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_last_qty, array_agg(last_px ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_last_px, array_agg(cum_qty ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_cum_qty, array_agg(leaves_qty ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_leaves_qty, array_agg(avg_px ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_avg_px, array_agg(exec_ref_id ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_exec_ref_id, array_agg(reject_reason ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_reject_reason, array_agg(transact_time ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_transact_time, array_agg(recorded_at ORDER BY epoch_rank, place, transact_time, session, exec_id) AS executions_recorded_at
      FROM newest
), word AS (
    SELECT ord_status, cum_qty FROM newest ORDER BY epoch_rank DESC, place DESC, transact_time DESC, session DESC, exec_id DESC LIMIT 1
), face AS (
    SELECT coalesce(sum(e.last_qty), 0) AS quantity, coalesce(sum(e.last_qty * coalesce(e.last_px, 0)), 0) AS notional
      FROM executions e
     WHERE e.order_id = (SELECT $1::varchar) AND e.exec_type = 'trade'
), chain AS (
    SELECT t.order_id, t.session, t.exec_id AS trade_id, t.last_qty AS face_qty,
           t.last_qty * coalesce(t.last_px, 0) AS face_notional,
           t.exec_id, t.epoch, t.seq, t.exec_type, t.last_qty, t.last_px, t.transact_time, t.recorded_at
      FROM (SELECT DISTINCT r.order_id, r.session, r.exec_ref_id FROM executions r
             WHERE r.order_id = (SELECT $1::varchar) AND r.exec_ref_id IS NOT NULL AND r.exec_type <> 'trade') AS r
     CROSS JOIN LATERAL (
        SELECT * FROM executions t
         WHERE t.order_id = r.order_id AND t.session = r.session AND t.exec_id = r.exec_ref_id
           AND t.exec_type = 'trade'
        OFFSET 0
     ) AS t
    UNION ALL
    SELECT c.order_id, c.session, c.trade_id, c.face_qty, c.face_notional,
           r.exec_id, r.epoch, r.seq, r.exec_type, r.last_qty, r.last_px, r.transact_time, r.recorded_at
      FROM chain c
     CROSS JOIN LATERAL (
        SELECT * FROM executions r
         WHERE r.order_id = c.order_id AND r.session = c.session AND r.exec_ref_id = c.exec_id
           AND r.exec_type <> 'trade'
        OFFSET 0
     ) AS r
), counted AS (
    SELECT DISTINCT ON (c.order_id, c.session, c.trade_id) c.order_id, c.face_qty, c.face_notional,
           CASE c.exec_type WHEN 'trade_cancel' THEN 0 ELSE c.last_qty END AS last_qty,
           CASE c.exec_type WHEN 'trade_cancel' THEN 0 ELSE c.last_qty * coalesce(c.last_px, 0) END AS notional,
           c.exec_type = 'trade_cancel' OR c.last_qty < c.face_qty AS is_busted
      FROM chain c JOIN execution_epochs p ON p.session = c.session AND p.epoch = c.epoch
     WHERE c.exec_type IN ('trade', 'trade_cancel', 'trade_correct')
     ORDER BY c.order_id, c.session, c.trade_id,
              p.rank DESC, coalesce(c.seq, -1) DESC, c.transact_time DESC, c.exec_id DESC
), corrected AS (
    SELECT coalesce(sum(last_qty - face_qty), 0) AS quantity, coalesce(sum(notional - face_notional), 0) AS notional,
           coalesce(bool_or(is_busted), false) AS is_busted
      FROM counted
), total AS (
    SELECT face.quantity + corrected.quantity AS quantity, face.notional + corrected.notional AS notional, is_busted
      FROM face CROSS JOIN corrected
)
SELECT id, orders.created_at, orders.recorded_at, type, side, instrument, limit_price, quantity,
       orders.status::text AS status, reason, exchange_order_id, client_order_id, place_by,
       CASE WHEN orders.start_by IS NULL THEN orders.send_by ELSE (SELECT a.send_by FROM attempts a WHERE a.order_id = orders.id AND a.number = 1) END AS send_by, clock_timestamp() AS read_at,
       EXISTS (SELECT FROM order_queue q WHERE q.order_id = $1::varchar OFFSET 0) AS is_queued,
       EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
                WHERE a.order_id = $1::varchar AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE) AS has_open_claim,
       EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = $1::varchar) AS is_forbidden,
       (SELECT c.requested_at FROM cancel_requests c WHERE c.order_id = $1::varchar) AS cancel_requested_at,
       e.*
  FROM orders
  LEFT JOIN LATERAL (
    SELECT total.quantity AS executed_qty, CASE WHEN total.quantity > 0 THEN sign(total.notional) * div(200000000 * abs(total.notional) + total.quantity, 2 * total.quantity) * 0.00000001 END AS executed_avg_px,
           total.is_busted,
           word.ord_status AS word_ord_status, word.cum_qty AS word_cum_qty,
           listed.*
      FROM total CROSS JOIN listed LEFT JOIN word ON true
  ) AS e ON orders.status = (SELECT min(f.status) FROM orders f WHERE f.id = $1::varchar)
 WHERE id = $1::varchar
 ORDER BY coalesce(recorded_at, created_at), orders.status;

-- LIST_EXECUTIONS
-- Sent by the API's reads.
-- A page of an order's executions, oldest first; one row of nulls where it has none, and none where there is no order.
-- $1 the order's id; $2 how many at the most; $3 to $7 the position after which it begins, nulls: at the first.
SELECT page.session, page.exec_id, page.epoch, page.epoch_rank, page.seq, page.exec_type, page.ord_status, page.exchange_order_id, page.last_qty, page.last_px, page.cum_qty, page.leaves_qty, page.avg_px, page.exec_ref_id, page.reject_reason, page.transact_time, page.recorded_at
  FROM (SELECT FROM orders WHERE id = $1::varchar LIMIT 1) AS o
  LEFT JOIN LATERAL (
    SELECT *
      FROM (
    SELECT e.session, e.exec_id, e.epoch, e.seq, e.exec_type, e.ord_status, e.exchange_order_id, e.last_qty, e.last_px, e.cum_qty, e.leaves_qty, e.avg_px, e.exec_ref_id, e.reject_reason, least(greatest(e.transact_time, '0001-01-02Z'), '9999-12-30Z') AS transact_time, e.recorded_at,
           p.rank AS epoch_rank, coalesce(e.seq, -1) AS place
      FROM executions e JOIN execution_epochs p ON p.session = e.session AND p.epoch = e.epoch
     WHERE e.order_id = (SELECT $1::varchar)
) AS e
     WHERE $3::integer IS NULL
        OR (epoch_rank, place, transact_time, session, exec_id) > ($3::integer, $4::bigint, $5::timestamptz, $6::integer, $7::varchar)
     ORDER BY epoch_rank, place, transact_time, session, exec_id
     LIMIT $2
  ) AS page ON true
 ORDER BY epoch_rank, place, transact_time, session, exec_id;
