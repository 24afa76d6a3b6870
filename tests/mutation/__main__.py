"""`python -m tests.mutation`: breaks the deciding code in small ways, one at a time, and says which nobody notices.

A runner of our own, because mutmut leaves alone whatever is decorated and whatever stands outside of functions: here
these are the properties and the tables that decide. No file is changed: each mutant is put into the import system of
a forked process, which runs the unit tests of its file and, where these notice nothing, simulated runs.
Verdicts are kept in pytest's cache folder, so a run that was stopped goes on where it was.
"""

import argparse
import ast
import hashlib
import importlib
import json
import os
import resource
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from hypothesis import Phase, settings
from typing_extensions import override

from tests.mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".pytest_cache" / "mutation.json"
SURVIVORS = Path(__file__).with_name("survivors.toml")
SCORE_MIN = 0.9
SECONDS_MAX = 60
SEEDS = 60
SINGLE_FAULTS_EACH = 1
OURS = ("app", "ordertrail", "simulated_exchange", "tests")

GATE = ("tests/unit/venues/gate",)
FEED = ("tests/unit/executions/test_feed.py", "tests/unit/executions/test_feed_epochs.py")
FEED_DECIDES = (
    "_wait_for_lease",
    "_keep_lease",
    "_lease",
    "_feed",
    "_follow_once",
    "_position",
    "_open",
    "_reached_of",
)
PROCESSOR = ("tests/unit/executions/test_processor.py",)
# File, its fast tests, and the functions where not all of it decides.
TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = {
    "ordertrail/domain/reason.py": (("tests/unit/domain/test_reason.py",), None),
    "ordertrail/domain/trail.py": (("tests/unit/domain/test_trail.py", "tests/unit/api/test_problems.py"), None),
    "ordertrail/domain/venue_answer.py": (("tests/unit/domain/test_venue_answer.py",), None),
    "ordertrail/domain/order_in_doubt.py": (("tests/unit/domain/test_settling.py", "tests/unit/reconciliation"), None),
    "ordertrail/domain/venue_word.py": (("tests/unit/domain/test_settling.py",), None),
    "ordertrail/domain/settling.py": (("tests/unit/domain/test_settling.py", "tests/unit/reconciliation"), None),
    "ordertrail/domain/execution.py": (("tests/unit/domain/test_execution.py",), None),
    "ordertrail/domain/capabilities.py": (("tests/unit/domain/test_settling.py",), None),
    "ordertrail/placement/place_order.py": (("tests/unit/placement",), None),
    "ordertrail/api/place.py": (
        ("tests/unit/api/test_place.py",),
        ("drain", "in_flight", "_take", "_placed"),
    ),
    "ordertrail/api/place_responses.py": (
        ("tests/unit/api/test_place.py",),
        ("to", "to_bug", "_repeated", "_failed"),
    ),
    "ordertrail/venues/gateway.py": (
        ("tests/unit/venues/test_gateway.py", "tests/unit/venues/test_gateway_and_gate.py"),
        None,
    ),
    "ordertrail/venues/http/wire.py": (("tests/unit/venues/test_http_wire.py",), None),
    "ordertrail/reconciliation/reconciler.py": (("tests/unit/reconciliation",), None),
    "ordertrail/reconciliation/review.py": (("tests/unit/reconciliation",), None),
    "ordertrail/reconciliation/pass_report.py": (("tests/unit/reconciliation",), None),
    "ordertrail/executions/feed.py": (FEED, FEED_DECIDES),
    "ordertrail/executions/feed_connection.py": (("tests/unit/executions/test_feed_connection.py",), None),
    "ordertrail/executions/feed_parking.py": (("tests/unit/executions/test_feed_parking.py",), None),
    "ordertrail/executions/frame_buffer.py": (("tests/unit/executions/test_frame_buffer.py",), None),
    "ordertrail/executions/gap_watch.py": (
        ("tests/unit/executions/test_gap_watch.py", "tests/unit/executions/test_feed_queue.py"),
        None,
    ),
    "ordertrail/executions/processor.py": (("tests/unit/executions/test_processor_workers.py", *PROCESSOR), None),
    "ordertrail/executions/applying.py": (("tests/unit/executions/test_applying.py", *PROCESSOR), None),
    "ordertrail/executions/sources.py": (("tests/unit/executions/test_sources.py", *PROCESSOR), None),
    "ordertrail/executions/trouble.py": (("tests/unit/executions/test_trouble.py",), None),
    "ordertrail/venues/gate/breaker.py": (GATE, None),
    "ordertrail/venues/gate/call_budget.py": (GATE, None),
    "ordertrail/venues/gate/rate.py": (GATE, None),
    "ordertrail/venues/gate/health_signals.py": (GATE, None),
    "ordertrail/venues/gate/instruments.py": (GATE, None),
    "ordertrail/venues/gate/repeats.py": (GATE, None),
    "ordertrail/venues/gate/window.py": (GATE, None),
    "ordertrail/venues/gate/concurrency.py": (GATE, None),
    "ordertrail/storage/group_commit.py": (("tests/unit/storage/test_group_commit.py",), None),
    "ordertrail/storage/placing_batcher.py": (("tests/unit/storage/test_placing_batcher.py",), None),
    "ordertrail/storage/trail_writer.py": (("tests/unit/storage/test_trail_writer.py",), None),
}
# Words of one kind, each of which could be taken for the next.
WORDS = (
    ("ACCEPTED", "REFUSED", "NOT_SENT", "UNKNOWN", "NOT_RECORDED"),
    ("PROVED", "PRESUMED"),
    ("refused", "not_sent", "unknown"),
    ("proved", "presumed"),
    ("ACCEPTED", "VERIFIED", "EXECUTION", "RESENT"),
)
ENUMS = {"Enum", "StrEnum", "_Word"}


