"""`python -m bench`: measure Ordertrail beside its rivals and write the report."""

import argparse
import resource
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench.contenders import CONTENDERS
from bench.crosscheck import crosscheck
from bench.database import open_postgres
from bench.machine import describe_machine, is_in_memory
from bench.plan import Plan, run_plan
from bench.profile import profile
from bench.report import write_report

QUICK = {"rounds": 2, "seconds": 2.0, "warm_seconds": 1.0}
FILES_MIN = 16_384


def main() -> int:
    """0: measured; 1: measured, and something is wrong with it; 2: it cannot be measured here."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, _interrupt)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = hard if hard != resource.RLIM_INFINITY else 65_536
    if files < FILES_MIN:
        print(f"Needs {FILES_MIN} open files a process, and only {files} are allowed (ulimit -Hn).", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    if is_in_memory(arguments.folder):
        print(f"{arguments.folder} is in memory, where a flush costs nothing: name another --folder.", file=sys.stderr)
        return 2
    try:
        with open_postgres(arguments.folder) as (folder, postgres):
            if arguments.what == "profile":
                return profile(postgres, folder, seconds=arguments.seconds or 5.0)
            if arguments.what == "crosscheck":
                return crosscheck(postgres, folder)
            plan = _plan(arguments)
            machine = describe_machine(folder, postgres.version())
            results = run_plan(plan, postgres, folder)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is ended.", file=sys.stderr)
        return 130
    written = write_report(plan, machine, results, quick=arguments.quick or bool(plan.only))
    print(f"\n{written.read_text()}\nWritten to {written.parent}/{written.stem}.md, .json and .png")
    return 1 if results.wrongs() else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["run", "profile", "crosscheck"], default="run")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds: does it run at all?")
    parser.add_argument("--only", default="", metavar="NAME[,NAME]", help=", ".join(c.name for c in CONTENDERS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="measured seconds a run")
    parser.add_argument(
        "--folder", type=Path, default=_default_folder(), help="where PostgreSQL keeps its data meanwhile"
    )
    arguments = parser.parse_args()
    unknown = set(filter(None, arguments.only.split(","))) - {c.name for c in CONTENDERS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return arguments


def _default_folder() -> Path:
    usual = Path(tempfile.gettempdir())
    return Path("/var/tmp") if is_in_memory(usual) else usual


def _plan(arguments: argparse.Namespace) -> Plan:
    chosen = dict(QUICK) if arguments.quick else {}
    for name in ("rounds", "seconds"):
        if getattr(arguments, name) is not None:
            chosen[name] = getattr(arguments, name)
    only = frozenset(filter(None, arguments.only.split(",")))
    defaults = Plan()
    return Plan(
        rounds=int(chosen.get("rounds", defaults.rounds)),
        seconds=float(chosen.get("seconds", defaults.seconds)),
        warm_seconds=float(chosen.get("warm_seconds", defaults.warm_seconds)),
        only=only,
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends everything like Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
