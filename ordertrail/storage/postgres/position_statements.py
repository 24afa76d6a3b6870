"""The statements of positions: what transactions have noted is joined, and what refers to trades is reckoned in.

The sums hold each trade at its face value, and what its busts and corrections make of it but for those in
`position_revisions`. At every moment the sums and what those revisions come to are together what the executions come
to, so that it does not matter whether, when, and in which order anything is reckoned in. A revision whose trade is not
there counts nothing and stays; read after a minute no more, it is looked for by the processors alone.
"""

from ordertrail.domain.execution import TRADE
from ordertrail.storage.execution_rows import STRAY_PAUSE_SECONDS, STRAY_SECONDS
from ordertrail.storage.postgres import fragments


def _change(of: str) -> str:
    """What the latest of a chain says, less what the latest of those said that are reckoned in."""
    return (
        f"(array_agg({of} ORDER BY {fragments.CHAIN_LATEST_FIRST}))[1]\n"
        f"           - (array_agg({of} ORDER BY {fragments.CHAIN_LATEST_FIRST}) FILTER (WHERE c.noted_as IS NULL))[1]"
    )


def _revised(of: str) -> str:
    """By instrument and side, what revisions change that are not in the sums yet.

    `of` are the rows of `position_revisions` to begin with: from each up to its trade, and from there down through all
    that refers to it, for a chain is reckoned in as a whole. Each step is a look-up by a key. `noted_as`: where in that
    table it stands; null: it is reckoned in.
    """
    return f"""\
climbed AS (
    SELECT order_id, session, exec_id, exec_ref_id, false AS is_trade FROM {of}
    UNION
    SELECT c.order_id, c.session, e.exec_id, e.exec_ref_id, e.exec_type = '{TRADE}'
      FROM climbed c
     CROSS JOIN LATERAL (
        SELECT * FROM executions e
         WHERE e.order_id = c.order_id AND e.session = c.session AND e.exec_id = c.exec_ref_id
        OFFSET 0
     ) AS e
     WHERE NOT c.is_trade
), chain AS (
    SELECT t.order_id, t.session, t.exec_id AS trade_id, t.exec_id, t.epoch, t.seq, t.exec_type, t.last_qty, t.last_px,
           t.transact_time, t.recorded_at, NULL::tid AS noted_as
      FROM climbed c
     CROSS JOIN LATERAL (
        SELECT * FROM executions t
         WHERE t.order_id = c.order_id AND t.session = c.session AND t.exec_id = c.exec_id
        OFFSET 0
     ) AS t
     WHERE c.is_trade
    UNION ALL
    SELECT c.order_id, c.session, c.trade_id, r.exec_id, r.epoch, r.seq, r.exec_type, r.last_qty, r.last_px,
           r.transact_time, r.recorded_at,
           (SELECT q.ctid FROM position_revisions q
             WHERE q.order_id = r.order_id AND q.session = r.session AND q.exec_id = r.exec_id)
      FROM chain c
     {fragments.CHAIN_LINKS}
), changed AS (
    SELECT c.order_id,
           {_change(fragments.CHAIN_QUANTITY)} AS quantity,
           {_change(fragments.CHAIN_NOTIONAL)} AS notional,
           max(c.recorded_at) AS as_of
      FROM chain c JOIN execution_epochs p ON p.session = c.session AND p.epoch = c.epoch
     WHERE {fragments.CHAIN_COUNTED}
     GROUP BY c.order_id, c.session, c.trade_id
), revised AS (
    SELECT o.instrument, o.side, sum(c.quantity) AS quantity, sum(c.notional) AS notional, max(c.as_of) AS as_of
      FROM changed c
     {fragments.initiated_row_of("c.order_id")}
     GROUP BY o.instrument, o.side
)"""


# Not the parameters themselves: a plan for their values looks a little cheaper than one for any, so that the statement
# would be planned each time, which takes longer than to run it.
_AFTER = "(SELECT $2::varchar)"

