"""The statements that list orders, put together from constant parts; only values that a caller chose are bound.

A list is driven by ids, newest first, and never sorts the table. Every trail begins with INITIATED, and that row has
the order's own fields, so it stands for the order.
"""

from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.storage.postgres import fragments

_NOT_INITIATED_OR_COMPLETED = "s.status NOT IN ('INITIATED', 'COMPLETED')"

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
                  OR {fragments.has_open_claim("o.id")}
                THEN 'unknown'
                WHEN bool_or(r.status = 'DATABASE_PERSISTENCE_FAILED' AND r.reason = 'not_sent:not_recorded')
                  OR bool_or(starts_with(r.reason, 'refused:'))
                THEN 'not_placed'
                WHEN bool_or(starts_with(r.reason, 'not_sent:'))
                THEN CASE WHEN o.place_by IS NULL OR {fragments.is_forbidden("o.id")}
                          THEN 'not_placed' ELSE 'pending' END
                ELSE 'unknown'
           END AS outcome
      FROM orders r
     WHERE r.id = o.id
 ) AS fold"""

# The order of an id, as a loop over the ids: OFFSET 0 keeps the planner from joining the whole table.
_ORDER_OF_ID = """
 CROSS JOIN LATERAL (SELECT * FROM orders i WHERE i.id = s.id AND i.status = 'INITIATED' OFFSET 0) AS o"""

_EVERY_ORDER = """
  FROM orders o"""

# The row of a status is unique in its trail; it is the present status where no row outranks it. Where the status is
# none of the happy path's, the index orders_troubles has all of them and little else.
_WITH_STATUS = """
  FROM (SELECT id FROM orders s
         WHERE s.status = '{status}'{bounds}
           AND NOT EXISTS (SELECT FROM orders h WHERE h.id = s.id AND h.status > '{status}')) AS s{order}"""

# What is not placed, or pending, is so by the reason of a row that the happy path does not write.
_WITH_TROUBLE = """
  FROM (SELECT DISTINCT id FROM orders s WHERE true{bounds}) AS s{order}"""

# From NOT_PLACED upwards a status decides the outcome alone, and an index tells the status.
_UNDECIDED = """
   AND NOT EXISTS (SELECT FROM orders h WHERE h.id = o.id AND h.status >= 'NOT_PLACED')"""

# A key has one order for ever; the table of keys finds it.
HAS_KEY = "o.id = (SELECT k.order_id FROM order_keys k WHERE k.client_order_id = {key})"

# The trails are read in such a loop too, however large a page the planner expects.
_LIST = f"""
WITH page AS MATERIALIZED (
    SELECT o.id,
           {fragments.has_open_claim("o.id")} AS has_open_claim,
           {fragments.is_forbidden("o.id")} AS is_forbidden{{source}}
     WHERE o.status = 'INITIATED'{{conditions}}
     ORDER BY {{id}} DESC
     LIMIT $1
)
SELECT r.*, page.has_open_claim, page.is_forbidden, clock_timestamp() AS read_at
  FROM page
 CROSS JOIN LATERAL (
    SELECT id, created_at, type, side, instrument, limit_price, quantity, status::text AS status,
           status AS rank, reason, exchange_order_id, client_order_id, place_by, send_by
      FROM orders
     WHERE orders.id = page.id
    OFFSET 0
 ) AS r
 ORDER BY r.id DESC, r.created_at, r.rank
"""


def list_orders(
    *, status: OrderStatus | None, outcome: Outcome | None, has_key: bool, before: str | None, conditions: str
) -> str:
    """The statement for one combination of filters; $1 is the page's size.

    `before` is the parameter of an id above all wanted ones. `conditions` are on the INITIATED row `o`; `has_key`
    says that they name one order, which is then all that is looked at.
    """
    bounds = "" if before is None else f" AND s.id < {before}"
    fold = ""
    if outcome is not None:
        fold = _FOLD
        conditions += f" AND fold.outcome = '{outcome.value}'"
    if status is not None and has_key:
        fold = _FOLD
        conditions += f" AND fold.status = '{status.value}'"
    if status is not None and not has_key:
        is_trouble = status not in (OrderStatus.INITIATED, OrderStatus.COMPLETED)
        bounds += f" AND {_NOT_INITIATED_OR_COMPLETED}" if is_trouble else ""
        source = _WITH_STATUS.format(status=status.value, bounds=bounds, order=_ORDER_OF_ID)
        return _LIST.format(source=source + fold, conditions=conditions, id="s.id")
    if outcome in (Outcome.NOT_PLACED, Outcome.PENDING) and not has_key:
        bounds += f" AND {_NOT_INITIATED_OR_COMPLETED}"
        source = _WITH_TROUBLE.format(bounds=bounds, order=_ORDER_OF_ID)
        return _LIST.format(source=source + fold, conditions=conditions, id="s.id")
    conditions += bounds.replace("s.id", "o.id")
    conditions += _UNDECIDED if outcome is Outcome.UNKNOWN else ""
    return _LIST.format(source=_EVERY_ORDER + fold, conditions=conditions, id="o.id")
