"""Who runs, and how: one line a contender."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CONNECTIONS = 256
SLOW_CONNECTIONS = 5_000
SLEEP = "sleep"


@dataclass(frozen=True)
class Contender:
    """A server (or `pgbench`) as it is measured."""

    name: str
    title: str
    # A rival's ASGI application; None: Ordertrail, or pgbench.
    app: str | None = None
    workers: int = 2
    connections: int = CONNECTIONS
    # Whether it writes two rows an order to the table `orders`.
    records: bool = True
    # Ordertrail's exchange: the rivals' sleep, or the setting that names another; `http` starts the simulated exchange
    # as a program of its own.
    exchange: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    statuses: frozenset[str] = frozenset({"201"})
    warm_seconds_min: float = 0.0
    # What Ordertrail's rate, divided by this one's, is to reach (for `ordertrail_slow`: this one's by Ordertrail's).
    ratio_to_reach: float | None = None
    note: str = field(default="", compare=False)


CONTENDERS = (
    Contender("ordertrail", "Ordertrail", exchange=SLEEP),
    Contender(
        "ordertrail_simulated",
        "Ordertrail, simulated exchange in process",
        exchange="in_memory:?latency_ms=5",
        note="the whole of it, matching and books included, within the server's own processes",
    ),
    Contender(
        "ordertrail_http",
        "Ordertrail, `http` venue",
        exchange="http",
        note="the simulated exchange is one more process on the same cores, with a durable log of its own",
    ),
    Contender(
        "ordertrail_slow",
        "Ordertrail, exchange takes 0.5 s and refuses 10 %",
        connections=SLOW_CONNECTIONS,
        exchange=SLEEP,
        environment={"BENCH_EXCHANGE_SECONDS": "0.5", "BENCH_EXCHANGE_REFUSED_SHARE": "0.1"},
        statuses=frozenset({"201", "500"}),
        warm_seconds_min=4.0,
        ratio_to_reach=0.8,
        note="201 and 500 are both counted: either way two rows",
    ),
    Contender(
        "fastapi_echo",
        "FastAPI, validates and echoes",
        app="bench.rivals.fastapi_echo:app",
        records=False,
        ratio_to_reach=1.0,
        note="no database, no exchange",
    ),
    Contender(
        "asgi_echo",
        "bare ASGI, validates and echoes",
        app="bench.rivals.asgi_echo:app",
        records=False,
        note="a ceiling, for information",
    ),
    Contender(
        "pgbench",
        "`pgbench`, the same two rows one by one",
        workers=0,
        connections=32,
        ratio_to_reach=1.0,
        note="no HTTP, no exchange; 32 clients, prepared",
    ),
    Contender(
        "seed_plain",
        "the seed's design, synchronous SQLAlchemy",
        app="bench.rivals.seed_plain:app",
        ratio_to_reach=20.0,
    ),
    Contender(
        "plain_asyncpg",
        "FastAPI and asyncpg, a commit a row",
        app="bench.rivals.plain_asyncpg:app",
        ratio_to_reach=6.0,
    ),
    Contender(
        "dbos_defaults",
        "DBOS, defaults",
        app="bench.rivals.dbos_workflow:app",
        workers=1,
        warm_seconds_min=4.0,
        ratio_to_reach=75.0,
    ),
    Contender(
        "dbos_tuned",
        "DBOS, tuned",
        app="bench.rivals.dbos_workflow:app",
        environment={"BENCH_TUNED": "1"},
        warm_seconds_min=4.0,
        note="two workers, no ping before each statement",
    ),
)
