"""Runs the migrations in one transaction, under a lock that ends with it."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

# Any number would do; every version of Ordertrail must use the same.
_LOCK = 7_305_112_026

_LOCK_TIMEOUT_SECONDS = 60


def _run(connection: Connection) -> None:
    # Transaction-scoped, so that it holds behind a pooler that hands out connections by transaction.
    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    context.configure(connection=connection, transactional_ddl=True)
    context.run_migrations()


async def _migrate(url: str) -> None:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


asyncio.run(_migrate(context.config.attributes["url"]))
