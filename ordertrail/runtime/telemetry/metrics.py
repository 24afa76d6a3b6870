"""Every metric, its unit and its meaning. Labels are few and bounded; never an order id.

`/metrics` answers for all workers of a process group: where they are several, each writes to files of its own in
`PROMETHEUS_MULTIPROC_DIR`, and the worker that is scraped adds them up.
"""

import contextlib
import math
import os
import threading
from dataclasses import dataclass
from functools import partial
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from ordertrail.runtime.telemetry import buffered, shared_values, streams

shared_values.install()

_dropped_log_records = 0
_flush_lock = threading.Lock()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ReadGauge:
    """A gauge of something that has to be read first: absent until then, for 0 would say that all is well."""

    def __init__(
        self, name: str, documentation: str, *, multiprocess_mode: Literal["livemax", "livemin", "livemostrecent"]
    ) -> None:
        self._make = partial(Gauge, name, documentation, multiprocess_mode=multiprocess_mode)
        self._gauge: Gauge | None = None

    def set(self, value: float) -> None:
        """It was read."""
        if self._gauge is None:
            self._gauge = self._make()
        self._gauge.set(value)

    def unread(self) -> None:
        """It cannot be read any more: NaN, for what it was says nothing of what it is."""
        if self._gauge is not None:
            self._gauge.set(math.nan)


