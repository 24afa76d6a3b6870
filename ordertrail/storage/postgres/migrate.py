"""Bringing a database's schema up to date; any number of processes may try at once, one does it."""

import asyncio
from pathlib import Path

import asyncpg

from ordertrail.storage.postgres.installation_statements import SCHEMA_VERSION

SCHEMA_HEAD = "0004"


async def migrate(url: str) -> None:
    """Apply what is missing. Alembic is loaded only if something is; its lock lets one process at a time."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        version = await connection.fetchval(SCHEMA_VERSION)
    except asyncpg.UndefinedTableError:
        version = None
    finally:
        await connection.close()
    if version != SCHEMA_HEAD:
        await asyncio.to_thread(_upgrade, url)


def _upgrade(url: str) -> None:
    from alembic import command  # noqa: PLC0415 - slow to load and seldom needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    command.upgrade(config, "head")
