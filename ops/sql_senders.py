"""Who sends each statement."""

from collections.abc import Mapping

PLACEMENT = "placement"
SPOOL = "the spool's replay"
RECONCILER = "the reconciler"
SWEEP = "the sweep"
OPERATOR = "the operator"
CANCEL = "the API's cancel"
READS = "the API's reads"
EVERY_PROCESS = "every process"
EMBEDDED = "the embedded server's first start"
MIGRATION = "the migration"

# Who sends a statement; every statement stands here.
SENDERS: Mapping[str, tuple[str, ...]] = {
    "INSERT_INITIATED": (PLACEMENT,),
    "INSERT_COMPLETED": (PLACEMENT,),
    "INSERT_INITIATED_AND_COMPLETED": (PLACEMENT,),
    "HOLD": (PLACEMENT, SPOOL),
    "INSERT_NEVER_SENT": (PLACEMENT,),
    "REPLAY": (SPOOL,),
    "KEY_OWNERS": (PLACEMENT,),
    "INITIATED_TIMES": (PLACEMENT,),
    "INSERT_TRAIL_ROWS": (PLACEMENT,),
    "TRAIL_ROWS_THERE": (PLACEMENT,),
    "READ_ORDER": (PLACEMENT, READS),
    "ENQUEUE_DUE_BATCHES": (RECONCILER,),
    "LEASE": (RECONCILER,),
    "LOAD": (RECONCILER,),
    "APPLY_VERDICTS": (RECONCILER,),
    "CLAIM_SENDS": (RECONCILER,),
    "RECORD_ANSWERS": (RECONCILER,),
    "MAKE_DUE": (RECONCILER,),
    "REOPEN": (),
    "REQUEST_CANCEL": (CANCEL,),
    "COUNTS": (RECONCILER, OPERATOR),
    "OLDEST": (OPERATOR,),
    "LOCK_DOUBT": (OPERATOR,),
    "RESOLVE": (OPERATOR,),
    "LEASE_SWEEP": (SWEEP,),
    "MOVE_SWEEP": (SWEEP,),
    "END_SWEEP": (SWEEP,),
    "NOTE_EPOCH": (RECONCILER,),
    "STATUSES_OF": (SWEEP,),
    "KEEP_OBSERVATIONS": (SWEEP,),
    "KEEP_ORPHANS": (SWEEP,),
    "READ_HALT": (EVERY_PROCESS,),
    "SET_HALT": (OPERATOR,),
    "PREPARE_SESSION": (EVERY_PROCESS,),
    "BEGIN": (PLACEMENT, SPOOL, OPERATOR),
    "BEGIN_READ_ONLY": (READS,),
    "LIMIT_STATEMENT_TIME": (READS,),
    "COMMIT": (PLACEMENT, SPOOL, READS, OPERATOR),
    "PING": (EVERY_PROCESS,),
    "CREATE_ROLE": (EMBEDDED,),
    "GRANT_MONITORING": (EMBEDDED,),
    "CREATE_DATABASE": (EMBEDDED,),
    "SCHEMA_VERSION": (EVERY_PROCESS,),
    "LIMIT_LOCK_TIME": (MIGRATION,),
    "LOCK_MIGRATIONS": (MIGRATION,),
}
