"""The statements that list orders, put together from constant parts; only values that a client chose are bound.

A list is driven by ids, newest first, and never sorts the table. Every trail begins with INITIATED, and that row has
the order's own fields, so it stands for the order.
"""

from collections.abc import Sequence

from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.storage.order_reads import WALKED_ROWS_MAX
from ordertrail.storage.postgres import fragments

# What an order has that is not placed, not yet, or not for certain; the index orders_failed has these rows alone.
_FAILED = (
    OrderStatus.EXCHANGE_CREATION_FAILED,
    OrderStatus.DATABASE_PERSISTENCE_FAILED,
    OrderStatus.EXCHANGE_OUTCOME_UNKNOWN,
    OrderStatus.UNRESOLVED,
    OrderStatus.NOT_PLACED,
)
_IS_FAILED = f"s.status IN {fragments.words(_FAILED)}"

# How most orders end that are not filled; the index orders_ended has these rows alone.
_ENDED = (OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.CANCELED)
_IS_ENDED = f"s.status IN {fragments.words(_ENDED)}"

_EVERY_ORDER = "orders o"

# From NOT_PLACED upwards a status decides the outcome alone, and an index tells the status.
_IS_UNDECIDED = "NOT EXISTS (SELECT FROM orders h WHERE h.id = o.id AND h.status >= 'NOT_PLACED')"

# `fold_status` and `fold_outcome` in SQL, branch for branch; a test holds them against each other.
# The enum is declared in rising precedence. A missing reason makes a comparison NULL, which is not true.
_FOLD = f"""
     CROSS JOIN LATERAL (
        SELECT max(r.status) AS status,
               CASE WHEN max(r.status) >= 'COMPLETED'
                      OR bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'accepted')
                    THEN 'placed'
                    WHEN bool_or(r.status = 'NOT_PLACED')
                    THEN 'not_placed'
                    WHEN bool_or(r.status IN ('UNRESOLVED', 'EXCHANGE_OUTCOME_UNKNOWN'))
                      OR bool_or(starts_with(r.reason, 'unknown:'))
                      OR {fragments.has_open_claim("o.id", column=25)}
                    THEN 'unknown'
                    WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                      OR bool_or(starts_with(r.reason, 'refused:'))
                    THEN 'not_placed'
                    WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                    THEN CASE WHEN o.place_by IS NULL OR {fragments.is_forbidden("o.id")}
                              THEN 'not_placed' ELSE 'pending' END
                    WHEN {fragments.is_queued("o.id")}
                    THEN 'pending'
                    ELSE 'unknown'
               END AS outcome
          FROM orders r
         WHERE r.id = o.id
     ) AS fold"""


def key_is(key: str) -> str:
    """A key has one order for ever; the table of keys finds it."""
    return f"o.id = (SELECT k.order_id FROM order_keys k WHERE k.client_order_id = {key})"


def list_orders(
    *,
    statuses: Sequence[OrderStatus],
    outcome: Outcome | None,
    has_key: bool,
    before: str | None,
    conditions: Sequence[str],
) -> str:
    """The statement for one combination of filters; $1 is the page's size.

    `before` is the parameter of an id above all wanted ones. `conditions` are on the INITIATED row `o`; `has_key`
    says that they name one order, which is then all that is read.
    """
    wanted = list(conditions)
    if outcome is not None:
        wanted.append(f"fold.outcome = '{outcome.value}'")
    if statuses and has_key:
        wanted.append(f"fold.status IN {fragments.words(statuses)}")
    fold = _FOLD if outcome is not None or (statuses and has_key) else ""

    if statuses and not has_key:
        source = _walked(statuses, before) if is_walked(statuses) else _with_status(statuses, before)
        return _page(source + fold, wanted, by="s.id")
    if outcome in (Outcome.NOT_PLACED, Outcome.PENDING) and not has_key:
        return _page(_with_failure(before, or_queued=outcome is Outcome.PENDING) + fold, wanted, by="s.id")
    if before is not None:
        wanted.append(f"o.id < {before}")
    if outcome is Outcome.UNKNOWN and not has_key:
        wanted.append(_IS_UNDECIDED)
    return _page(_EVERY_ORDER + fold, wanted, by="o.id")