@dataclass(frozen=True)
class Target:
    """A file and what is to notice its mutants."""

    path: str
    tests: tuple[str, ...]
    source: str
    mutants: tuple[Mutant, ...]

    def key(self, mutant: Mutant) -> str:
        """Equal as long as the file is."""
        number = [other for other in self.mutants if other.line == mutant.line].index(mutant)
        digest = hashlib.sha256(self.source.encode()).hexdigest()[:12]
        return f"{self.path}@{digest}:{mutant.line}.{number} {mutant.change}"

    def line(self, mutant: Mutant) -> str:
        """The text of the line that it changes."""
        return self.source.splitlines()[mutant.line - 1].strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("files", nargs="*", help="only files whose path contains one of these")
    parser.add_argument("--fresh", action="store_true", help="forget the verdicts that are kept")
    parser.add_argument("--survivors", action="store_true", help="look at those again that survived")
    parser.add_argument("--quick", action="store_true", help="run unit tests alone, and keep only whom they notice")
    parser.add_argument("--list", action="store_true", help="list the mutants, and run nothing")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    everything = list(all_targets())
    if stale := stale_entries(everything, explained_survivors()):
        sys.exit("\n".join(stale))
    targets = [t for t in everything if not arguments.files or any(name in t.path for name in arguments.files)]
    if arguments.list:
        for target in targets:
            for mutant in target.mutants:
                print(f"{target.path}:{mutant.line}: {mutant.change}")
        return 0
    verdicts: dict[str, str] = {} if arguments.fresh or not KEPT.exists() else json.loads(KEPT.read_text())
    if arguments.survivors:
        verdicts = {key: verdict for key, verdict in verdicts.items() if verdict != "survived"}
    start = time.monotonic()
    _run_all(targets, verdicts, with_simulation=not arguments.quick)
    good = _report(targets, verdicts)
    print(f"{sum(len(target.mutants) for target in targets)} mutants in {time.monotonic() - start:.0f} s")
    return 0 if good else 1


