"""The parts that several statements share, each said once; none of them is sent alone."""

from collections.abc import Iterable

from ordertrail.domain.deadlines import RETRIED_TYPES
from ordertrail.domain.execution import AVG_PX_DECIMALS, TERMINAL_ORD_STATUSES, TRADE, TRADE_CANCEL, TRADE_CORRECT
from ordertrail.domain.operator_action import OperatorAction
from ordertrail.storage.order_queue_rows import FIRST_SEND

# What every row of an order repeats. `o` is the order's INITIATED row, and the time is the new row's own.
ORDER_COLUMNS = "id, created_at, type, side, instrument, limit_price, quantity"
ORDER_OF_O = "o.id, clock_timestamp() AT TIME ZONE 'UTC', o.type, o.side, o.instrument, o.limit_price, o.quantity"

# A row's place in its trail: when it was written, whatever the clock of a process had said before.
WRITTEN_AT = "coalesce(recorded_at, created_at)"

# The order in doubt is due now, settled or not, and its fence rises: a reconciler that has leased it does not know why,
# and changes nothing any more.
REOPENED = "fence = doubts.fence + 1, settled_at = NULL, next_at = clock_timestamp(), leased_until = NULL, tries = 0"

# An order with a key is recorded only by the statement that has claimed the key.
KEY_IS_OURS = "client_order_id IS NULL OR id IN (SELECT order_id FROM claimed)"

# The newest row that turned the operator's switch.
SWITCH = "FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1"

# Whether placing is halted, as the statement sees it.
IS_HALTED = f"coalesce((SELECT action = 'halt' {SWITCH}), false)"

# What is read of an execution; the rank is that of its epoch.
EXECUTION_COLUMNS = (
    "session",
    "exec_id",
    "epoch",
    "epoch_rank",
    "seq",
    "exec_type",
    "ord_status",
    "exchange_order_id",
    "last_qty",
    "last_px",
    "cum_qty",
    "leaves_qty",
    "avg_px",
    "exec_ref_id",
    "reject_reason",
    "transact_time",
    "recorded_at",
)


# An exchange's clock may say what no calendar of ours does.
_TRANSACT_TIME_MIN, _TRANSACT_TIME_MAX = "0001-01-02Z", "9999-12-30Z"


def read_execution_columns(row: str) -> list[str]:
    """What is read of an execution's own columns, `row` being its name: all but the rank of its epoch."""
    time = f"least(greatest({row}.transact_time, '{_TRANSACT_TIME_MIN}'), '{_TRANSACT_TIME_MAX}') AS transact_time"
    return [
        time if column == "transact_time" else f"{row}.{column}"
        for column in EXECUTION_COLUMNS
        if column != "epoch_rank"
    ]


def words(of: Iterable[str]) -> str:
    """Words of ours as `IN` takes them."""
    return "(" + ", ".join(f"'{word!s}'" for word in of) + ")"


def claimed_keys(where: str) -> str:
    """Claims the keys of those rows of `input`; a key is claimed once and for ever."""
    return f"""\
claimed AS (
    INSERT INTO order_keys (client_order_id, order_id)
    SELECT client_order_id, id FROM input
     WHERE {where}
     ORDER BY client_order_id, id
    ON CONFLICT DO NOTHING
    RETURNING order_id
)"""


def initiated_row_of(order_id: str) -> str:
    """The INITIATED row `o` of each id, as a loop over the ids.

    Not a plain join: planned while the table is still empty, that reads all of the table's index and compares each
    row with each id, and the plan is kept while the table grows. OFFSET 0 keeps the planner from making a join of it.
    """
    rows = f"SELECT * FROM orders i WHERE i.id = {order_id} AND i.status = 'INITIATED' OFFSET 0"
    return f"CROSS JOIN LATERAL ({rows}) AS o"


def place_by(retry_seconds: str) -> str:
    """What `Windows.place_by` comes to for a row of `input` that is recorded `at` this moment."""
    window = f"CASE WHEN type IN {words(RETRIED_TYPES)} THEN at + {retry_seconds}::float8 * interval '1 second' END"
    return f"coalesce(place_by, {window})"


def was_sent_later(order_id: str) -> str:
    """An INITIATED that was thought not to be there may have been sent by the reconciler meanwhile."""
    return f"EXISTS (SELECT FROM attempts a WHERE a.order_id = {order_id})"


