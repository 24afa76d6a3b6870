"""DBOS as its guide for FastAPI has it: functions with decorators, and every setting left alone."""
# mypy: disable-error-code="untyped-decorator, import-not-found, unused-ignore"
# DBOS is installed for benchmarks only; without it its decorators have no types.

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS, SQLAlchemyDatasource
from fastapi import FastAPI
from sqlalchemy import text

from bench.rivals.order import DATABASE_URL, EXCHANGE_SECONDS, NewOrder, PlacedOrder, make_id

INSERT = text("""
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)
VALUES (:id, :type, :side, :instrument, :limit_price, :quantity, CAST(:status AS order_status_enum))
""")

DBOS(config={"name": "bench", "system_database_url": DATABASE_URL})
datasource = SQLAlchemyDatasource.create(DATABASE_URL)


@datasource.transaction()
def record(row: dict[str, Any]) -> None:
    """A row, and the step's checkpoint, in one transaction."""
    datasource.sql_session().execute(INSERT, row)


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
