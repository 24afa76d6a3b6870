"""The tables and enums of a database, from PostgreSQL's catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

# Without partitions, which are as their table is.
_TABLES = """
SELECT c.relname AS name, coalesce(array_to_string(c.reloptions, ', '), '') AS options
  FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
   AND NOT c.relispartition
"""

_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, co.collname AS collation,
       CASE WHEN a.attidentity <> '' THEN 'an identity' ELSE pg_get_expr(d.adbin, d.adrelid) END AS default_value,
       NOT a.attnotnull AS is_nullable
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_collation co ON co.oid = a.attcollation AND co.collname <> 'default'
 WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""

# Without NOT NULL, which newer servers list here too.
_KEYS = """
SELECT conname || ': ' || pg_get_constraintdef(oid) AS definition
  FROM pg_constraint
 WHERE conrelid = $1::regclass AND contype IN ('p', 'u', 'x', 'f', 'c')
 ORDER BY array_position('{p,u,x,f,c}', contype), conname
"""

# Without those that a key brings.
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) AS definition
  FROM pg_index i
 WHERE i.indrelid = $1::regclass
   AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
 ORDER BY i.indexrelid::regclass::text
"""

_TRIGGERS = """
SELECT pg_get_triggerdef(oid) AS definition FROM pg_trigger
 WHERE tgrelid = $1::regclass AND NOT tgisinternal
 ORDER BY tgname
"""

_ENUMS = """
SELECT t.typname AS type, e.enumlabel AS label
  FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
 ORDER BY t.typname, e.enumsortorder
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalogue has it."""

    name: str
    options: str
    columns: Sequence[Mapping[str, Any]]
    keys: Sequence[str]
    indexes: Sequence[str]
    triggers: Sequence[str]

    @property
    def is_append_only(self) -> bool:
        return any("refuse_change()" in trigger for trigger in self.triggers)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything in it: tables by name, the labels of each enum in their order."""

    tables: Mapping[str, Table]
    enums: Mapping[str, Sequence[str]]


async def read_catalogue(url: str) -> Catalogue:
    """What this database has."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        tables = {record["name"]: await _table(connection, **record) for record in await connection.fetch(_TABLES)}
        enums: dict[str, list[str]] = {}
        for record in await connection.fetch(_ENUMS):
            enums.setdefault(record["type"], []).append(record["label"])
    finally:
        await connection.close()
    return Catalogue(tables, enums)


async def _table(connection: Any, name: str, options: str) -> Table:
    columns = [dict(column) for column in await connection.fetch(_COLUMNS, name)]
    keys, indexes, triggers = [
        [record["definition"].replace("public.", "") for record in await connection.fetch(query, name)]
        for query in (_KEYS, _INDEXES, _TRIGGERS)
    ]
    return Table(name, options, columns, keys, indexes, triggers)
