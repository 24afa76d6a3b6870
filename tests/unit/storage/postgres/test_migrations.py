"""The newest migration is the one that a start looks for."""

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from ordertrail.storage.postgres import migrate


def test_start_finds_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))

    heads = ScriptDirectory.from_config(config).get_heads()

    # Another one would be found missing at every start of every process, and looked for with Alembic each time.
    assert heads == [migrate.SCHEMA_HEAD]