def all_targets() -> Iterator[Target]:
    """Every target with its mutants; FileNotFoundError where its file is gone."""
    members: dict[str, str] = {}
    for path in sorted((ROOT / "ordertrail").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and {getattr(b, "id", "") for b in node.bases} & ENUMS:
                targets = [each.targets[0] for each in node.body if isinstance(each, ast.Assign)]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                members |= {f"{node.name}.{name}": f"{node.name}.{names[n - 1]}" for n, name in enumerate(names)}
    for name, (tests, functions) in TARGETS.items():
        source = (ROOT / name).read_text()
        known = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        siblings = dict(members)
        for words in WORDS:
            used = [word for word in words if word in known]
            siblings |= {word: used[n - 1] for n, word in enumerate(used) if len(used) > 1}
        yield Target(name, tests, source, tuple(mutants_of(source, siblings=siblings, functions=functions)))


@dataclass(frozen=True, order=True)
class Survivor:
    """One change of one line that no test can notice."""

    file: str
    line: str
    change: str


def explained_survivors() -> list[Survivor]:
    """What `survivors.toml` explains."""
    entries = tomllib.loads(SURVIVORS.read_text())["survivor"]
    return [Survivor(entry["file"], entry["line"], change) for entry in entries for change in entry["changes"]]


def stale_entries(targets: Sequence[Target], survivors: Sequence[Survivor]) -> list[str]:
    """What names something that is no more, in words: a test, a function, a word, a line that is explained."""
    named = {name for target in targets for name in _names(target, ast.Name)}
    by_path = {target.path: target for target in targets}
    stale = [text for target in targets for text in _stale_names(target)]
    stale += [f"WORDS: no target says {word}" for words in WORDS for word in words if word not in named]
    found = {survivor: _why_stale(survivor, by_path.get(survivor.file)) for survivor in survivors}
    return stale + [f"survivors.toml: {why}" for why in found.values() if why is not None]


def _stale_names(target: Target) -> Iterator[str]:
    for test in target.tests:
        if not (ROOT / test).exists():
            yield f"{target.path}: its tests {test} are not there"
    defined = _names(target, ast.FunctionDef) | _names(target, ast.AsyncFunctionDef)
    for name in TARGETS[target.path][1] or ():
        if name not in defined:
            yield f"{target.path}: there is no function {name}"


def _why_stale(survivor: Survivor, target: Target | None) -> str | None:
    if target is None:
        return f"{survivor.file} is no target"
    if survivor.line not in map(str.strip, target.source.splitlines()):
        return f"{survivor.file} has no line {survivor.line!r}"
    if survivor.change not in {mutant.change for mutant in target.mutants if target.line(mutant) == survivor.line}:
        return f"{survivor.change!r} is no mutant of {survivor.line!r} in {survivor.file}"
    return None


def _names(target: Target, kind: type[ast.Name | ast.FunctionDef | ast.AsyncFunctionDef]) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(target.source)) if isinstance(node, kind)]
    return {node.id if isinstance(node, ast.Name) else node.name for node in nodes}


def _run_all(targets: Sequence[Target], verdicts: dict[str, str], *, with_simulation: bool) -> None:
    """Give a verdict on each mutant that has none: killed, survived; or stop where the tests fail without any."""
    for target in targets:
        checks: list[Callable[[], int]] = [partial(_unit_tests, target), *([_simulate] if with_simulation else [])]
        todo = [mutant for mutant in target.mutants if target.key(mutant) not in verdicts]
        if not todo:
            continue
        _load_what_is_not_ours(target)
        if any(_forked(check) != 0 for check in checks):
            sys.exit(f"{target.path}: its tests fail before anything is broken")
        for mutant in todo:
            survived = all(_forked(partial(_broken, target, mutant, check)) == 0 for check in checks)
            verdicts[target.key(mutant)] = "survived" if survived else "killed"
            if survived:
                print(f"{target.path}:{mutant.line}: {mutant.change}", flush=True)
            KEPT.parent.mkdir(exist_ok=True)
            kept = (
                verdicts if with_simulation else {k: verdict for k, verdict in verdicts.items() if verdict == "killed"}
            )
            KEPT.with_suffix(".new").write_text(json.dumps(kept, indent=0, ensure_ascii=False))
            KEPT.with_suffix(".new").replace(KEPT)


