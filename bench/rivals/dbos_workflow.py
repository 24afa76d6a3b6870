"""DBOS: placing as a durable workflow of three steps, as its guide has it; what differs is set in the environment.

Plain steps, and rows that may be inserted twice: its datasources, which join a row and its checkpoint in one
transaction, were tried too, also as coroutines and with larger pools, and were slower here.
"""
# mypy: disable-error-code="untyped-decorator, import-not-found, unused-ignore"
# DBOS is installed for benchmarks only; without it its decorators have no types.

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS
from fastapi import FastAPI
from sqlalchemy import create_engine, text

from bench.rivals.order import DATABASE_URL, EXCHANGE_SECONDS, NewOrder, PlacedOrder, make_id

DEFAULTS: dict[str, Any] = {"name": "bench", "system_database_url": DATABASE_URL}
# Larger pools, fewer threads and no LISTEN/NOTIFY did not help.
TUNED = {
    **DEFAULTS,
    "executor_id": f"worker-{os.getpid()}",
    "db_engine_kwargs": {"pool_pre_ping": False},
    "log_level": "WARNING",
}
INSERT = text("""
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)
VALUES (:id, :type, :side, :instrument, :limit_price, :quantity, CAST(:status AS order_status_enum))
ON CONFLICT DO NOTHING
""")

config: Any = TUNED if os.environ.get("BENCH_TUNED") else DEFAULTS
DBOS(config=config)
# Two workers of these 20 and DBOS's own 20 stay below PostgreSQL's 100.
engine = create_engine(DATABASE_URL.replace("postgresql://", "postgresql+psycopg2://"), pool_size=20, max_overflow=0)


@DBOS.step()
def record(row: dict[str, Any]) -> None:
    """A row in its own transaction; the step's checkpoint follows in another."""
    with engine.begin() as connection:
        connection.execute(INSERT, row)


@DBOS.step()
def send() -> None:
    """The exchange."""
    time.sleep(EXCHANGE_SECONDS)


@DBOS.workflow()
def place_order(fields: dict[str, Any]) -> None:
    """Record, send, record."""
    record({**fields, "status": "INITIATED"})
    send()
    record({**fields, "status": "COMPLETED"})


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Run DBOS while the process serves."""
    DBOS.launch()
    yield
    DBOS.destroy()


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
def place(order: NewOrder) -> PlacedOrder:
    """One workflow an order."""
    fields = {"id": make_id(), **order.model_dump()}
    place_order(fields)
    return PlacedOrder(**fields)
