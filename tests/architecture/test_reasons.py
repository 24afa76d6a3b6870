"""Reasons and causes are written and read in `domain/reason.py` alone; SQL, which cannot call it, keeps its words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.domain.reason import Cause, ReasonKind, parse

ROOT = Path(__file__).parents[2]
REASON = ROOT / "ordertrail/domain/reason.py"
STATEMENTS = sorted(ROOT.glob("ordertrail/storage/postgres/*statements.py"))
WRITERS_AND_READERS = [
    path
    for path in sorted(ROOT.glob("ordertrail/**/*.py"))
    if path != REASON and path not in STATEMENTS and "migrations" not in path.parts
]
ADAPTERS_AND_GATE = sorted([*ROOT.glob("ordertrail/venues/*/**/*.py"), ROOT / "ordertrail/domain/venue_answer.py"])

# Words that stand for other things as well, and say nothing of a reason where they stand alone.
ALSO_OTHER_WORDS = {*SendAnswer, "absent", "operator", "foreign", "proved", "presumed", "execution", "canceled"}
ALONE = {kind.value for kind in ReasonKind} - {str(word) for word in ALSO_OTHER_WORDS}
WITH_DETAIL = re.compile("(refused|not_sent|unknown|proved|presumed|verified|operator):")
TAKES_APART = {"startswith", "endswith", "partition", "rpartition", "split", "removeprefix", "find", "index"}
ANSWERS = {"NotSent", "Unknown", "NoAnswer", "CallFailed"}

IN_SQL = re.compile(r"reason\s*(?:=|<>|NOT LIKE|LIKE)\s*'([^']*)'|starts_with\([\w.]*reason,\s*'([^']*)'\)")


def literal_reasons(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                if WITH_DETAIL.match(text) or text in ALONE:
                    yield f"{node.lineno}: {text!r}"


def reasons_taken_apart(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=taken, attr=method)) if method in TAKES_APART and is_a_reason(taken):
                yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[taken]) if is_a_reason(taken):
                yield f"{node.lineno}: {ast.unparse(node)}"


def is_a_reason(node: ast.expr) -> bool:
    return re.search(r"\breason\b", ast.unparse(node)) is not None


def literal_causes(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[argument, *_]) if name in ANSWERS:
                yield from (f"{node.lineno}: {ast.unparse(node)}" for each in ast.walk(argument) if is_text(each))


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("path", WRITERS_AND_READERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_writes_a_reason_or_takes_one_apart(path: Path) -> None:
    source = path.read_text()

    assert [*literal_reasons(source), *reasons_taken_apart(source)] == []


@pytest.mark.parametrize("path", ADAPTERS_AND_GATE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_adapter_writes_a_cause_of_its_own(path: Path) -> None:
    assert [*literal_causes(path.read_text())] == []


# What becomes the last observation of an order in doubt, by where it is handed over.
OBSERVERS = {"Wait": 0, "_later": 0, "_settled": 1}
MAKERS_OF_VERDICTS = sorted([*ROOT.glob("ordertrail/reconciliation/*.py"), ROOT / "ordertrail/domain/settling.py"])


def literal_observations(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        handed_over = [keyword.value for keyword in node.keywords if keyword.arg == "observation"]
        if name in OBSERVERS and len(node.args) > OBSERVERS[name]:
            handed_over.append(node.args[OBSERVERS[name]])
        for argument in handed_over:
            if starts_with_text(argument):
                yield f"{node.lineno}: {ast.unparse(node)}"


def starts_with_text(node: ast.expr) -> bool:
    """Whether it is text that is written here, and not a word with a detail; nothing at all is no word."""
    match node:
        case ast.Constant(value=str(text)):
            return bool(text)
        case ast.JoinedStr() | ast.BinOp():
            return True
        case ast.BoolOp(values=values):
            return any(map(starts_with_text, values))
        case ast.IfExp(body=body, orelse=orelse):
            return starts_with_text(body) or starts_with_text(orelse)
        case ast.Attribute(attr="__name__"):
            return True
        case ast.Call(func=ast.Attribute(value=value)):
            return starts_with_text(value)
        case _:
            return False


@pytest.mark.parametrize("path", MAKERS_OF_VERDICTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_review_writes_an_observation_of_its_own(path: Path) -> None:
    assert [*literal_observations(path.read_text())] == []


@pytest.mark.parametrize(
    "line",
    [
        'step = Wait("no answer")',
        'step = Wait(f"no answer: {cause}", until)',
        'verdict = self._later("gave up", rows)',
        "verdict = self._later(type(answer).__name__, rows)",
        'verdict = self._settled((), "settled" if rows else OTHER)',
        'verdict = Verdict(lease, (), is_settled=True, next_seconds=0, observation="no such order")',
        'verdict = self._later("error: {}".format(error))',
    ],
)
def test_observation_that_is_written_elsewhere_is_noticed(line: str) -> None:
    assert [*literal_observations(line)]


@pytest.mark.parametrize(
    "line",
    [
        'row = TrailRow(status, "not_sent:closed")',
        'row = TrailRow(status, f"unknown:{cause}")',
        'text = "proved:" + text',
        'row = TrailRow(status, "verified")',
        'is_known = row.reason == "exchange_forgot"',
        "is_final = row.reason.startswith(REFUSED)",
        'is_final = (row.reason or "").startswith(REFUSED)',
        "kind, _, detail = reason.partition(COLON)",
        "is_final = REFUSED in reason",
        "is_open = REFUSED not in row.reason",
    ],
)
def test_reason_that_is_written_or_taken_apart_elsewhere_is_noticed(line: str) -> None:
    assert [*literal_reasons(line), *reasons_taken_apart(line)]


@pytest.mark.parametrize(
    "line", ['answer = NotSent("closed")', 'answer = Unknown(f"http_{status}")', 'no = NoAnswer(a if b else "timeout")']
)
def test_cause_that_is_written_elsewhere_is_noticed(line: str) -> None:
    assert [*literal_causes(line)]


def test_reasons_in_statements_are_of_known_kinds() -> None:
    literals = [one or two for path in STATEMENTS for one, two in IN_SQL.findall(path.read_text())]
    of_any_kind = [literal for literal in literals if literal.startswith("%:")]

    kinds = {parse(literal).kind for literal in literals if literal not in of_any_kind}
    causes = [literal.removeprefix("%:") for literal in of_any_kind]
    causes += [str(parse(literal).detail) for literal in literals if parse(literal).kind is ReasonKind.NOT_SENT]

    assert kinds == {ReasonKind.ACCEPTED, ReasonKind.REFUSED, ReasonKind.NOT_SENT, ReasonKind.UNKNOWN}
    assert set(filter(None, causes)) == {Cause.NOT_RECORDED}