def _load_what_is_not_ours(target: Target) -> None:
    """Import the libraries once, so that no fork has to; none of our own modules, for these must be imported anew."""
    reader, writer = get_context("fork").Pipe(duplex=False)

    def check() -> int:
        code = _unit_tests(target)
        importlib.import_module("tests.simulation.matrix")
        writer.send([name for name in sys.modules if name.partition(".")[0] not in OURS and name != "conftest"])
        return code

    _forked(check)
    for name in reader.recv() if reader.poll() else []:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # pytest has its own way of importing some


def _forked(check: Callable[[], int]) -> int:
    """Its exit code, in a process of its own that may take so much time and no more."""

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MAX, SECONDS_MAX))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os._exit(check())

    process = get_context("fork").Process(target=run)
    process.start()
    process.join(SECONDS_MAX)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def _broken(target: Target, mutant: Mutant, check: Callable[[], int]) -> int:
    code = compile(mutant.code(target.source, target.path), target.path, "exec")
    sys.meta_path.insert(0, _Import(target.path.removesuffix(".py").replace("/", "."), code))
    return check()


class _Import(MetaPathFinder):
    """Imports one module from code that is in no file."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name = name
        self._code = code

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == self._name else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._code)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    @override
    def get_code(self, fullname: str) -> CodeType:
        return self._code


def _unit_tests(target: Target) -> int:
    settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate)
    )
    plugins = [f"-pno:{name}" for name in ("randomly", "xdist", "cacheprovider", "schemathesis")]
    ignored = "-Wignore::pytest.PytestAssertRewriteWarning"  # its plugins are loaded already
    return int(pytest.main(["-x", "-q", "--tb=no", ignored, *plugins, "--hypothesis-profile=mutation", *target.tests]))


def _simulate() -> int:
    """Runs from seeds; then every story as it is, and with a few single faults, on every kind of venue."""
    matrix = importlib.import_module("tests.simulation.matrix")
    run = importlib.import_module("tests.simulation.run")
    if any(run.run_seed(seed).violations for seed in range(SEEDS)):
        return 1
    for number, (story, profile) in enumerate(matrix.all_shares(run.ALL_PROFILES)):
        singles = list(matrix.singles(story, profile))
        for case in singles[number % len(singles) :: len(singles) // SINGLE_FAULTS_EACH]:
            if matrix.notable(case).violations:
                return 1
    return 0


def _report(targets: Sequence[Target], verdicts: dict[str, str]) -> bool:
    """Print the scores and who survived; whether that is good enough."""
    explained = set(explained_survivors())
    is_good = True
    print()
    for target in targets:
        survived = [mutant for mutant in target.mutants if verdicts[target.key(mutant)] == "survived"]
        reasons = {m: Survivor(target.path, target.line(m), m.change) for m in survived}
        unexplained = [mutant for mutant in survived if reasons[mutant] not in explained]
        real = len(target.mutants) - len(survived) + len(unexplained)
        score = 1 - len(unexplained) / real if real else 1.0
        is_good &= score >= SCORE_MIN
        reported = (
            f"{len(target.mutants)} mutants, {len(survived) - len(unexplained)} equivalent, {len(unexplained)} survived"
        )
        print(f"{score:4.0%} {target.path}: {reported}")
        for mutant in unexplained:
            print(f"       {target.path}:{mutant.line}: {mutant.change}")
        for survivor in sorted(explained - set(reasons.values())):
            if survivor.file == target.path:
                print(f"       survivors.toml: {survivor.line!r}: {survivor.change!r} does not survive")
                is_good = False
    return is_good


if __name__ == "__main__":
    sys.exit(main())