def _page(source: str, conditions: Sequence[str], *, by: str) -> str:
    """The trails are read in a loop over the page's ids, however large a page the planner expects."""
    return f"""
WITH page AS MATERIALIZED (
    SELECT o.id,
           {fragments.has_open_claim("o.id")} AS has_open_claim,
           {fragments.is_forbidden("o.id")} AS is_forbidden,
           {fragments.is_queued("o.id")} AS is_queued
      FROM {source}
     WHERE {_all("o.status = 'INITIATED'", *conditions, indent=5)}
     ORDER BY {by} DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, page.is_queued, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, recorded_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, coalesce(r.recorded_at, r.created_at), r.rank
"""


def is_walked(statuses: Sequence[OrderStatus]) -> bool:
    """Whether no index tells the orders that stand there now: most orders have been there once, or are there."""
    is_indexed = set(statuses) <= set(_FAILED) or (len(statuses) == 1 and statuses[0] in _ENDED)
    return bool(statuses) and not is_indexed


def _walked(statuses: Sequence[OrderStatus], before: str | None) -> str:
    """The first row of each order in the falling order of the key is its present status; so far and no further.

    Where nearly every order has gone on, all of them are read for those few that have not, and that takes several
    pages. Probing each for a higher row would take several times as long.
    """
    conditions = ["true"] if before is None else ["true", f"l.id < {before}"]
    return f"""\
(SELECT w.id
              FROM (SELECT DISTINCT ON (r.id) r.id, r.status
                      FROM (SELECT l.id, l.status FROM orders l
                             WHERE {_all(*conditions, indent=29)}
                             ORDER BY l.id DESC, l.status DESC
                             LIMIT {WALKED_ROWS_MAX}) AS r
                     ORDER BY r.id DESC, r.status DESC) AS w
             WHERE w.status IN {fragments.words(statuses)}) AS s
     {fragments.initiated_row_of("s.id")}"""


def _with_status(statuses: Sequence[OrderStatus], before: str | None) -> str:
    """The row of a status is unique in its trail; it is the present status where no row outranks it."""
    conditions = [f"s.status IN {fragments.words(statuses)}"]
    if before is not None:
        conditions.append(f"s.id < {before}")
    conditions.append(_IS_FAILED if statuses[0] in _FAILED else _IS_ENDED)
    conditions.append("NOT EXISTS (SELECT FROM orders h WHERE h.id = s.id AND h.status > s.status)")
    return f"""\
(SELECT id FROM orders s
             WHERE {_all(*conditions, indent=13)}) AS s
     {fragments.initiated_row_of("s.id")}"""


def _with_failure(before: str | None, *, or_queued: bool) -> str:
    """What is not placed, or pending, is so by the reason of a row of a failure; or pending because it is queued."""
    conditions, queued_conditions = ["true"], ["true"]
    if before is not None:
        conditions.append(f"s.id < {before}")
        queued_conditions.append(f"q.order_id < {before}")
    conditions.append(_IS_FAILED)
    queued = f"""
            UNION ALL
            (SELECT q.order_id FROM order_queue q
             WHERE {_all(*queued_conditions, indent=13)}
             ORDER BY q.order_id DESC)"""
    return f"""\
((SELECT DISTINCT id FROM orders s
             WHERE {_all(*conditions, indent=13)}
             ORDER BY id DESC){queued if or_queued else ""}) AS s
     {fragments.initiated_row_of("s.id")}"""


def _all(*conditions: str, indent: int) -> str:
    """All must hold, one on a line."""
    return f"\n{' ' * indent}  AND ".join(conditions)
