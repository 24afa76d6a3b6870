"""DBOS with what it offers for throughput: coroutines, read committed, larger pools, a worker a core."""
# mypy: disable-error-code="untyped-decorator, import-not-found, unused-ignore"
# DBOS is installed for benchmarks only; without it its decorators have no types.

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS, AsyncSQLAlchemyDatasource
from fastapi import FastAPI, Request, Response
from sqlalchemy import text

from bench.rivals.order import DATABASE_URL, EXCHANGE_SECONDS, NEW_ORDER, PlacedOrder, make_id

# Two workers of 24 + 20 leave room for DBOS's own listeners below PostgreSQL's 100 connections.
SYSTEM_POOL_SIZE = 24
DATASOURCE_POOL_SIZE = 20

INSERT = text("""
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)
VALUES (:id, :type, :side, :instrument, :limit_price, :quantity, CAST(:status AS order_status_enum))
""")

DBOS(
    config={
        "name": "bench",
        "executor_id": f"worker-{os.getpid()}",
        "system_database_url": DATABASE_URL,
        "sys_db_pool_size": SYSTEM_POOL_SIZE,
        "db_engine_kwargs": {"pool_pre_ping": False},
        "max_executor_threads": SYSTEM_POOL_SIZE,
        "log_level": "WARNING",
    }
)


@DBOS.step()
async def send() -> None:
    """The exchange."""
    await asyncio.sleep(EXCHANGE_SECONDS)


@DBOS.workflow()
async def place_order(fields: dict[str, Any]) -> None:
    """Record, send, record."""
    await _record({**fields, "status": "INITIATED"})
    await send()
    await _record({**fields, "status": "COMPLETED"})


async def _record(row: dict[str, Any]) -> None:
    options = {"name": "record", "isolation_level": "READ COMMITTED"}
    await app.state.datasource.run_tx_step_async(options, _insert, row)


async def _insert(row: dict[str, Any]) -> None:
    await app.state.datasource.sql_session().execute(INSERT, row)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run DBOS while the process serves."""
    app.state.datasource = await AsyncSQLAlchemyDatasource.create(
        DATABASE_URL, engine_kwargs={"pool_size": DATASOURCE_POOL_SIZE, "max_overflow": 0}
    )
    DBOS.launch()
    yield
    DBOS.destroy()


app = FastAPI(lifespan=lifespan)


@app.post("/orders")
async def place(request: Request) -> Response:
    """One workflow an order."""
    order = NEW_ORDER.validate_json(await request.body())
    fields = {"id": make_id(), **order.model_dump()}
    await place_order(fields)
    return Response(PlacedOrder(**fields).model_dump_json(), 201, media_type="application/json")