# A page of positions by instrument: what is summed up, and what revisions change that are not in the sums yet. One row
# of nulls beside the time where there is none.
# $1 how many at the most; $2 the instrument after which it begins, '': at the first.
LIST_POSITIONS = f"""
WITH RECURSIVE fresh AS (
    SELECT * FROM position_revisions
     WHERE reviewed_at IS NULL OR noted_at > clock_timestamp() - {STRAY_SECONDS} * interval '1 second'
), {_revised("fresh")}, sums AS (
    SELECT s.instrument, s.side, s.quantity, s.notional
      FROM position_sums p
     CROSS JOIN LATERAL unnest(p.instruments, p.sides, p.quantities, p.notionals)
        AS s(instrument, side, quantity, notional)
     WHERE s.instrument COLLATE "C" > {_AFTER}
    UNION ALL
    SELECT instrument, side, quantity, notional FROM revised WHERE instrument COLLATE "C" > {_AFTER}
), page AS (
    SELECT instrument,
           coalesce(sum(quantity) FILTER (WHERE side = 'buy'), 0) AS buy_qty,
           coalesce(sum(notional) FILTER (WHERE side = 'buy'), 0) AS buy_notional,
           coalesce(sum(quantity) FILTER (WHERE side = 'sell'), 0) AS sell_qty,
           coalesce(sum(notional) FILTER (WHERE side = 'sell'), 0) AS sell_notional
      FROM sums
     GROUP BY instrument
     ORDER BY instrument COLLATE "C"
     LIMIT (SELECT $1::bigint)
)
SELECT page.instrument, page.buy_qty, {fragments.average("page.buy_qty", "page.buy_notional")} AS buy_avg_px,
       page.sell_qty, {fragments.average("page.sell_qty", "page.sell_notional")} AS sell_avg_px,
       as_of.at AS as_of
  FROM (SELECT greatest((SELECT max(p.as_of) FROM position_sums p),
                        (SELECT max(r.as_of) FROM revised r)) AS at) AS as_of
  LEFT JOIN page ON true
 ORDER BY page.instrument COLLATE "C"
"""

# Joins what many transactions have noted; what another process is joining is left to it. A reader sees all of it or
# none, whichever rows it is in.
# $1 rows at the most; $2 rows at the least.
COMPACT_POSITIONS = """
WITH joined AS (
    DELETE FROM position_sums
     WHERE id = ANY(ARRAY(SELECT id FROM position_sums
                           WHERE (SELECT count(*) FROM (SELECT FROM position_sums LIMIT $2::integer) AS noted)
                                 >= $2::integer
                           ORDER BY id LIMIT $1::integer FOR UPDATE SKIP LOCKED))
    RETURNING instruments, sides, quantities, notionals, as_of
), summed AS (
    SELECT instrument, side, sum(quantity) AS quantity, sum(notional) AS notional
      FROM joined
     CROSS JOIN unnest(instruments, sides, quantities, notionals) AS u(instrument, side, quantity, notional)
     GROUP BY instrument, side
)
INSERT INTO position_sums (instruments, sides, quantities, notionals, as_of)
SELECT array_agg(instrument ORDER BY instrument, side), array_agg(side ORDER BY instrument, side),
       array_agg(quantity ORDER BY instrument, side), array_agg(notional ORDER BY instrument, side),
       (SELECT max(as_of) FROM joined)
  FROM summed
HAVING count(*) > 0
"""

# Before revisions are reckoned in, in a statement of its own: who reckons next must see what was reckoned before, or a
# chain would be counted by two, each without what the other knows. It holds up no processor that notes more.
LOCK_REVISIONS = """
LOCK TABLE position_revisions IN SHARE UPDATE EXCLUSIVE MODE
"""

# Adds to the sums what revisions change, and takes them, and all others of their chains, off the list; those without a
# trade are tried again later. What other transactions note meanwhile stays on it. Returns how many were looked at.
# $1 how many at the most.
RECKON_REVISIONS = f"""
WITH RECURSIVE due AS MATERIALIZED (
    SELECT order_id, session, exec_id, exec_ref_id, ctid AS noted_as FROM position_revisions
     WHERE reviewed_at IS NULL OR noted_at > clock_timestamp() - {STRAY_SECONDS} * interval '1 second'
        OR reviewed_at <= clock_timestamp() - {STRAY_PAUSE_SECONDS} * interval '1 second'
     ORDER BY reviewed_at NULLS FIRST, order_id, session, exec_id
     LIMIT (SELECT $1::bigint)
), {_revised("due")}, reckoned AS (
    DELETE FROM position_revisions
     WHERE ctid = ANY(ARRAY(SELECT noted_as FROM chain WHERE noted_as IS NOT NULL))
), waiting AS (
    UPDATE position_revisions SET reviewed_at = clock_timestamp()
     WHERE ctid = ANY(ARRAY(SELECT noted_as FROM due EXCEPT SELECT noted_as FROM chain))
), summed AS (
    INSERT INTO position_sums (instruments, sides, quantities, notionals, as_of)
    SELECT array_agg(instrument), array_agg(side), array_agg(quantity), array_agg(notional), max(as_of)
      FROM (SELECT * FROM revised ORDER BY instrument, side) AS r
    HAVING count(*) > 0
)
SELECT count(*) AS count FROM due
"""
