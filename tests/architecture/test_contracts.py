"""What the house promises about itself and a machine can check."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements*.txt"))
# Of the standard library only what the interpreter and its own value types do not load by themselves.
EDGES = {"aiohttp", "asyncio", "asyncpg", "fastapi", "pydantic", "socket", "sqlalchemy", "structlog", "uvicorn"}
DOCUMENTS = sorted(ROOT.glob("*.md"))


CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
# Language, not an edge.
WITHOUT_AN_EDGE = {"typing_extensions"}


@dataclass(frozen=True)
class Breach:
    """A line that breaks a contract, and what the linter says of it."""

    contract: str
    module: str
    line: str
    imported: str

    @property
    def said(self) -> str:
        importer = self.module.removesuffix(".py").replace("/", ".")
        return f"{importer} -> {self.imported}" if self.imported else importer


def breach(contract: str, module: str, imported: str, how: str = "import {}") -> Breach:
    return Breach(contract, module, how.format(imported), imported)


IN_A_FUNCTION = "def late() -> None:\n    import {}"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {}"

BREACHES = [
    breach("layers", "ordertrail/domain/trail.py", "ordertrail.runtime.clock"),
    breach("layers", "ordertrail/api/app.py", "ordertrail.server.service"),
    breach("layers", "ordertrail/placement/cancel_order.py", "ordertrail.reconciliation.schedule"),
    breach("layers", "ordertrail/storage/errors.py", "ordertrail.venues.venue", IN_A_FUNCTION),
    breach("layers", "ordertrail/runtime/clock.py", "ordertrail.storage.spool", FOR_TYPES),
    breach("layers", "ordertrail/new_folder.py", "", ""),
    breach("storage", "ordertrail/storage/order_rows.py", "ordertrail.storage.journal"),
    breach("storage", "ordertrail/storage/group_commit.py", "ordertrail.storage.postgres.database"),
    breach("storage", "ordertrail/storage/new_module.py", "", ""),
    breach("venues", "ordertrail/venues/gateway.py", "ordertrail.venues.registry"),
    breach("venues", "ordertrail/venues/http/client.py", "ordertrail.venues.simulated.client"),
    breach("venues", "ordertrail/venues/gate/gate.py", "ordertrail.venues.venue"),
    breach("venues", "ordertrail/venues/new_adapter.py", "", ""),
    breach("pure-core", "ordertrail/domain/trail.py", "asyncio"),
    breach("pure-core", "ordertrail/domain/order.py", "uuid_utils"),
    breach("stations", "ordertrail/placement/place_order.py", "socket"),
    breach("stations", "ordertrail/reconciliation/reconciler.py", "time"),
    breach("stations", "ordertrail/storage/journal.py", "asyncpg"),
    breach("stations", "ordertrail/storage/group_commit.py", "threading"),
    breach("stations", "ordertrail/venues/gateway.py", "aiohttp"),
    breach("postgres", "ordertrail/api/list_query.py", "ordertrail.storage.postgres.reads"),
    breach("adapters", "ordertrail/server/service.py", "ordertrail.venues.http.client"),
    breach("adapters", "ordertrail/cli/main.py", "ordertrail.venues.simulated.client"),
    breach("settings", "ordertrail/api/health.py", "ordertrail.runtime.settings"),
    breach("edge-database", "ordertrail/server/service.py", "asyncpg"),
    breach("edge-http-api", "ordertrail/server/connections.py", "starlette"),
    breach("edge-http-server", "ordertrail/cli/main.py", "uvicorn"),
    breach("edge-socket-server", "ordertrail/venues/http/client.py", "websockets"),
    breach("edge-http-venue", "ordertrail/venues/registry.py", "yarl"),
    breach("queues", "ordertrail/queues/queue.py", "ordertrail.queues.nats"),
    breach("edge-queues", "ordertrail/queues/splitting.py", "nats"),
    breach("edge-sqs", "ordertrail/queues/registry.py", "botocore"),
    breach("edge-telemetry", "ordertrail/storage/spool.py", "structlog"),
    breach("edge-settings", "ordertrail/server/asgi.py", "pydantic_settings"),
    breach("edge-validation", "ordertrail/api/parse_order.py", "pydantic"),
    breach("edge-commands", "ordertrail/up/up.py", "cyclopts"),
    breach("edge-processes", "ordertrail/server/workers.py", "psutil"),
    breach("edge-ids", "ordertrail/placement/place_order.py", "uuid_utils"),
    breach("edge-documents", "ordertrail/reconciliation/sweep.py", "msgspec"),
    breach("edge-book", "ordertrail/venues/gate/rate.py", "sortedcontainers"),
    breach("exchange-knows-nothing-of-us", "simulated_exchange/log.py", "ordertrail.runtime.clock"),
    breach("exchange", "simulated_exchange/order_store.py", "simulated_exchange.log"),
    breach("exchange", "simulated_exchange/new_module.py", "", ""),
    breach("wire-only", "ordertrail/storage/journal.py", "simulated_exchange.log"),
    breach("app-is-a-name", "ordertrail/cli/main.py", "app.api"),
]
CIRCLE = breach("no-circles", "ordertrail/server/workers.py", "ordertrail.server.serve", IN_A_FUNCTION)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_keep_the_contracts() -> None:
    lint = lint_imports(ROOT)

    assert lint.returncode == 0, lint.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What the linter says against each contract where all are broken at once; not what follows by way of others."""
    folder = tmp_path_factory.mktemp("broken")
    for package in ("app", "ordertrail", "simulated_exchange"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for each in [*BREACHES, CIRCLE]:
        with (folder / each.module).open("a") as source:
            source.write(f"\n{each.line}\n")

    lint = lint_imports(folder)

    assert lint.returncode == 1, lint.stderr
    ids = {contract["name"]: contract["id"] for contract in CONTRACTS.values()}
    found: dict[str, set[str]] = {id_: set() for id_ in ids.values()}
    contract = ""
    for line, after in pairwise([*lint.stdout.partition("Broken contracts")[2].splitlines(), ""]):
        contract = ids.get(line, contract)
        if line.startswith("- ") and not after.startswith("  "):
            found[contract].add(line.removeprefix("-").partition(" (")[0].strip())
    return found


@pytest.mark.parametrize("planted", BREACHES, ids=lambda planted: f"{planted.contract} {planted.said}")
def test_an_import_that_breaks_a_contract_is_noticed(said: dict[str, set[str]], planted: Breach) -> None:
    assert planted.said in said[planted.contract]


def test_a_circle_within_a_folder_is_noticed(said: dict[str, set[str]]) -> None:
    """The linter chooses where it would cut it."""
    assert said[CIRCLE.contract] & {".workers -> .serve", ".serve -> .workers"}


def test_every_contract_is_broken_on_purpose_once() -> None:
    assert {planted.contract for planted in [*BREACHES, CIRCLE]} == set(CONTRACTS)


def test_contracts_leave_nothing_out() -> None:
    for contract in CONTRACTS.values():
        assert "ignore_imports" not in contract
        if contract["type"] == "layers":
            assert contract["exhaustive"] and "exhaustive_ignores" not in contract
            assert not [layer for layer in contract["layers"] if ":" in layer or "(" in layer]


def test_every_foreign_library_has_its_edge() -> None:
    ours = ("app", "ordertrail", "simulated_exchange")
    imported = {name for package in ours for path in (ROOT / package).rglob("*.py") for name in imported_by(path)}
    foreign = imported - sys.stdlib_module_names - set(ours) - WITHOUT_AN_EDGE

    assert foreign == {
        name
        for contract in CONTRACTS.values()
        if contract["id"].startswith("edge-")
        for name in contract["protected_modules"]
    }


def imported_by(path: Path) -> Iterator[str]:
    """The packages that a module names in its imports, wherever these stand."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


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
