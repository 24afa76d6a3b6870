"""Seeds: clients place, repeat and cancel while what the seed drew goes wrong; then all is healed and checked.

ORDERTRAIL_SEEDS says how many, ORDERTRAIL_SEEDS_TWICE how many are run twice. A seed that fails is told with the
command that shows its run.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.chaos import BROKER_FAULTS, DATABASE_FAULTS, EVENTS, EXECUTION_EVENTS, NETWORK_FAULTS, QUEUES
from tests.simulation.run import run_kept, run_seed
from tests.support.checker import PLACED_SHARE_MIN
from tests.support.counts import Count

SEEDS = int(os.environ.get("ORDERTRAIL_SEEDS", "300"))
# So many that each has runs enough for all faults, and all cores have work.
CHUNKS = max(1, min(10, SEEDS // 100))
SEEDS_TWICE = int(os.environ.get("ORDERTRAIL_SEEDS_TWICE", "20"))
KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))
ROOT = Path(__file__).parents[2]
# Fewer runs than these prove nothing of the rarest faults.
SEEDS_FOR_ALL_FAULTS = 80
FAULTS = (
    *(f"database: {kind}" for kind in (*DATABASE_FAULTS, "away")),
    *(f"network: {kind}" for kind in NETWORK_FAULTS),
    *(f"event: {kind}" for kind in EVENTS),
    "exchange: away",
    "killed at a failpoint",
    "calm runs",
    "reader cut",
    "canceled",
    "advice: wait_then_repeat_same_key",
    "advice: new_key_is_safe",
    "advice: never_repeat",
    "advice: placed",
)

# A third of the runs has these.
EXECUTION_FAULTS = (
    *(f"broker: {kind}" for kind in (*BROKER_FAULTS, "away")),
    *(f"event: {kind}" for kind in EXECUTION_EVENTS),
    *(f"queue: {name}" for name in QUEUES),
    *(f"reports {kind}" for kind in ("trade", "trade_cancel", "trade_correct", "expired", "rejected", "restated")),
    "parked unknown_order",
    "poison",
    "reports forgotten",
    "frames wiped",
    "completed by execution",
)
SEEDS_FOR_ALL_EXECUTION_FAULTS = 500


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_or_doubled_and_everything_settles(chunk: int, counted: Count) -> None:
    counts: Counter[str] = Counter()
    failed = {}
    for seed in range(chunk, SEEDS, CHUNKS):
        result = run_seed(seed)
        counts.update(result.counts)
        if result.violations:
            failed[f"python -m tests.simulation --seed {seed}"] = result.violations
    counted({name: counts[name] for name in ("runs", "orders", "placed", "executions")})

    assert not failed
    assert counts["placed"] >= PLACED_SHARE_MIN * counts["orders"]
    if counts["runs"] >= SEEDS_FOR_ALL_FAULTS:
        assert not [fault for fault in FAULTS if not counts[fault]], "never happened"
    if counts["runs"] >= SEEDS_FOR_ALL_EXECUTION_FAULTS:
        assert not [fault for fault in EXECUTION_FAULTS if not counts[fault]], "never happened"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_seeds_that_once_failed_do_not_fail_again(path: Path) -> None:
    assert run_kept(path).violations == []


@pytest.mark.timeout(1800)
def test_the_same_seed_is_the_same_run_whatever_the_hash_seed(counted: Count) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS_TWICE), "--first", "50000", "--hashes"]
    runs = [
        subprocess.run(
            [*command, "--workers", "1"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for hash_seed in ("1", "2")
    ]

    counted({"seeds run twice": len(runs[0])})
    assert len(runs[0]) == SEEDS_TWICE
    assert runs[0] == runs[1]