def has_open_claim(order_id: str, *, column: int = 11) -> str:
    """A send without a recorded answer, or with one that does not prove that it did nothing.

    It leaves the order in doubt; "accepted" too, for as long as the row that says so has not been written. `column`
    is where its first line begins.
    """
    return f"""\
EXISTS (SELECT FROM attempts a LEFT JOIN attempt_answers w USING (order_id, number)
{" " * column}         WHERE a.order_id = {order_id} AND (w.answer IN ('refused', 'not_sent')) IS NOT TRUE)"""


def is_queued(order_id: str) -> str:
    """It waits in the queue, and nobody has begun to send it."""
    return f"EXISTS (SELECT FROM order_queue q WHERE q.order_id = {order_id} OFFSET 0)"


def send_by(row: str) -> str:
    """Of an INITIATED row when the first send must have started; of a queued order that comes with the claim."""
    claimed = f"(SELECT a.send_by FROM attempts a WHERE a.order_id = {row}.id AND a.number = {FIRST_SEND})"
    return f"CASE WHEN {row}.start_by IS NULL THEN {row}.send_by ELSE {claimed} END"


def unqueued(where: str) -> str:
    """Takes orders out of the queue, whose rows meet the condition."""
    return f"""\
unqueued AS (
    DELETE FROM order_queue WHERE {where} RETURNING order_id
)"""


def queue_counted(part: str, *, factor: int = -1) -> str:
    """Keeps by how much that part of the statement has changed the queue's depth."""
    return f"""\
counted AS (
    INSERT INTO order_queue_sums (delta) SELECT {factor} * count(*) FROM {part} HAVING count(*) > 0
)"""


def first_claim_answered(part: str) -> str:
    """Keeps with the row that says what came of a queued order's first send that its claim is answered, too.

    Of the part that inserts, the rows: id, status, reason and the exchange's id.
    """
    return f"""\
answered AS (
    INSERT INTO attempt_answers (order_id, number, answer, reason, exchange_order_id)
    SELECT x.id, {FIRST_SEND},
           CASE WHEN x.reason = 'accepted' THEN 'accepted'
                WHEN x.reason LIKE 'refused:%' THEN 'refused'
                WHEN x.reason LIKE 'not_sent:%' THEN 'not_sent'
                ELSE 'unknown' END,
           x.reason, x.exchange_order_id
      FROM {part} x
     WHERE x.status < 'UNRESOLVED' AND x.status <> 'INITIATED'
       AND EXISTS (SELECT FROM attempts a WHERE a.order_id = x.id AND a.number = {FIRST_SEND} OFFSET 0)
     ORDER BY x.id, x.status
    ON CONFLICT DO NOTHING
)"""


def is_forbidden(order_id: str) -> str:
    """A cancel forbids every further send from the moment it is committed."""
    return f"EXISTS (SELECT FROM cancel_requests c WHERE c.order_id = {order_id})"


def has_row(order_id: str, condition: str) -> str:
    """The order has a row `o` of which this is true."""
    return f"EXISTS (SELECT FROM orders o WHERE o.id = {order_id} AND {condition} OFFSET 0)"


def was_accepted(order_id: str) -> str:
    """What `OrderInDoubt.was_accepted` says: a row, the answer to a send, or the exchange's own lists show it."""
    return f"""\
({has_row(order_id, "(o.status >= 'COMPLETED' OR (o.status < 'UNRESOLVED' AND o.reason = 'accepted'))")}
 OR EXISTS (SELECT FROM attempt_answers w WHERE w.order_id = {order_id} AND w.answer = 'accepted' OFFSET 0)
 OR EXISTS (SELECT FROM sightings s WHERE s.order_id = {order_id} OFFSET 0))"""


def latest_first(execution: str) -> str:
    """What `Execution.position` says of the rows of `executions` that are called so: the latest report comes first."""
    return f"""\
(SELECT p.rank FROM execution_epochs p WHERE p.session = {execution}.session AND p.epoch = {execution}.epoch) DESC,
coalesce({execution}.seq, -1) DESC, {execution}.transact_time DESC"""


def venue_word(order_id: str) -> str:
    """The fields of a `VenueWord` in one; null: there is no report of the order."""
    order_by = f"ORDER BY {latest_first('e')}"
    return f"""\
(SELECT ROW((array_agg(e.ord_status {order_by}))[1],
            bool_or(e.exec_type <> 'rejected' AND e.ord_status <> 'rejected'),
            (array_agg(e.exchange_order_id {order_by}) FILTER (WHERE e.exchange_order_id IS NOT NULL))[1])
   FROM executions e WHERE e.order_id = {order_id}
 HAVING count(*) > 0)"""


