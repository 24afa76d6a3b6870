"""Runs the migrations in one transaction, under a lock that ends with it."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from ordertrail.storage.postgres.installation_statements import LIMIT_LOCK_TIME, LOCK_MIGRATIONS


def _run(connection: Connection) -> None:
    connection.execute(text(LIMIT_LOCK_TIME))
    connection.execute(text(LOCK_MIGRATIONS))
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
