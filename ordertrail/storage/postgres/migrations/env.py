"""Runs the migrations in one transaction, under a lock that ends with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from ordertrail.storage.postgres.installation_statements import LIMIT_LOCK_TIME, LOCK_MIGRATIONS


def _run(connection: Connection) -> None:
    connection.execute(text(LIMIT_LOCK_TIME))
    connection.execute(text(LOCK_MIGRATIONS))
    context.configure(connection=connection, transactional_ddl=True)
    context.run_migrations()


async def _migrate(connect: Callable[[], Awaitable[Any]]) -> None:
    # Alembic's engine reads no URL of ours: it is handed a connection like all others.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


def _show() -> None:
    """Write down what would be sent, for a person to read."""
    # By this style of parameters, none of which there is, a % is written as it is sent.
    context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, transactional_ddl=True)
    with context.begin_transaction():
        context.execute(LIMIT_LOCK_TIME)
        context.execute(LOCK_MIGRATIONS)
        context.run_migrations()


if context.is_offline_mode():
    _show()
else:
    asyncio.run(_migrate(context.config.attributes["connect"]))
