"""One worker of Ordertrail under cProfile, while the usual load runs: where does the time of an order go?

cProfile makes calls dear, so many small functions look worse than they are; shares, not seconds, are the answer.
"""

import cProfile
import pstats
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench.contenders import CONTENDERS
from bench.database import Postgres
from bench.measure import load, serve
from bench.plan import OURS

SHOWN = 45


def profile(postgres: Postgres, folder: Path, *, seconds: float) -> int:
    """Print the functions that take most, by their own time and with what they call."""
    written = folder / "profile"
    contender = replace(next(c for c in CONTENDERS if c.name == OURS), workers=1)
    with postgres.fresh_database() as url:
        with serve(contender, postgres, folder, url, under=("bench.profile", str(written))) as server:
            server.wait_for_workers(1)
            result, _, _ = load(server, connections=contender.connections, warm_seconds=1, seconds=seconds, rate=None)
        per_second = sum(result["statuses"].values()) / result["seconds"]
        print(f"{per_second:,.0f} orders/s under the profiler: {result['statuses']}")
    stats = pstats.Stats(str(written))
    stats.sort_stats("tottime").print_stats(SHOWN)
    stats.sort_stats("cumulative").print_stats(SHOWN)
    return 0


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def main() -> None:
    """`python -m bench.profile FILE ARGUMENTS…`: `bench.ours ARGUMENTS…`, profiled until SIGTERM."""
    from bench.ours import main as run  # noqa: PLC0415

    # The server drains on SIGTERM and then raises it again: this handler lets the profile be written.
    signal.signal(signal.SIGTERM, _stop)
    profiler = cProfile.Profile()
    try:
        profiler.runcall(run, sys.argv[2:])
    finally:
        profiler.dump_stats(sys.argv[1])


if __name__ == "__main__":
    main()
