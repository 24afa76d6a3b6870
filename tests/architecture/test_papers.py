"""Papers name the code, and the code has what they name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ordertrail"
STOPS = re.findall(r"`([a-z_/]+\.py)` (?:\| )?`([\w.]+)`", (ROOT / "docs" / "follow-one-order.md").read_text())
PAPERS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "simulated_exchange" / "README.md"]


def definitions(path: Path) -> set[str]:
    """Functions and classes of a module, methods with their class before them."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{child.name}" for child in node.body if hasattr(child, "name")}
    return found


@pytest.mark.parametrize(("module", "function"), STOPS)
def test_an_order_stops_where_the_paper_says(module: str, function: str) -> None:
    assert function in definitions(PACKAGE / module)


def test_the_paper_has_both_ways_of_an_order() -> None:
    assert len(STOPS) > 25


def test_every_folder_and_module_of_the_house_is_on_the_map() -> None:
    chart = (ROOT / "ARCHITECTURE.md").read_text()
    section = re.search(r"```\n(.*?)```", chart, re.DOTALL)
    assert section is not None
    on_the_map = {name.rpartition("/")[2] or name for name in re.findall(r"[\w/]+\.py|\w+/", section[1])}

    folders = {f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for folder in PACKAGE.iterdir() if folder.is_dir() for path in folder.glob("[a-z]*.py")}

    assert folders | modules <= on_the_map
    assert {name for name in on_the_map if name.endswith(".py")} <= {path.name for path in ROOT.rglob("*.py")}


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.relative_to(ROOT).as_posix())
def test_every_link_of_a_paper_leads_somewhere(paper: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)", paper.read_text())

    assert [link for link in links if not (paper.parent / link).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.relative_to(ROOT).as_posix())
def test_every_path_that_a_paper_names_is_there(paper: Path) -> None:
    """Paths are from the root, from `ordertrail/`, from `tests/` or beside the paper."""
    named = set(re.findall(r"`((?:[\w-]+/)+[\w*-]+(?:\.(?:py|md|toml|sql|yaml))?)`", paper.read_text()))
    starts = (ROOT, PACKAGE, ROOT / "tests", paper.parent)

    missing = [
        path
        for path in sorted(named)
        if path.endswith((".py", ".md", ".toml", ".sql", ".yaml")) and not any(list(s.glob(path)) for s in starts)
    ]

    assert missing == []
