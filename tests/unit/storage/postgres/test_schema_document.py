"""`docs/schema.md` tells of the tables that there are, and of what the statements do with them."""

from pathlib import Path

import pytest

from ops.schema_catalogue import Catalogue, read_catalogue
from ops.schema_document import document_of, use_of
from ops.schema_meanings import ENUMS, TABLES, SchemaMismatch, check
from tests.support.postgres import execute, run

MIGRATIONS = Path(__file__).parents[4] / "docs" / "sql" / "migrations.sql"
ALL = {name: {*meaning.columns, "other"} for name, meaning in TABLES.items()}


@pytest.fixture
def catalogue(database_url: str) -> Catalogue:
    return run(read_catalogue(database_url))


def test_the_document_of_migrations_makes_what_the_migrations_make(
    catalogue: Catalogue, empty_database_url: str
) -> None:
    execute(empty_database_url, MIGRATIONS.read_text())

    assert run(read_catalogue(empty_database_url)) == catalogue


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders ALTER COLUMN reason SET DEFAULT 'x'",
        "ALTER TABLE orders ALTER COLUMN reason SET NOT NULL",
        "ALTER TABLE doubts ALTER COLUMN tries TYPE bigint",
        "ALTER TABLE doubts ADD CHECK (tries >= 0)",
        "ALTER TABLE doubts SET (fillfactor = 60)",
        "DROP INDEX doubts_due",
        "DROP TRIGGER append_only ON orphans",
        "ALTER TYPE order_status_enum ADD VALUE 'LOST'",
    ],
)
def test_a_change_of_the_schema_changes_the_document(database_url: str, catalogue: Catalogue, change: str) -> None:
    execute(database_url, change)

    assert document_of(run(read_catalogue(database_url))) != document_of(catalogue)


def test_every_table_has_its_purpose_and_nothing_else_has() -> None:
    check(ALL, {*ENUMS})

    with pytest.raises(SchemaMismatch, match="fills has no purpose"):
        check(ALL | {"fills": {"id"}}, {*ENUMS})
    with pytest.raises(SchemaMismatch, match="orphans is not there"):
        check({name: columns for name, columns in ALL.items() if name != "orphans"}, {*ENUMS})
    with pytest.raises(SchemaMismatch, match=r"orders\.place_by is not there"):
        check(ALL | {"orders": ALL["orders"] - {"place_by"}}, {*ENUMS})
    with pytest.raises(SchemaMismatch, match="side_enum has no purpose"):
        check(ALL, {*ENUMS, "side_enum"})
    with pytest.raises(SchemaMismatch, match="order_status_enum is not there"):
        check(ALL, set())


@pytest.mark.parametrize(
    ("text", "writes", "reads"),
    [
        ("INSERT INTO a SELECT id FROM b JOIN c USING (id)", {"a"}, {"b", "c"}),
        ("INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2", {"a"}, set()),
        ("UPDATE a SET id = 1 FROM b", {"a"}, {"b"}),
        ("DELETE FROM a USING due", {"a"}, set()),
        ("SELECT FROM a CROSS JOIN LATERAL (SELECT FROM b) AS c FOR UPDATE SKIP LOCKED", set(), {"a", "b"}),
        ("WITH recorded AS (INSERT INTO a VALUES (1)) SELECT FROM recorded", {"a"}, set()),
    ],
)
def test_what_a_statement_writes_and_reads(text: str, writes: set[str], reads: set[str]) -> None:
    use = use_of("SOME", (), [text], frozenset({"a", "b", "c", "SKIP", "SET"}))

    assert (set(use.writes), set(use.reads)) == (writes, reads)
