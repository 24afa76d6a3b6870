"""`python -m tests.simulation`: runs seeds and says what was done and found; or one seed, with its trace."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.simulation.chaos import Plan
from tests.simulation.run import Result, plan_of, run_kept, run_seed

CHUNK = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print its trace if it fails")
    parser.add_argument("--kept", type=Path, help="run what a file of tests/simulation/kept says")
    parser.add_argument("--trace", action="store_true", help="print the trace in any case")
    parser.add_argument("--shrink", action="store_true", help="find fewer faults with which the seed still fails")
    parser.add_argument("--keep", type=Path, help="write what was run to this file, to be run for ever")
    parser.add_argument("--seeds", type=int, default=2000, help="run so many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--hashes", action="store_true", help="print the hash of each run's trace, and nothing else")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.kept is not None:
        return _print_line(run_kept(arguments.kept), always_trace=arguments.trace)
    if arguments.seed is not None:
        focus = shrink(arguments.seed) if arguments.shrink else {}
        if arguments.keep is not None:
            kept = {"seed": arguments.seed, "plan": {**asdict(plan_of(arguments.seed)), **focus}}
            arguments.keep.write_text(json.dumps(kept, indent=1) + "\n")
        return _print_line(run_seed(arguments.seed, focus=focus, keep_trace=True), always_trace=arguments.trace)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.hashes:
        for seed in seeds:
            print(seed, run_seed(seed).trace_hash)
        return 0
    return _many(seeds, arguments.workers)


def shrink(seed: int) -> dict[str, Any]:
    """Leave out one kind of fault after the other, as long as the seed still fails."""
    plan, focus = plan_of(seed), dict[str, Any]()

    def still_fails(name: str, value: Any) -> bool:
        return bool(run_seed(seed, focus={**focus, name: value}).violations)

    for name in ("database", "network", "exchange", "failpoints"):
        kinds = dict(getattr(plan, name))
        for kind in list(kinds):
            fewer = {other: rate for other, rate in kinds.items() if other != kind}
            if still_fails(name, fewer):
                kinds = fewer
        focus[name] = kinds
    events = list(plan.events)
    for event in plan.events:
        fewer_events = tuple(other for other in events if other != event)
        if still_fails("events", fewer_events):
            events = list(fewer_events)
    focus["events"] = tuple(events)
    for default in fields(Plan):
        is_fault = default.name in {"no_answer", "hide_seconds", "is_skewed", "exchange_skew_us", "unreadable"}
        if is_fault and still_fails(default.name, default.default):
            focus[default.name] = default.default
    return focus


def _print_line(result: Result, *, always_trace: bool) -> int:
    if result.violations or always_trace:
        print("\n".join(result.trace))
    print(result.plan)
    print(f"trace {result.trace_hash}")
    for violation in result.violations:
        print(f"VIOLATION {violation}")
    return 1 if result.violations else 0


def _many(seeds: Iterable[int], workers: int) -> int:
    start = time.monotonic()
    counts: Counter[str] = Counter()
    failed: list[Result] = []
    with get_context("fork").Pool(workers) as pool:
        for result in pool.imap_unordered(partial(run_seed), seeds, chunksize=CHUNK):
            counts.update(result.counts)
            if result.violations:
                failed.append(result)
                print(f"seed {result.seed} ({result.plan.profile}): {result.violations[:3]}", flush=True)
    placed = counts["placed"] / max(1, counts["orders"])
    seconds = time.monotonic() - start
    print(f"{counts['runs']} seeds in {seconds:.0f} s, {counts['orders']} orders, {placed:.0%} placed")
    for name, count in sorted(counts.items()):
        print(f"  {name}: {count}")
    print(f"{len(failed)} seeds failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
