"""A database of the release before, upgraded while that release's processes are still running."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from ordertrail.storage.postgres import migrate as migrations
from ordertrail.storage.postgres.address import read_address
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.migrate import connector_of, migrate
from ordertrail.storage.postgres.switch import PostgresSwitch

# What a process of the release before sends every second.
OLD_READ_HALT = "SELECT is_on FROM switches WHERE name = 'halt'"
HALT = "INSERT INTO switches (name, is_on, changed_by, reason) VALUES ('halt', true, 'ada', 'venue asked')"
ORPHAN = "INSERT INTO orphans (venue, epoch, client_order_id, exchange_order_id) VALUES ('v', '1', 'a', 'E-1')"


async def migrated_up_to(revision: str, url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent / "migrations"))
    config.attributes["connect"] = connector_of(read_address(url)).connect
    await asyncio.to_thread(command.upgrade, config, revision)


async def test_a_halt_of_before_stands_after_the_upgrade_for_old_processes_and_new_ones(
    empty_database_url: str,
) -> None:
    await migrated_up_to("0003", empty_database_url)
    old = await asyncpg.connect(empty_database_url)
    await old.execute(HALT)
    assert await old.fetchval(OLD_READ_HALT) is True

    await migrate(empty_database_url)

    assert await old.fetchval(OLD_READ_HALT) is True
    new = Database(empty_database_url, timeout_seconds=2, connections_max=1)
    await new.open()
    assert (await PostgresSwitch(new).read()).is_halted
    await new.close()
    [action] = await old.fetch("SELECT action, operator, reason FROM operator_actions")
    assert tuple(action) == ("halt", "ada", "venue asked")
    await old.close()


async def test_orphans_of_before_are_kept_and_can_be_closed_once(empty_database_url: str) -> None:
    await migrated_up_to("0003", empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(ORPHAN)

    await migrate(empty_database_url)

    [(id_,)] = await connection.fetch("SELECT id FROM orphans WHERE closed_at IS NULL")
    with pytest.raises(asyncpg.RestrictViolationError, match="only be closed"):
        await connection.execute("UPDATE orphans SET exchange_order_id = 'E-2', closed_at = now() WHERE id = $1", id_)
    await connection.execute("UPDATE orphans SET closed_at = now() WHERE id = $1", id_)
    for change in ("UPDATE orphans SET closed_at = now()", "UPDATE orphans SET closed_at = NULL"):
        with pytest.raises(asyncpg.RestrictViolationError, match="only be closed"):
            await connection.execute(change)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await connection.execute("DELETE FROM orphans")
    await connection.close()


async def test_what_an_operator_did_stays(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("INSERT INTO operator_actions (action, operator, origin) VALUES ('halt', 'ada', 'cli')")

    for change in ("UPDATE operator_actions SET operator = 'bob'", "DELETE FROM operator_actions"):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await connection.execute(change)
    await connection.close()
