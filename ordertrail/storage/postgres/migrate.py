"""Bringing a database's schema up to date; any number of processes may try at once, one does it."""

import asyncio
from pathlib import Path

import asyncpg

from ordertrail.storage.postgres.address import Address, read_address
from ordertrail.storage.postgres.connecting import Connector
from ordertrail.storage.postgres.installation_statements import SCHEMA_VERSION

SCHEMA_HEAD = "0007"
CONNECT_TIMEOUT_SECONDS = 10


async def migrate(url: str) -> None:
    """Apply what is missing. Alembic is loaded only if something is; its lock lets one process at a time."""
    address = read_address(url)
    connection = await connector_of(address).connect()
    try:
        version = await connection.fetchval(SCHEMA_VERSION)
    except asyncpg.UndefinedTableError:
        version = None
    finally:
        await connection.close()
    if version != SCHEMA_HEAD:
        await asyncio.to_thread(_upgrade, address)


def connector_of(address: Address) -> Connector:
    """For the connections that migrate: a migration may take as long as it takes."""
    return Connector(address, {"statement_timeout": "0", "lock_timeout": "0"}, timeout_seconds=CONNECT_TIMEOUT_SECONDS)


def _upgrade(address: Address) -> None:
    from alembic import command  # noqa: PLC0415 - slow to load and seldom needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connect"] = connector_of(address).connect
    command.upgrade(config, "head")
