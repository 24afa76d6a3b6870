"""Small mistakes that somebody could make in a file: each one is a mutant, and a test should notice it.

What only tells people something is left alone: log lines, metrics, failpoints, sentences, types, and the assertions,
which state what the rest of the code makes true.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

_REPORTS = {"_log", "metrics", "_metrics", "failpoints", "Count", "Spread", "observe", "TypeVar", "Field"}
_NOT_CODE = {"annotation", "returns", "decorator_list", "type_params"}
_NOT_DECIDING = {"__slots__", "__all__"}

_COMPARISONS: Mapping[type[ast.cmpop], Sequence[type[ast.cmpop]]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_FUNCTIONS = {"max": "min", "min": "max", "any": "all", "all": "any", "ceil": "floor"}


@dataclass(frozen=True)
class Mutant:
    """One mistake: where, as a person reads it, and the place in the tree at which it is put in."""

    line: int
    change: str
    _parent: int
    _field: str
    _item: int | None
    _node: ast.AST

    def code(self, source: str, path: str) -> ast.Module:
        """The module with the mistake in it."""
        tree = ast.parse(source, path)
        parent = list(ast.walk(tree))[self._parent]
        node = ast.fix_missing_locations(ast.copy_location(deepcopy(self._node), parent))
        if self._item is None:
            setattr(parent, self._field, node)
        else:
            getattr(parent, self._field)[self._item] = node
        return ast.fix_missing_locations(tree)


def mutants_of(source: str, *, siblings: Mapping[str, str], functions: Sequence[str] | None = None) -> list[Mutant]:
    """All of them, in the order of the file; `functions`: only those inside of these.

    `siblings` says of names and of members of enums (`Outcome.PLACED`) which other one could be taken for them.
    """
    tree = ast.parse(source)
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    found: list[Mutant] = []

    def visit(parent: ast.AST, is_inside: bool) -> None:
        for name, item, node in _children(parent):
            if _is_left_alone(parent, name, node):
                continue
            inside = is_inside or (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in chosen)
            if inside:
                for new in _replacements(node, siblings):
                    change = f"{_text(node)} → {_text(new)}"
                    line = getattr(node, "lineno", getattr(parent, "lineno", 0))
                    found.append(Mutant(line, change, numbers[id(parent)], name, item, new))
            visit(node, inside)

    chosen = set(functions or ())
    visit(tree, functions is None)
    return sorted(found, key=lambda mutant: mutant.line)


def _children(parent: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    for name, value in ast.iter_fields(parent):
        if isinstance(value, list):
            yield from ((name, number, each) for number, each in enumerate(value) if isinstance(each, ast.AST))
        elif isinstance(value, ast.AST):
            yield name, None, value


def _is_left_alone(parent: ast.AST, name: str, node: ast.AST) -> bool:
    if name in _NOT_CODE or isinstance(node, ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Expr | ast.Assign) and _names(node) & _REPORTS:
        return True
    if isinstance(node, ast.Assign) and _names(node) & _NOT_DECIDING:
        return True
    return isinstance(parent, ast.Call) and name == "args" and getattr(parent.func, "id", "") == "cast"


def _names(node: ast.AST) -> set[str]:
    named = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return named | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def _replacements(node: ast.AST, siblings: Mapping[str, str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.expr):
        yield from _expressions(node, siblings)
    elif isinstance(node, ast.Return) and node.value is not None and _text(node.value) != "None":
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        new = deepcopy(node)
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new
    elif isinstance(node, ast.comprehension):
        for number in range(len(node.ifs)):
            fewer = deepcopy(node)
            fewer.ifs.pop(number)
            yield fewer
    elif _can_be_left_out(node):
        yield ast.Pass()


def _can_be_left_out(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    return isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Delete | ast.Continue | ast.Break)


def _expressions(node: ast.expr, siblings: Mapping[str, str]) -> Iterator[ast.expr]:  # noqa: PLR0912 - a table
    match node:
        case ast.Compare(ops=ops):
            for number, operator in enumerate(ops):
                for other in _COMPARISONS[type(operator)]:
                    new = deepcopy(node)
                    new.ops[number] = other()
                    yield new
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for number in range(len(values)):
                fewer = values[:number] + values[number + 1 :]
                yield fewer[0] if len(fewer) == 1 else ast.BoolOp(operator, fewer)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            yield ast.BinOp(left, _OPERATORS[type(operator)](), right)
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as number):
            yield ast.Constant(number + 1)
        case ast.Constant(value=str(text)) if " " not in text:
            yield ast.Constant("XX" + text)
        case ast.Attribute(value=ast.Name()) | ast.Name(ctx=ast.Load()) if sibling := siblings.get(_text(node)):
            yield ast.parse(sibling, mode="eval").body
        case ast.Name(id=name, ctx=ast.Load()) if name in _FUNCTIONS:
            yield ast.Name(_FUNCTIONS[name], ast.Load())
        case _:
            pass


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While):
        node = node.test
    elif isinstance(node, ast.comprehension):
        return " ".join(f"for … if {ast.unparse(each)}" for each in node.ifs) or "for …"
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 160 else text[:159] + "…"
