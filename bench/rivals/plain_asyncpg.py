"""What one would write first for speed: async FastAPI and an asyncpg pool, still a commit a row."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response

from bench.rivals.order import DATABASE_URL, EXCHANGE_SECONDS, NEW_ORDER, PlacedOrder, make_id

POOL_SIZE = 20
INSERT = """
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the pool while the process serves."""
    async with asyncpg.create_pool(DATABASE_URL, min_size=POOL_SIZE, max_size=POOL_SIZE) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders")
async def place(request: Request) -> Response:
    """Record, send, record."""
    order = NEW_ORDER.validate_json(await request.body())
    order_id = make_id()
    fields = (order_id, order.type, order.side, order.instrument, order.limit_price, order.quantity)
    pool = app.state.pool
    await pool.execute(INSERT, *fields, "INITIATED")
    await asyncio.sleep(EXCHANGE_SECONDS)
    await pool.execute(INSERT, *fields, "COMPLETED")
    placed = PlacedOrder.model_construct(id=order_id, **order.__dict__)
    return Response(placed.model_dump_json(), 201, media_type="application/json")
