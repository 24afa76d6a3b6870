"""The whole benchmark: rounds in which everybody runs once, in another order each time, then the open loops."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.contenders import CONTENDERS, Contender
from bench.database import SCHEMA, Postgres
from bench.measure import Run, measure
from bench.servers import ServerFailed

OURS = "ordertrail"
PRIME_SECONDS = 8
OPEN_LOOP_REPEATS = 3


@dataclass(frozen=True)
class Plan:
    """How long, how often, who."""

    rounds: int = 5
    seconds: float = 5.0
    warm_seconds: float = 2.0
    only: frozenset[str] = frozenset()

    @property
    def contenders(self) -> list[Contender]:
        return [c for c in CONTENDERS if not self.only or c.name in self.only]


@dataclass
class Results:
    """Every run, by contender, in the order of the rounds; None: it could not be run."""

    closed: dict[str, list[Run | None]] = field(default_factory=dict)
    # By contender, at half of Ordertrail's top rate.
    open: dict[str, list[Run | None]] = field(default_factory=dict)

    def wrongs(self) -> list[str]:
        """Everything that makes a figure unusable."""
        found = []
        for name, runs in [*self.closed.items(), *((f"{n}, open loop", r) for n, r in self.open.items())]:
            for number, run in enumerate(runs, 1):
                if run is None:
                    found.append(f"{name}, round {number}: could not be run")
                elif run.wrong:
                    found.append(f"{name}, round {number}: {run.wrong}")
        return found


def run_plan(plan: Plan, postgres: Postgres, folder: Path) -> Results:
    """Run everything; a contender that fails does not stop the others."""
    results = Results(closed={contender.name: [] for contender in plan.contenders})
    _prime(postgres)
    for number in range(plan.rounds):
        for contender in _rotated(plan.contenders, number):
            run = _try(contender, plan, postgres, folder, label=f"round {number + 1}/{plan.rounds}")
            results.closed[contender.name].append(run)
    ours = [run.per_second for run in results.closed.get(OURS, []) if run is not None]
    if ours:
        rate = statistics.median(ours) / 2
        # The echo at the same rate shows how much of the latency is the machine, HTTP and the generator.
        names = [c for c in plan.contenders if c.name in {OURS, "fastapi_echo"}]
        for number in range(min(plan.rounds, OPEN_LOOP_REPEATS)):
            for contender in _rotated(names, number):
                run = _try(contender, plan, postgres, folder, label=f"open loop {number + 1}", rate=rate)
                results.open.setdefault(contender.name, []).append(run)
    return results


def _rotated(contenders: Sequence[Contender], number: int) -> list[Contender]:
    at = number * 3 % len(contenders)
    return [*contenders[at:], *contenders[:at]]


def _prime(postgres: Postgres) -> None:
    """The first to write to a new server would pay for its log files, which later ones find made."""
    with postgres.fresh_database() as url:
        postgres.execute(url, SCHEMA)
        postgres.run_pgbench(url, clients=32, seconds=PRIME_SECONDS)


def _try(
    contender: Contender, plan: Plan, postgres: Postgres, folder: Path, *, label: str, rate: float | None = None
) -> Run | None:
    try:
        run = measure(contender, postgres, folder, warm_seconds=plan.warm_seconds, seconds=plan.seconds, rate=rate)
    except (ServerFailed, RuntimeError, OSError) as error:
        print(f"{label}  {contender.name:16} failed: {error}", file=sys.stderr, flush=True)
        return None
    shown = f"{run.per_second:9,.0f}/s" + (f"  WRONG: {run.wrong}" if run.wrong else "")
    if run.open_loop:
        shown += f"  p99 {run.open_loop['latency_ms'].get('p99', 0):.1f} ms"
    print(f"{label}  {contender.name:16} {shown}", flush=True)
    return run
