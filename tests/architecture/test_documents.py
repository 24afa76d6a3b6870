"""Documents that are derived from the code are as the code makes them, and nothing that is sent is missing in them."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ops import documents, sql_documents
from ops.sql_documents import Undocumented, all_statements, statements_of
from ops.sql_senders import SENDERS

ROOT = Path(__file__).parents[2]
STATEMENTS = ROOT / "ordertrail" / "storage" / "postgres"
SENDING = {"fetch", "fetchrow", "fetchval", "fetch_in_order", "execute", "executemany", "cursor", "prepare"}
# Functions that hand on the statement that they are given: by file and name, the name of the statement in it.
HANDING_ON = {
    ("database.py", "fetch"): "sql",
    ("database.py", "fetch_in_order"): "sql",
    ("database.py", "fetch_all"): "sql",
    ("orders.py", "_fetch_after_insert"): "sql",
    ("executions.py", "_fetch_applied"): "statement",
    ("reads.py", "many"): "statement",
    ("reads.py", "fetch_list"): "statement",
}
VERBS = (
    "ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE DISCARD DO"
    " DROP EXECUTE EXPLAIN FETCH GRANT INSERT LISTEN LOCK MERGE MOVE NOTIFY PREPARE REFRESH REINDEX RELEASE RESET"
    " REVOKE ROLLBACK SAVEPOINT SELECT SET SHOW START TRUNCATE UNLISTEN UPDATE VACUUM VALUES WITH"
)
READS_LIKE_SQL = re.compile(rf"\s*(?:({'|'.join(VERBS.split())})\s+\S|(BEGIN|COMMIT|ROLLBACK)\s*;?\s*$)")


def test_documents_are_as_the_code_makes_them() -> None:
    assert documents.check(ROOT) == []


def test_a_stale_document_is_named_with_the_command(tmp_path: Path) -> None:
    made = {"docs/sql/one.sql": lambda: "SELECT 1;\n", "docs/sql/two.sql": lambda: "SELECT 2;\n"}
    assert documents.write(tmp_path, made) == ["docs/sql/one.sql is written.", "docs/sql/two.sql is written."]
    assert documents.check(tmp_path, made) == []

    (tmp_path / "docs/sql/one.sql").write_text("SELECT 0;\n")
    (tmp_path / "docs/sql/two.sql").rename(tmp_path / "docs/sql/three.sql")

    assert documents.check(tmp_path, made) == [
        "docs/sql/one.sql is stale; run `make documents`.",
        "docs/sql/two.sql is stale; run `make documents`.",
        "docs/sql/three.sql is made by nothing; remove it.",
    ]
    documents.write(tmp_path, made)
    assert documents.check(tmp_path, made) == []


def test_the_command_is_one_of_the_makefiles() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert documents.COMMAND.removeprefix("make ") in targets


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('READ_ORDER = "SELECT 1"\n', "READ_ORDER: say above it when it is sent"),
        ('# One order. $1 the id.\nREAD_ORDER = "SELECT $1, $2, $11"\n', r"READ_ORDER: say above it what \$11, \$2 is"),
    ],
)
def test_a_statement_says_when_it_is_sent_and_what_its_parameters_are(
    tmp_path: Path, source: str, problem: str
) -> None:
    with pytest.raises(Undocumented, match=problem):
        statements_of(module_of(source, tmp_path))


def test_parameters_may_be_named_as_a_range(tmp_path: Path) -> None:
    module = module_of('# $1 to $3: three.\nREAD_ORDER = "SELECT $1, $2, $3"\n', tmp_path)

    [statement] = statements_of(module)

    assert (statement.name, statement.comment) == ("READ_ORDER", ("$1 to $3: three.",))


def module_of(source: str, folder: Path) -> ModuleType:
    """A module of statements with this source."""
    path = folder / "some_statements.py"
    path.write_text(f'"""Statements."""\n\n{source}')
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_of_every_statement_it_is_known_who_sends_it() -> None:
    assert list(SENDERS) == [statement.name for statement in all_statements()]


def test_every_module_of_statements_has_a_document() -> None:
    modules = {path.stem for path in STATEMENTS.glob("*_statements.py")}

    assert modules == {*sql_documents.SUBJECTS.values(), "read_statements"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Everything of ours that could send something, but the migrations, which have a document of their own."""
    for path in sorted([*(ROOT / "ordertrail").rglob("*.py"), *(ROOT / "app").rglob("*.py")]):
        if path.parent.name != "versions":
            yield path, ast.parse(path.read_text())


def is_of_statements(path: Path) -> bool:
    return path.parent == STATEMENTS and (path.stem.endswith("_statements") or path.stem == "fragments")


def test_no_sql_stands_outside_of_the_modules_of_statements() -> None:
    found = [
        f"{path.name}:{node.lineno}: {node.value!r}"
        for path, tree in sources()
        if not is_of_statements(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and READS_LIKE_SQL.match(node.value)
    ]

    assert found == []


def test_only_statements_with_a_name_are_sent() -> None:
    names = {statement.name for statement in all_statements()}
    sent = set()
    for path, tree in sources():
        for function, argument in sent_in(tree):
            name = name_of(argument)
            assert name in names or HANDING_ON.get((path.name, function)) == name, (
                f"{path.name}: {ast.unparse(argument)}"
            )
            sent.add(name)

    # What no process sends should not be kept for long; and the first three go through the server's standard input.
    assert names - sent == {"CREATE_ROLE", "GRANT_MONITORING", "CREATE_DATABASE"}


def sent_in(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The expression of each statement that is sent, with the function that sends it."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and is_sending(node.func):
                    for argument in statements_in(node):
                        yield function.name, argument


def is_sending(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in {
        *SENDING,
        "_fetch_after_insert",
        "_fetch_applied",
    }


def statements_in(call: ast.Call) -> list[ast.expr]:
    """The statements among a call's arguments: the first, or the first of each pair."""
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr == "fetch_in_order":
        assert all(isinstance(pair, ast.Tuple) for pair in call.args), ast.unparse(call)
        return [pair.elts[0] for pair in call.args if isinstance(pair, ast.Tuple)]
    return call.args[:1]


def name_of(argument: ast.expr) -> str:
    """`name`, `module.name`, `module.name[variant]` and `text(name)` all have one name."""
    match argument:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return name_of(value)
        case ast.Call(func=ast.Name(id="text"), args=[inner]):
            return name_of(inner)
        case _:
            return ast.unparse(argument)
