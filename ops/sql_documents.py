"""Every statement that is sent, finished, with what stands above it in its module: when it is sent, its parameters.

A statement is a constant in capitals in one of the modules of statements; one that has variants is a mapping of them.
"""

import ast
import importlib
import inspect
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from alembic import command
from alembic.config import Config

from ops.sql_lists import LIST_SHAPES
from ops.sql_senders import READS, SENDERS
from ordertrail.storage.postgres import migrate
from ordertrail.storage.postgres.connecting import PLANNER_SETTINGS, SESSION_SETTINGS
from ordertrail.storage.postgres.database import TRANSACTION_STATEMENTS_MAX

MODULES = "ordertrail.storage.postgres"

# A document each, and the module that it is made from.
SUBJECTS = {
    "orders": "order_statements",
    "execution_reads": "execution_read_statements",
    "positions": "position_statements",
    "comparisons": "comparison_statements",
    "doubts": "doubt_statements",
    "sweep": "sweep_statements",
    "parked": "parked_statements",
    "executions": "execution_statements",
    "feeds": "feed_statements",
    "execution_upkeep": "execution_upkeep_statements",
    "event_log": "event_log_statements",
    "order_queue": "order_queue_statements",
    "status": "status_statements",
    "switch": "switch_statements",
    "connections": "connection_statements",
    "installation": "installation_statements",
}

_PREFACES = {
    "connections": [
        "Beside these, the driver asks once a connection for the types that it does not know. A connection begins with",
        *(
            f"  {name} = {value}"
            for name, value in (SESSION_SETTINGS | PLANNER_SETTINGS).items()
            if name != "transaction_timeout"
        ),
        "  search_path = public, or what the URL says",
        "  statement_timeout, idle_in_transaction_session_timeout = ORDERTRAIL_DATABASE_TIMEOUT_SECONDS",
        "  lock_timeout = a quarter of it",
        f"  transaction_timeout = {TRANSACTION_STATEMENTS_MAX} times it, where PostgreSQL knows it (17 and newer)",
        "so a plan that is explained by hand is only ours with these settings.",
    ],
}


class Undocumented(Exception):
    """A statement of which its module or this one does not say what a document needs."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A constant of a module: the comment above it, and its finished texts by the names of its variants."""

    name: str
    comment: tuple[str, ...]
    texts: Mapping[str, str]


def subject(name: str) -> str:
    """The document of one module."""
    module = importlib.import_module(f"{MODULES}.{SUBJECTS[name]}")
    parts = [_head(module, _PREFACES.get(name, []))]
    for statement in statements_of(module):
        for number, (variant, text) in enumerate(statement.texts.items()):
            comment = statement.comment if number == 0 else ("As above.",)
            parts.append(_entry(f"{statement.name}{variant}", (_sent_by(statement.name), *comment), text))
    return "\n".join(parts)


def statements_of(module: ModuleType) -> list[Statement]:
    """The statements of a module, in its order. Raises Undocumented."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_public(node.targets[0].id):
            name = node.targets[0].id
            value = getattr(module, name)
            texts = {"": value} if isinstance(value, str) else {_variant(key): text for key, text in value.items()}
            found.append(Statement(name, _comment_above(lines, node.lineno), texts))
    for statement in found:
        _check(statement)
    return found


def all_statements() -> list[Statement]:
    """Those of all modules."""
    modules = [importlib.import_module(f"{MODULES}.{module}") for module in SUBJECTS.values()]
    return [statement for module in modules for statement in statements_of(module)]


def _is_public(name: str) -> bool:
    return name.isupper() and not name.startswith("_")


def _variant(key: tuple[object, ...]) -> str:
    """`[has_keys = false, has_place_by = true]`, of a NamedTuple."""
    fields = key._asdict()  # type: ignore[attr-defined] # every mapping of variants has such keys
    return "[" + ", ".join(f"{name} = {str(value).lower()}" for name, value in fields.items()) + "]"


def _comment_above(lines: Sequence[str], line: int) -> tuple[str, ...]:
    first = line - 1
    while lines[first - 1].startswith("#"):
        first -= 1
    return tuple(comment.removeprefix("#").removeprefix(" ") for comment in lines[first : line - 1])


def _check(statement: Statement) -> None:
    """Above a statement stand when it is sent and every one of its parameters."""
    words = " ".join(statement.comment)
    if not words:
        raise Undocumented(f"{statement.name}: say above it when it is sent, and what its parameters are.")
    said = set(re.findall(r"\$\d+", words))
    for first, last in re.findall(r"\$(\d+) to \$(\d+)", words):
        said |= {f"${number}" for number in range(int(first), int(last) + 1)}
    missing = sorted({number for text in statement.texts.values() for number in re.findall(r"\$\d+", text)} - said)
    if missing:
        raise Undocumented(f"{statement.name}: say above it what {', '.join(missing)} is.")


def _sent_by(name: str) -> str:
    if name not in SENDERS:
        raise Undocumented(f"{name}: say in ops/sql_senders.py who sends it.")
    senders = SENDERS[name]
    if not senders:
        return "Sent by no process yet."
    *others, last = senders
    return f"Sent by {', '.join(others)} and {last}." if others else f"Sent by {last}."


def _head(module: ModuleType, preface: Sequence[str] = ()) -> str:
    assert module.__doc__ is not None
    path = module.__name__.replace(".", "/") + ".py"
    made = f"Made from {path} by `make documents`; not written by hand."
    lines = [*module.__doc__.strip().splitlines(), "", made, *(["", *preface] if preface else [])]
    return _commented(lines)


def _entry(name: str, comment: Sequence[str], text: str) -> str:
    return _commented([name, *comment]) + text.strip("\n") + ";\n"


def _commented(lines: Sequence[str]) -> str:
    return "".join(f"-- {line}".rstrip() + "\n" for line in lines)


def lists() -> str:
    """The document of the statement that lists orders: each of its shapes once."""
    module = importlib.import_module(f"{MODULES}.read_statements")
    preface = [
        f"Sent by {READS}, in a transaction of its own that only reads: see BEGIN_READ_ONLY, LIMIT_STATEMENT_TIME and",
        "COMMIT in connections.sql.",
        "",
        "A line that begins with -- is there where the client asked for that filter, or for a page after the first,",
        "whose ids are below the last one's. $1 is the size of the page, $2 the key where there is one; the others are",
        "numbered without a gap: the last id, instrument, side, created_after, created_before. Statuses and outcomes",
        "stand in the text, so that the planner sees which index has them; the ones here stand for any of their kind.",
    ]
    parts = [_head(module, preface)]
    for shape in LIST_SHAPES:
        lines = [line if is_always else "--" + line[2:] for line, is_always in shape.lines()]
        parts.append(_entry(shape.title, (), "\n".join(lines)))
    return "\n".join(parts)


def migrations() -> str:
    """What brings an empty database up to date, by Alembic in its offline mode."""
    script = Path(migrate.__file__).with_name("migrations")
    output = io.StringIO()
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(script))
    command.upgrade(config, "head", sql=True)
    head = _commented(
        [
            "What brings an empty database up to date, whole or not at all; one that has some of it gets the rest.",
            "",
            "Made from ordertrail/storage/postgres/migrations by `make documents`; not written by hand. What each",
            "table is for stands in ../schema.md.",
        ]
    )
    statements = "\n".join(line.rstrip() for line in output.getvalue().strip().splitlines())
    return head + "\n" + re.sub("\n{3,}", "\n\n", statements) + "\n"
