"""Every task has somebody who notices its end."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKERS = {"create_task", "ensure_future", "run_coroutine_threadsafe", "start_soon"}
Function = ast.FunctionDef | ast.AsyncFunctionDef
# Where no callback says it: who notices, and how.
OWNED = {
    "ordertrail/runtime/tasks.py run_together": "it waits for all of them, and raises what they have raised",
    "ordertrail/storage/group_commit.py _enqueue": "it catches what it raises and tells those who wait; `close` waits",
}


def made_in(source: str) -> Iterator[tuple[str, str | None]]:
    """The function of each call that makes a task, and the name that gets it; None: nothing does."""
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if isinstance(function, Function):
            named = {
                id(statement.value): ast.unparse(target)
                for statement in ast.walk(function)
                if isinstance(statement, ast.Assign)
                for target in statement.targets
            }
            for call in calls_of(function):
                yield function.name, named.get(id(call))


def calls_of(function: Function) -> Iterator[ast.Call]:
    """Calls that make a task, in this function and in none within it."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in MAKERS:
                yield node
        if not isinstance(node, Function):
            waiting += ast.iter_child_nodes(node)


def callbacks_in(source: str) -> set[tuple[str, str]]:
    """Functions, and the names whose end they have themselves called back for."""
    return {
        (function.name, ast.unparse(node.func.value))
        for function in ast.walk(ast.parse(source))
        if isinstance(function, Function)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_done_callback"
    }


def unowned(path: str, source: str) -> list[str]:
    callbacks = callbacks_in(source)
    return [
        f"{path} {function}"
        for function, name in made_in(source)
        if (function, name) not in callbacks and f"{path} {function}" not in OWNED
    ]


def test_nobody_makes_a_task_whose_end_nobody_notices() -> None:
    found = [
        each
        for path in sorted((ROOT / "ordertrail").rglob("*.py"))
        for each in unowned(str(path.relative_to(ROOT)), path.read_text())
    ]

    assert found == [], "start it with BackgroundTasks, or read its result in a callback"


def test_such_a_task_would_be_found() -> None:
    assert unowned("a.py", "def f():\n    create_task(g())") == ["a.py f"]
    assert unowned("a.py", "def f():\n    self.task = loop.create_task(g())") == ["a.py f"]
    assert unowned("a.py", "async def f():\n    t = asyncio.ensure_future(g())\n    await asyncio.wait({t})") == [
        "a.py f"
    ]
    assert unowned("a.py", "def f():\n    t = asyncio.create_task(g())\n    t.add_done_callback(h)") == []
    assert unowned("a.py", "def f():\n    def g():\n        create_task(h())") == ["a.py g"]


def test_exceptions_are_still_there() -> None:
    for place in OWNED:
        path, function = place.split()
        assert function in {name for name, _ in made_in((ROOT / path).read_text())}
