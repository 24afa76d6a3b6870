"""`python -m tests.simulation`: runs seeds, canaries or the matrix of faults; says what was done and found."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing import get_context
from typing import Any

from tests.simulation.run import Result, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print its trace if it fails")
    parser.add_argument("--trace", action="store_true", help="print the trace in any case")
    parser.add_argument("--seeds", type=int, default=2000, help="run so many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, always_trace=arguments.trace)
    return _many(range(arguments.first, arguments.first + arguments.seeds), arguments.workers)


def _one(seed: int, *, always_trace: bool) -> int:
    result = run_seed(seed, keep_trace=True)
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
        for result in pool.imap_unordered(run_seed, seeds, chunksize=10):
            counts.update(result.counts)
            if result.violations:
                failed.append(result)
                print(f"seed {result.seed} ({result.plan.profile}): {result.violations[:3]}", flush=True)
    seconds = time.monotonic() - start
    print(summary(counts, seconds))
    print(f"{len(failed)} seeds failed")
    return 1 if failed else 0


def summary(counts: Counter[str], seconds: float) -> str:
    """The counts of many runs, in lines."""
    placed = counts["placed"] / max(1, counts["orders"])
    lines: list[Any] = [f"{counts['runs']} seeds in {seconds:.0f} s, {counts['orders']} orders, {placed:.0%} placed"]
    return "\n".join([*lines, *(f"  {name}: {count}" for name, count in sorted(counts.items()))])


if __name__ == "__main__":
    sys.exit(main())
