"""What the house promises about itself and a machine can check."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements*.txt"))
# Of the standard library only what the interpreter and its own value types do not load by themselves.
EDGES = {"aiohttp", "asyncio", "asyncpg", "fastapi", "pydantic", "socket", "sqlalchemy", "structlog", "uvicorn"}
DOCUMENTS = sorted(ROOT.glob("*.md"))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_keep_the_contracts() -> None:
    lint = lint_imports(ROOT)

    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("ordertrail/domain/trail.py", "import asyncio", "The core is pure"),
        ("ordertrail/domain/trail.py", "import ordertrail.runtime.settings", "Imports point down"),
        ("ordertrail/new_module.py", "", "Imports point down"),
        ("ordertrail/storage/journal.py", "import asyncpg", "Stations know no thread"),
        ("simulated_exchange/log.py", "import ordertrail.runtime.clock", "a program of its own"),
        ("ordertrail/storage/journal.py", "import simulated_exchange.log", "Only the in-process venue"),
    ],
)
def test_an_import_that_breaks_a_contract_is_noticed(tmp_path: Path, module: str, line: str, contract: str) -> None:
    for package in ("app", "ordertrail", "simulated_exchange"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as source:
        source.write(f"\n{line}\n")

    lint = lint_imports(tmp_path)

    assert lint.returncode == 1
    assert contract in lint.stdout.partition("Broken contracts")[2]


def test_the_core_loads_nothing_that_acts() -> None:
    """What really gets loaded, for imports can hide from a reader of sources."""
    modules = [f"ordertrail.domain.{path.stem}" for path in (ROOT / "ordertrail" / "domain").glob("[a-z]*.py")]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout

    assert not set(loaded.split()) & EDGES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_the_commands_of_a_document_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))

    mentioned = set(re.findall(r"(?:^|`|\$ )(?:[A-Z_]+=\S+ )*make ([a-z-]+)", document.read_text(), re.MULTILINE))

    assert mentioned <= targets


def test_help_lists_every_command_for_people() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    listed = re.findall(r"^make ([a-z-]+) +\S", shown, re.MULTILINE)
    assert {"help", "up", "test", "check", "format", "lock", "bench", "clean"} <= set(listed)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_holds_versions_and_hashes_and_no_address(lock: Path) -> None:
    lines = lock.read_text().splitlines()

    pins = [line for line in lines if not line.startswith(" ")]
    assert pins
    assert not [line for line in lines if "://" in line or "--index" in line or "@" in line]
    assert all(re.match(r"[a-z0-9._-]+(\[[a-z,-]+\])?==\S+( ; .+)? \\$", pin) for pin in pins)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_lock_file_holds_the_runtimes_own_pins(lock: Path) -> None:
    """So that installing any of them is enough to run."""
    runtime = (ROOT / "requirements.txt").read_text().split("\n")

    pins = {line for line in runtime if line and not line.startswith(" ")}
    assert pins <= set(lock.read_text().split("\n"))