def is_over(order_id: str) -> str:
    """What `OrderInDoubt.is_over` says of an order that is COMPLETED: it has ended at the exchange."""
    ends = words(sorted(TERMINAL_ORD_STATUSES))
    return f"""\
({has_row(order_id, "o.status >= 'REJECTED' AND o.reason LIKE 'operator:%'")}
 OR coalesce((SELECT e.ord_status IN {ends} FROM executions e
               WHERE e.order_id = {order_id}
               ORDER BY {latest_first("e")}
               LIMIT 1),
             {has_row(order_id, "o.status >= 'REJECTED'")}))"""


def is_unresolved(order_id: str) -> str:
    """What `operator_word.is_unresolved` says of an order in doubt: it is marked so, and its rows do not settle it.

    `order_id` must name its table: each table that is read here has a column of that name.
    """
    return f"""\
({has_row(order_id, "o.status = 'UNRESOLVED'")}
 AND (NOT {has_row(order_id, "o.status = 'COMPLETED'")}
      OR ({is_forbidden(order_id)} AND NOT {is_over(order_id)}))
 AND (NOT {has_row(order_id, "o.status = 'NOT_PLACED'")} OR {was_accepted(order_id)}))"""


def logged(*inserted: tuple[str, str]) -> str:
    """Says in the event log which rows of trails the statement has written: one row of the log, whatever their number.

    Of each part that inserts, its name and its rows' status: both are what it returns, in the order of id and status in
    which it has inserted, and in that order they are read.
    """
    rows = " UNION ALL ".join(f"SELECT id, {status} AS status FROM {part}" for part, status in inserted)
    return f"""\
logged AS (
    INSERT INTO event_log (count, order_ids, statuses)
    SELECT count(*), array_agg(id), array_agg(status)
      FROM ({rows}) AS written
    HAVING count(*) > 0
)"""


def acted(
    action: OperatorAction | str,
    source: str,
    *,
    operator: str,
    origin: str,
    reason: str,
    order_id: str = "NULL",
    subject: str = "NULL",
    before: str = "NULL",
    after: str = "NULL",
) -> str:
    """Keeps an operator's action for each row of `source`, in the transaction of what was done.

    `action` is one of ours, or an expression that gives one; all others are expressions over `source`.
    """
    word = f"'{action.value}'" if isinstance(action, OperatorAction) else action
    return f"""\
acted AS (
    INSERT INTO operator_actions (action, operator, origin, reason, order_id, subject, before, after)
    SELECT {word}, {operator}, {origin}, {reason}, {order_id}, {subject}, {before}, {after}
      FROM {source}
    RETURNING id, acted_at
)"""


def average(quantity: str, notional: str) -> str:
    """Rounded half up once, in whole numbers: a quotient of numerics is rounded already, and would be rounded twice."""
    units = 10**AVG_PX_DECIMALS
    whole = f"div({2 * units} * abs({notional}) + {quantity}, 2 * {quantity})"
    return f"CASE WHEN {quantity} > 0 THEN sign({notional}) * {whole} * {1 / units:.{AVG_PX_DECIMALS}f} END"


# Of chains, `c`, a trade each and all that refers to it, with the epochs `p`: which reports count, the latest of them
# first, and what one says of quantity and notional; `fold_executions` says the same.
CHAIN_COUNTED = f"c.exec_type IN ('{TRADE}', '{TRADE_CANCEL}', '{TRADE_CORRECT}')"
CHAIN_LATEST_FIRST = "p.rank DESC, coalesce(c.seq, -1) DESC, c.transact_time DESC, c.exec_id DESC"
CHAIN_QUANTITY = f"CASE c.exec_type WHEN '{TRADE_CANCEL}' THEN 0 ELSE c.last_qty END"
CHAIN_NOTIONAL = f"CASE c.exec_type WHEN '{TRADE_CANCEL}' THEN 0 ELSE c.last_qty * coalesce(c.last_px, 0) END"

# A chain's next links, `r`: what refers to `c`, by a key.
CHAIN_LINKS = f"""\
CROSS JOIN LATERAL (
        SELECT * FROM executions r
         WHERE r.order_id = c.order_id AND r.session = c.session AND r.exec_ref_id = c.exec_id
           AND r.exec_type <> '{TRADE}'
        OFFSET 0
     ) AS r"""