REQUESTS = Counter("ordertrail_requests", "Answers to POST /orders, by HTTP status.", ["status"])
PLACEMENT_SECONDS = Histogram(
    "ordertrail_placement_seconds", "From a valid order to its answer.", ["outcome"], buckets=_SECONDS
)
ANSWERS = Counter("ordertrail_exchange_answers", "The exchange's answers to sent orders.", ["answer"])
EXCHANGE_SECONDS = Histogram(
    "ordertrail_exchange_seconds", "How long the exchange took for one answer.", ["call"], buckets=_SECONDS
)
VERIFICATIONS = Counter("ordertrail_verifications", "Queries by order id, by result.", ["result"])
EXCHANGE_UNREADABLE = Counter(
    "ordertrail_exchange_unreadable", "Answers that came and could not be read, by call.", ["call"]
)
PARKED = Counter(
    "ordertrail_parked", "Things the exchange sent that could not be understood, kept for a person.", ["kind"]
)
PARKED_DROPPED = Counter(
    "ordertrail_parked_dropped",
    "Things that could not be understood and were not kept, for a pass keeps few.",
    ["kind"],
)
PARKED_OPEN = ReadGauge(
    "ordertrail_parked_open", "Things that could not be understood and nobody has closed.", multiprocess_mode="livemax"
)
COMMIT_ROWS = Histogram(
    "ordertrail_commit_rows",
    "Rows that shared one commit.",
    ["batcher"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
COMMIT_SECONDS = Histogram("ordertrail_commit_seconds", "How long one commit took.", ["batcher"], buckets=_SECONDS)
COMMIT_QUEUE = Gauge(
    "ordertrail_commit_queue_rows", "Rows that wait for a commit.", ["batcher"], multiprocess_mode="livesum"
)
DATABASE_FAILURES = Counter(
    "ordertrail_database_failures", "Writes that failed, or whose outcome is unknown; each once.", ["kind"]
)
DATABASE_REPEATS_FAILED = Counter("ordertrail_database_repeats_failed", "Repeats of such a write that failed, too.")
DATABASE_UP = ReadGauge(
    "ordertrail_database_up",
    "Whether the database can be used, 1 or 0, looked at every second; 0 where one of these processes cannot.",
    multiprocess_mode="livemin",
)
SPOOLED = Counter("ordertrail_spooled", "Trails that went to the spool on disk.")
REPLAYED = Counter("ordertrail_replayed", "Trails from the spool that the database has taken.")
SPOOL_BYTES = ReadGauge("ordertrail_spool_bytes", "Bytes in the spool's folder.", multiprocess_mode="livemax")
UNRECORDED = Counter("ordertrail_unrecorded", "Trails that could not be written at all.")
CONNECTIONS_ENDED = Counter(
    "ordertrail_connections_ended", "Connections that were ended by one of their limits.", ["limit"]
)
QUEUED = Counter("ordertrail_order_queue_queued", "Orders that were recorded for the workers.")
QUEUE_CLAIMED = Counter("ordertrail_order_queue_claimed", "Queued orders that this process has claimed to send.")
QUEUE_EXPIRED = Counter(
    "ordertrail_order_queue_expired", "Queued orders that nobody had begun to send when their time was up."
)
QUEUE_ORDERS = ReadGauge("ordertrail_order_queue_orders", "Orders that wait in the queue.", multiprocess_mode="livemax")
QUEUE_OLDEST_SECONDS = ReadGauge(
    "ordertrail_order_queue_oldest_seconds",
    "How long the oldest order in the queue has waited.",
    multiprocess_mode="livemax",
)
QUEUE_WAIT_SECONDS = Histogram(
    "ordertrail_order_queue_wait_seconds",
    "From an order's being queued to its claim, by the database's clock.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200),
)
QUEUE_IN_FLIGHT = Gauge(
    "ordertrail_order_queue_in_flight", "Claimed orders that are being sent or recorded.", multiprocess_mode="livesum"
)
RECONCILED = Counter("ordertrail_reconciled", "Rows that reconciliation appended, by status.", ["status"])
DOUBTS = ReadGauge("ordertrail_doubts", "Orders in doubt.", multiprocess_mode="livemax")
DOUBTS_UNRESOLVED = ReadGauge(
    "ordertrail_doubts_unresolved", "Orders in doubt that a person must look at.", multiprocess_mode="livemax"
)
DOUBTS_OLDEST_SECONDS = ReadGauge(
    "ordertrail_doubts_oldest_seconds", "Age of the oldest order in doubt.", multiprocess_mode="livemax"
)
LATE_ARRIVALS = Counter(
    "ordertrail_late_arrivals", "Orders found at the exchange after they were settled as not placed."
)
ORPHANS = Counter("ordertrail_orphans", "Orders found at the exchange that were never recorded here.")
ORPHANS_OPEN = ReadGauge(
    "ordertrail_orphans_open", "Orphans that no person has closed; of very many 10,000.", multiprocess_mode="livemax"
)
EXECUTION_REPORTS = Counter("ordertrail_execution_reports", "Execution reports applied, repeats among them.")
EXECUTION_ROWS = Counter("ordertrail_execution_rows", "Execution reports that became rows.")
EXECUTION_BATCH_REPORTS = Histogram(
    "ordertrail_execution_batch_reports",
    "Execution reports that were applied in one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
EXECUTION_BATCH_SECONDS = Histogram(
    "ordertrail_execution_batch_seconds", "How long one transaction that applies reports took.", buckets=_SECONDS
)
EXECUTION_WAITED_SECONDS = Histogram(
    "ordertrail_execution_waited_seconds",
    "From when a frame was in the inbox until its reports were rows, the oldest of each transaction.",
    buckets=(*_SECONDS, 30, 60, 300, 3600),
)
EXECUTION_TROUBLES = Counter(
    "ordertrail_execution_troubles",
    "Orders whose executions came to what should not be: overfilled, after_end, busted, contradicting.",
    ["what"],
)
EXECUTION_RETRIED = Counter(
    "ordertrail_execution_retried", "Parked reports that could be applied when they were tried again."
)
EXECUTION_MISPLACED = ReadGauge(
    "ordertrail_execution_misplaced",
    "Executions in no partition of a month, for a person to see to; counted up to 10,000, once a day.",
    multiprocess_mode="livemax",
)
EXECUTION_FAILURES = Counter(
    "ordertrail_execution_failures",
    "Times that reports could not be applied, and were left to be applied again.",
    ["kind"],
)
FEED_OWNER = Gauge(
    "ordertrail_feed_owner", "1 in the process that feeds the venue's execution reports.", multiprocess_mode="livesum"
)
FEED_TAIL = ReadGauge(
    "ordertrail_feed_tail", "The `seq` up to which reports are in the queue.", multiprocess_mode="livemax"
)
FEED_HEAD = ReadGauge(
    "ordertrail_feed_head", "The `seq` of the venue's newest report, by its own word.", multiprocess_mode="livemax"
)
FEED_LAG = ReadGauge(
    "ordertrail_feed_lag", "How many reports of the venue are not in the queue yet.", multiprocess_mode="livemax"
)
FEED_BEHIND = ReadGauge(
    "ordertrail_feed_behind",
    "By how many reports the venue's newest is below what was taken in of its epoch; above 0 it has lost some.",
    multiprocess_mode="livemax",
)
FEED_FRAMES = Counter(
    "ordertrail_feed_frames",
    "Frames that the queue took: next ones in their order, or others, as repeats and what fills a gap.",
    ["order"],
)
FEED_REPORTS = Counter("ordertrail_feed_reports", "Execution reports that the queue took, likewise.", ["order"])
FEED_GAPS = Counter(
    "ordertrail_feed_gaps",
    "Times that missing reports were fetched: a frame did not follow, none came, or could not be read; "
    "what was put in the queue was not applied; or a query of the order found them.",
    ["found"],
)
FEED_CONNECTIONS = Counter("ordertrail_feed_connections", "Attempts to follow the venue's reports.", ["outcome"])
FEED_QUEUE_REFUSALS = Counter("ordertrail_feed_queue_refusals", "Times that the queue did not take a frame.", ["why"])
FEED_LOST_REPORTS = Counter(
    "ordertrail_feed_lost_reports", "Execution reports that the venue did not keep until they were taken in."
)
FEED_FAILURES = Counter("ordertrail_feed_failures", "Times that the feed had to begin again.", ["why"])
for _order in ("next", "other"):
    FEED_FRAMES.labels(_order)
    FEED_REPORTS.labels(_order)
for _found in ("hole", "stall", "unreadable", "coverage", "queried"):
    FEED_GAPS.labels(_found)
for _outcome in ("opened", "no_answer", "other_epoch", "compacted"):
    FEED_CONNECTIONS.labels(_outcome)
for _why in ("full", "unavailable", "overtaken"):
    FEED_QUEUE_REFUSALS.labels(_why)
for _why in ("statement_failed", "statement_outcome_unknown", "queue_unavailable", "overtaken", "other"):
    FEED_FAILURES.labels(_why)
EXECUTION_QUEUE_FRAMES = ReadGauge(
    "ordertrail_execution_queue_frames",
    "Frames of reports that wait in the queue, or are being worked on; NaN: the queue could not be asked.",
    multiprocess_mode="livemostrecent",
)
EXECUTION_GAP_REPORTS = ReadGauge(
    "ordertrail_execution_gap_reports",
    "Execution reports that have been missing among those applied for more than a minute.",
    multiprocess_mode="livemax",
)
EXECUTIONS_COMPARED_AT = ReadGauge(
    "ordertrail_executions_compared_at",
    "When executions were last compared with the venue's, in seconds since 1970.",
    multiprocess_mode="livemax",
)
EXECUTIONS_MISSING = ReadGauge(
    "ordertrail_executions_missing",
    "Of the venue's execution reports, those that were not here when they were last compared.",
    multiprocess_mode="livemax",
)
EXECUTIONS_DIFFERENT = ReadGauge(
    "ordertrail_executions_different", "Likewise, those that differ here.", multiprocess_mode="livemax"
)
EXECUTIONS_UNKNOWN = ReadGauge(
    "ordertrail_executions_unknown",
    "Likewise, executions here that the venue does not have.",
    multiprocess_mode="livemax",
)
EVENT_READERS = Gauge(
    "ordertrail_event_readers",
    "Clients that wait for events: streams, pages that are waited for, and requests that wait for an order.",
    ["kind"],
    multiprocess_mode="livesum",
)
EVENTS_DELIVERED = Counter("ordertrail_events_delivered", "Events that were given to clients, one for each of them.")
EVENT_READERS_CUT_OFF = Counter(
    "ordertrail_event_readers_cut_off",
    "Streams that were ended: lagging, the client left too much lying; stalled, it took nothing for too long; "
    "log_changed, the place was lost.",
    ["cause"],
)
EVENT_LOG_FAILURES = Counter(
    "ordertrail_event_log_failures", "Times that the event log could not be read, or kept in order.", ["kind"]
)
EVENT_LOG_HORIZON_SECONDS = ReadGauge(
    "ordertrail_event_log_horizon_seconds",
    "How long the oldest transaction has been open that keeps events from readers, of any database of the server; NaN: "
    "it could not be read. By every process that reconciles.",
    multiprocess_mode="livemostrecent",
)
EVENT_LOG_MISPLACED = ReadGauge(
    "ordertrail_event_log_misplaced",
    "Rows of the event log in no partition of a day, for a person to see to; counted up to 10,000, once an hour.",
    multiprocess_mode="livemostrecent",
)
INVARIANTS_BROKEN = Counter(
    "ordertrail_invariants_broken", "Things that must never happen, by name; any is a bug.", ["name"]
)
GATE_BREAKER = Gauge(
    "ordertrail_gate_breaker",
    "The breaker before the exchange, the worst of all processes: 0 closed, 1 half open, 2 throttled, 3 open.",
    ["budget"],
    multiprocess_mode="livemax",
)
GATE_STOPS = Counter(
    "ordertrail_gate_stops", "Times a breaker opened, or backed off a throttling exchange.", ["budget", "state"]
)
GATE_INSTRUMENTS_OPEN = Gauge(
    "ordertrail_gate_instruments_open",
    "Instruments that are stopped while the others go on, in the process that has the most.",
    ["budget"],
    multiprocess_mode="livemax",
)
GATE_INSTRUMENT_STOPS = Counter(
    "ordertrail_gate_instrument_stops",
    "Times one instrument was stopped, or backed off, by itself.",
    ["budget", "state"],
)
GATE_REFUSED = Counter("ordertrail_gate_refused", "Calls that the gate did not let through.", ["budget", "cause"])
GATE_IN_FLIGHT = Gauge(
    "ordertrail_gate_in_flight", "Calls under way to the exchange.", ["budget"], multiprocess_mode="livesum"
)
GATE_WAITING = Gauge("ordertrail_gate_waiting", "Calls that wait at the gate.", ["budget"], multiprocess_mode="livesum")
GATE_HALTED = Gauge("ordertrail_gate_halted", "1 while the operator's halt stands.", multiprocess_mode="livemax")
LOG_RECORDS_DROPPED = Counter(
    "ordertrail_log_records_dropped", "Log lines that were dropped, because the log's sink did not take them."
)
LOG_RECORDS_WAITING = Gauge(
    "ordertrail_log_records_waiting", "Log lines that the log's sink has not taken yet.", multiprocess_mode="livesum"
)


def flush() -> None:
    """Hand over to the metrics library what has gathered elsewhere in this process."""
    global _dropped_log_records  # noqa: PLW0603 - the one counter of the process
    buffered.flush()
    LOG_RECORDS_WAITING.set(streams.waiting_records())
    with _flush_lock:
        dropped = streams.dropped_records()
        LOG_RECORDS_DROPPED.inc(dropped - _dropped_log_records)
        _dropped_log_records = dropped


def forget_process(pid: int) -> None:
    """Take away what a dead worker said of its present moment; what it has counted stays."""
    # A file that cannot be deleted must not end the parent of workers.
    with contextlib.suppress(OSError):
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # untyped in the library


@dataclass(frozen=True, slots=True)
class TroubleCounters:
    """What is counted that must not happen, of all workers since they were started; None: it is not counted here."""

    log_records_dropped: int | None
    late_arrivals: int | None
    invariants_broken: dict[str, int]


def trouble_counters() -> TroubleCounters:
    """For the status; it reads the files of all workers where they are several."""
    flush()
    found: dict[str, dict[str, int]] = {}
    for family in _registry().collect():
        for sample in family.samples:
            if sample.name.endswith("_total") and sample.value:
                by_name = found.setdefault(family.name, {})
                label = sample.labels.get("name", "")
                by_name[label] = by_name.get(label, 0) + int(sample.value)

    def counted(name: str) -> int:
        return sum(found.get(name, {}).values())

    return TroubleCounters(
        log_records_dropped=counted("ordertrail_log_records_dropped"),
        late_arrivals=counted("ordertrail_late_arrivals"),
        invariants_broken=found.get("ordertrail_invariants_broken", {}),
    )


def _registry() -> CollectorRegistry:
    """That of this process, or of all workers where they are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped in the library
    return registry


def render() -> tuple[bytes, str]:
    """The exposition text of all workers, and its content type."""
    flush()
    return generate_latest(_registry()), CONTENT_TYPE_LATEST
