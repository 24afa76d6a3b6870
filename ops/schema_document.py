"""`docs/schema.md`: the tables as PostgreSQL has them after the migrations, what each is for, and who uses it.

Structure comes from the catalogue, writers and readers from the statements, purposes from `schema_meanings`.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import sql_documents
from ops.schema_catalogue import Catalogue, Table, read_catalogue
from ops.schema_meanings import ENUMS, TABLES, Meaning, check
from ops.sql_lists import LIST_SHAPES
from ops.sql_senders import MIGRATION, READS, SENDERS
from ordertrail.storage.postgres.migrate import migrate
from ordertrail.up.embedded_postgres import STOP_QUICKLY, EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class Use:
    """What a statement does: who sends it, and which tables it writes and reads."""

    statement: str
    senders: tuple[str, ...]
    writes: frozenset[str]
    reads: frozenset[str]


def schema() -> str:
    """The document, from a server of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ordertrail-schema-"))
    folder.chmod(0o755)  # the server may run under another account
    server = EmbeddedPostgres(folder / "postgres", options={"fsync": "off", "shared_buffers": "16MB"})
    try:
        server.start()
        asyncio.run(migrate(server.url))
        return document_of(asyncio.run(read_catalogue(server.url)))
    finally:
        server.stop(STOP_QUICKLY)
        shutil.rmtree(folder)


def document_of(catalogue: Catalogue) -> str:
    """The document of a database. Raises SchemaMismatch."""
    tables = catalogue.tables
    check({name: {column["name"] for column in table.columns} for name, table in tables.items()}, {*catalogue.enums})
    uses = list(_uses(frozenset(tables)))
    parts = [_HEAD, _picture(tables, uses)]
    parts += [_section(tables[name], meaning, uses) for name, meaning in TABLES.items()]
    parts += [_enum(name, purpose, catalogue.enums[name]) for name, purpose in ENUMS.items()]
    return "\n".join(parts)


def _uses(tables: frozenset[str]) -> Iterator[Use]:
    """What each statement does, those of lists and of the migrations as one each."""
    for statement in sql_documents.all_statements():
        yield use_of(statement.name, SENDERS[statement.name], statement.texts.values(), tables)
    lists = ["\n".join(line for line, _ in shape.lines()) for shape in LIST_SHAPES]
    yield use_of("lists", (READS,), lists, tables)
    yield use_of("migrations", (MIGRATION,), [sql_documents.migrations()], tables)


def use_of(name: str, senders: tuple[str, ...], texts: Iterable[str], tables: frozenset[str]) -> Use:
    """Which of the tables this statement writes and reads, in all its variants together."""
    text = "\n".join(texts)
    # `DO UPDATE` and `FOR UPDATE` name no table.
    writes = re.findall(r"\b(?:INSERT INTO|DELETE FROM|(?<!DO )(?<!FOR )UPDATE) (\w+)", text)
    reads = re.findall(r"(?<!DELETE )\b(?:FROM|JOIN) (\w+)", text)
    return Use(name, senders, tables.intersection(writes), tables.intersection(reads))


_HEAD = """\
# The schema

Made from the migrations and the statements by `make documents`; not written by hand. The statements that are named
here stand in [sql/](sql/), what made the tables in [sql/migrations.sql](sql/migrations.sql). Other tables refer to an
order by its id without a foreign key, for in `orders` the id alone is not unique. A trigger of each append-only table
refuses UPDATE, DELETE and TRUNCATE.

## Who writes what
"""


def _picture(tables: Mapping[str, Table], uses: Sequence[Use]) -> str:
    """Each sender with an arrow to each table that it writes."""
    arrows = dict.fromkeys(
        (sender, table) for table in TABLES for use in uses if table in use.writes for sender in use.senders
    )
    senders = list(dict.fromkeys(sender for sender, _ in arrows))
    node = {sender: re.sub(r"\W+", "_", sender) for sender in senders}
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'    {node[sender]}(["{sender}"])' for sender in senders]
    lines += ['    subgraph append_only["append-only"]']
    lines += [f"        {name}[({name})]" for name in TABLES if tables[name].is_append_only]
    lines += ["    end"]
    lines += [f"    {name}[({name})]" for name in TABLES if not tables[name].is_append_only]
    lines += [f"    {node[sender]} --> {table}" for sender, table in arrows]
    return "\n".join([*lines, "```", ""])


def _section(table: Table, meaning: Meaning, uses: Sequence[Use]) -> str:
    lines = [f"## {table.name}", "", meaning.purpose, ""]
    lines += ["| column | type | null | default | meaning |", "|---|---|---|---|---|"]
    lines += [_row(column, meaning.columns.get(column["name"], "")) for column in table.columns]
    lines += [
        "",
        *(f"- Constraint {_code(name)}: {_code(text)}" for name, _, text in (k.partition(": ") for k in table.keys)),
    ]
    lines += [f"- Index: {_code(index)}" for index in table.indexes]
    lines += [f"- Storage: {_code(table.options)}"] if table.options else []
    lines += [f"- Trigger: {_code(trigger)}" for trigger in table.triggers]
    lines += [f"- Written by {_whom(uses, table.name, lambda use: use.writes) or 'no statement'}."]
    lines += [f"- Read by {_whom(uses, table.name, lambda use: use.reads) or 'no other statement'}."]
    return "\n".join([*lines, ""])


def _row(column: Mapping[str, Any], meaning: str) -> str:
    kind = column["type"] + (f' COLLATE "{column["collation"]}"' if column["collation"] else "")
    cells = (
        _code(column["name"]),
        _code(kind),
        "null" if column["is_nullable"] else "",
        _code(column["default_value"]) if column["default_value"] else "",
        meaning,
    )
    return "| " + " | ".join(cells) + " |"


def _whom(uses: Sequence[Use], table: str, tables_of: Callable[[Use], frozenset[str]]) -> str:
    """`placement (INSERT_INITIATED, HOLD), the sweep (KEEP_OBSERVATIONS)`."""
    statements: dict[str, list[str]] = {}
    for use in uses:
        for sender in use.senders if table in tables_of(use) else ():
            statements.setdefault(sender, []).append(use.statement)
    return ", ".join(f"{sender} ({', '.join(names)})" for sender, names in statements.items())


def _enum(name: str, purpose: str, labels: Sequence[str]) -> str:
    """An enum, with the words that its migration has for the labels."""
    said = dict(re.findall(r"^ +'([A-Z_]+)',? +-- (.+)$", sql_documents.migrations(), re.MULTILINE))
    rows = [f"| `{label}` | {said.get(label, '')} |" for label in labels]
    return "\n".join([f"## {name}", "", purpose, "", "| label | means |", "|---|---|", *rows, ""])


def _code(text: str) -> str:
    return f"`{text}`"
