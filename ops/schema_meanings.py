"""What each table and enum is for, and what columns mean where their names do not say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class SchemaMismatch(Exception):
    """What is written here speaks of another schema than PostgreSQL has."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a table is for, in a sentence or two, and what its columns mean where their names do not say it."""

    purpose: str
    columns: Mapping[str, str] = field(default_factory=dict)


# In the order of an order's life.
TABLES: Mapping[str, Meaning] = {
    "orders": Meaning(
        "What happened to each order: one row a status, of which the last in the order of the enum is the present one.",
        {
            "id": "ours; the exchange's client_order_id",
            "created_at": "the row's own time, in UTC, by the database's clock; of a spooled row, its step's time"
            " by the process's clock",
            "type": "market or limit",
            "side": "buy or sell",
            "limit_price": "null on market orders; exact within the bounds of `domain/order.py`",
            "reason": "why the status; null on INITIATED and on a plain COMPLETED",
            "exchange_order_id": "what the exchange calls the order; not on INITIATED",
            "client_order_id": "the caller's key; on INITIATED",
            "place_by": "until when the order may be sent again, null: only the first send; on INITIATED",
            "send_by": "when the first send must have started; on INITIATED, null where the order was queued",
            "accept_by": "when the exchange must have accepted the first send; on INITIATED, null where it was queued",
            "start_by": "until when the first send of a queued order may start, null: it was not queued; on INITIATED",
            "recorded_at": "when a spooled row was written, in UTC, by the database's clock; null: at created_at",
            "trace_id": "the caller's trace; null: the caller sent none",
        },
    ),
    "order_keys": Meaning(
        "One key, one order, for ever. A table of its own, so that orders can be split by id or time without losing"
        " it.",
        {"client_order_id": "the caller's key"},
    ),
    "order_queue": Meaning(
        "Orders that wait for a worker: a row comes with the order's INITIATED, and goes with the claim to send it, its"
        " cancel, or the end of its time, in the same commit. Of these exactly one gets it.",
        {
            "queued_at": "when it was recorded",
            "start_by": "until when its first send may start; then it is not placed",
        },
    ),
    "order_queue_sums": Meaning(
        "By how much each transaction has changed the number of orders that wait; joined from time to time.",
        {"delta": "more, or, below 0, fewer"},
    ),
    "order_batches": Meaning(
        "What was recorded together and not reviewed since: the reconciler deletes a row once it has seen to it that"
        " its orders are settled or in doubt. A queue and not a cursor, so a row that becomes visible late is not"
        " missed, and settled orders cost nothing however many there are.",
        {"due_at": "when the reconciler reviews it"},
    ),
    "attempts": Meaning(
        "Sends but a request's own: the claim is committed before the send, the answer after it.",
        {
            "number": "1: a worker's, of a queued order; from 2 the reconciler's, for a request's own send has its"
            " deadlines on INITIATED",
            "fence": "of the lease under which the send was claimed; one claim a lease; 0: a worker's",
            "claimed_by": "the process",
            "send_by": "when the send must have started",
            "accept_by": "when the exchange must have accepted it",
        },
    ),
    "attempt_answers": Meaning(
        "What came of a claimed send. A claim without an answer means that the order is in doubt.",
        {"reason": "why the answer", "exchange_order_id": "what the exchange calls the order"},
    ),
    "doubts": Meaning(
        "One row an order on which claims, cancels and settling serialise; made when an order is first reviewed, and"
        " kept, so that a fence never goes back.",
        {
            "next_at": "when the next review is due",
            "leased_until": "until when one process reviews it; null: no process does",
            "fence": "rises with a lease, cancel, replay, sighting or operator's word; an older one changes nothing",
            "tries": "reviews so far, by which the pauses grow; anew when the exchange answers again",
            "last_seen": "what the last review came to, for a person",
            "settled_at": "when the order was settled; null: it is in doubt",
        },
    ),
    "cancel_requests": Meaning("Wishes to cancel: such an order is not sent any more."),
    "sightings": Meaning(
        "Orders that the exchange's own reports or lists have shown while no row of theirs said so: proof of"
        " acceptance."
    ),
    "orphans": Meaning(
        "Orders at the exchange that we never recorded: kept for a person, counted, alerted on.",
        {
            "epoch": "of the venue, when it showed the order",
            "id": "by which an operator names it",
            "instrument": "like side and quantity null until the exchange's list of open orders has shown it",
            "closed_at": "when an operator closed it; null: it is open",
        },
    ),
    "venue_epochs": Meaning(
        "Since when a venue has been in an epoch. A venue that begins a new one has forgotten what was before: it may"
        " not know an order that it has accepted."
    ),
    "sweep_positions": Meaning(
        "Up to where the executions of a venue have been compared with our rows, and whose turn it is to sweep.",
        {
            "seq": "of the last execution that was compared, in this epoch",
            "leased_until": "until when one process has the turn, or no other may begin",
        },
    ),
    "operator_actions": Meaning(
        "What a person did, by whatever door. The newest of `halt` and `resume` is the operator's switch.",
        {
            "action": "halt, resume, or what was done to an order or a thing",
            "operator": "who",
            "origin": "from where: cli",
            "reason": "why, in the operator's words; where something is settled or closed, the evidence",
            "order_id": "the order that it is about",
            "subject": "what else it is about: the id of something parked, of an orphan",
            "before": "what it was",
            "after": "what it became",
            "request_id": "of a form that counts once, however often it is sent",
        },
    ),
    "parked": Meaning(
        "What the exchange sent and nobody can understand, kept for a person. It can only be closed, and once.",
        {
            "kind": "what it was to be: open_order, execution_report, …",
            "field": "the first field that cannot be read; null: the whole",
            "reason": "what is wrong with it",
            "raw": "as it came, cut to a limit",
            "fingerprint": "of venue, kind, epoch and what came, or an order's ids: the same thing is the same row",
            "order_id": "what it says is our id, where that can be read",
            "epoch": "of the venue, where known",
            "seq": "of an execution, where it can be read",
            "closed_at": "when an operator closed it, or it could be applied after all; null: it is open",
        },
    ),
    "execution_epochs": Meaning(
        "The epochs of each venue's execution reports, in the order in which they were first known.",
        {
            "rank": "of two epochs of a venue the later has the higher",
            "session": "within it an exec id of an order is unique: one for a venue, or one for each of its epochs",
        },
    ),
    "executions": Meaning(
        "Execution reports, one row each, whatever their type. A partition a month, by the time in the order's id; what"
        " fits in none is in `executions_default`.",
        {
            "order_id": "ours; the report's client_order_id",
            "session": "see `execution_epochs`",
            "epoch": "of the venue; the scope of seq",
            "seq": "the venue's number of the report; null: the venue has none",
            "exec_type": "new, trade, canceled, expired, rejected, trade_cancel, trade_correct, or another",
            "ord_status": "the order's status by the venue's word",
            "last_qty": "of a trade or a correction; 0: nothing was traded",
            "cum_qty": "like leaves_qty and avg_px the venue's own word; ours are computed when read",
            "exec_ref_id": "the exec_id that a bust or a correction is about",
            "transact_time": "by the venue's clock",
        },
    ),
    "execution_coverage": Meaning(
        "Which reports have been applied or parked: a row a transaction, joined from time to time.",
        {"seqs": "ranges of seq, without those that are missing"},
    ),
    "position_sums": Meaning(
        "What the trades of each transaction come to at their face value, and what busts and corrections change; joined"
        " from time to time. With what `position_revisions` come to it is what all executions come to.",
        {
            "instruments": "the arrays go together: element by element an instrument, a side, and two sums",
            "quantities": "sums of last_qty",
            "notionals": "sums of last_qty times last_px",
        },
    ),
    "position_revisions": Meaning(
        "What refers to an execution, a bust or a correction mostly, and is not in `position_sums` yet: a row is noted"
        " with the execution, and deleted by the statement that adds what it changes. Those whose trade is not there"
        " stay.",
        {"reviewed_at": "when its trade was last looked for in vain", "noted_at": "for a minute a reader looks, too"},
    ),
    "execution_inbox": Meaning(
        "The queue that lives in the database: frames that no processor has applied. A row is deleted by the statement"
        " that applies it.",
        {
            "exec_id_scope": "order or epoch: within which an exec id is unique",
            "count": "how many reports there are",
            "first_seq": "like last_seq null where seqs between them are missing, or the venue has none",
            "body": "a JSON array of reports as they came",
        },
    ),
    "feeds": Meaning(
        "Which process feeds a venue's reports, and where the inbox ends: a frame is put in only from there.",
        {
            "holder": "the process",
            "leased_until": "until when no other process takes it; null: it was given up",
            "fence": "rises with each process that takes it",
            "epoch": "of the last frame that was put in; null: there has been none",
            "seq": "of that frame's last report",
        },
    ),
    "parked_retries": Meaning(
        "Parked reports of orders that were not known, which are applied again by themselves.",
        {"tries": "so far", "due_at": "when it is tried next"},
    ),
    "execution_comparisons": Meaning(
        "What came of each comparison of our executions with the venue's.",
        {
            "up_to_seq": "what was compared",
            "reports": "how many of the venue's were compared",
            "missing": "how many are not here",
            "different": "how many differ",
            "unknown": "how many of ours the venue does not have",
        },
    ),
    "event_log": Meaning(
        "What each commit has written of `orders` and `executions`: one row a commit, by the statement that writes the"
        " rows. Readers follow it in the order of txid and id. A partition a day, kept for some days; what fits in none"
        " is in `event_log_default`.",
        {
            "txid": "the transaction, or a later one that it had seen committed: what a row follows comes before it",
            "logged_at": "by the database's clock; decides the partition, and nothing else",
            "nonce": "drawn by chance: a row whose place another has taken after a failover is not taken for it",
            "count": "how many rows were written",
            "order_ids": "like statuses element by element a row of `orders`; null: none was written",
            "session": "of the executions, all of one commit's",
            "execution_order_ids": "like exec_ids element by element a row of `executions`; null: none was written",
        },
    ),
    "event_log_bounds": Meaning(
        "Which log this is, and up to where it is gone. Transaction ids mean something only on the server that gave"
        " them: after a restore from a dump the log begins anew.",
        {
            "origin": "the log's name, drawn by chance",
            "written_by": "the transaction that wrote this row; where its xmin is another, the row is a copy",
            "txid": "like id and nonce of the newest row that is kept no longer; 0: all are kept",
            "changed_at": "when it began, or lost a partition",
        },
    ),
    "alembic_version": Meaning("Which migration was applied last; Alembic's own."),
}

ENUMS: Mapping[str, str] = {
    "order_status_enum": "Declared in rising precedence: `max(status)` over an order's rows is its present status.",
}


def check(tables: Mapping[str, set[str]], enums: set[str]) -> None:
    """Everything that is there has its purpose here, and nothing else has. Raises SchemaMismatch.

    `tables` are the names of the columns by table.
    """
    problems = [f"{name} has no purpose." for name in (tables.keys() | enums) - (TABLES.keys() | ENUMS.keys())]
    problems += [f"{name} is not there." for name in (TABLES.keys() | ENUMS.keys()) - (tables.keys() | enums)]
    for name in TABLES.keys() & tables.keys():
        problems += [f"{name}.{column} is not there." for column in TABLES[name].columns.keys() - tables[name]]
    if problems:
        raise SchemaMismatch(f"In ops/schema_meanings.py: {' '.join(sorted(problems))}")
