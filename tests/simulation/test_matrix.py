"""Every single fault at every step of every story, and each day another share of the pairs.

ORDERTRAIL_PAIRS_SHARE=7/100 tells the seventh hundredth of them; ORDERTRAIL_TEST_MATRIX_SHARE the same of the single
faults, ORDERTRAIL_TEST_EXECUTIONS_SHARE and ORDERTRAIL_TEST_WAY_PAIRS_SHARE of those on the way of execution reports;
ORDERTRAIL_MATRIX_PROFILES names the kinds of venues, or `all`.
"""

import os
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

import ordertrail
from tests.simulation.chaos import ALL_PROFILES
from tests.simulation.matrix import EXECUTION_STORIES, STORIES, Case, pairs, play, singles
from tests.simulation.site import EXECUTION_FAILPOINTS, FAILPOINTS, QUEUE_FAILPOINTS
from tests.support.counts import Count

# The exchange that keeps all promises; CI adds one that keeps none which would make a second send safe.
CHOSEN = os.environ.get("ORDERTRAIL_MATRIX_PROFILES", "durable")
PROFILES = tuple(ALL_PROFILES) if CHOSEN == "all" else tuple(CHOSEN.split(","))


def _share(variable: str, of: int) -> tuple[int, int]:
    """What the variable says, as 7/100; without it each day another."""
    share, _, shares = os.environ.get(variable, f"{datetime.now(UTC).toordinal() % of}/{of}").partition("/")
    return int(share), int(shares)


PAIRS_SHARE = _share("ORDERTRAIL_PAIRS_SHARE", 4000)
# Of the single faults; CI tells all of them.
MATRIX_SHARE = _share("ORDERTRAIL_TEST_MATRIX_SHARE", 5)
EXECUTIONS_SHARE = _share("ORDERTRAIL_TEST_EXECUTIONS_SHARE", 5)
WAY_PAIRS_SHARE = _share("ORDERTRAIL_TEST_WAY_PAIRS_SHARE", 2000)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("story", STORIES)
def test_any_single_fault(story: str, profile: str, counted: Count) -> None:
    share, of = MATRIX_SHARE
    violations, counts, hits = {}, Counter[str](), Counter[str]()
    for case in islice(singles(story, profile), share, None, of):
        played = play(case)
        hits.update(played.hits)
        counts["single faults"] += 1
        if played.violations:
            violations[case] = played.violations

    counted(counts)
    assert not violations
    assert hits.total() == counts["single faults"], "each fault must happen, once"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("queue", ["inbox", "chained"])
@pytest.mark.parametrize("story", EXECUTION_STORIES)
def test_any_single_fault_on_the_way_of_execution_reports(story: str, queue: str, counted: Count) -> None:
    share, of = EXECUTIONS_SHARE
    violations, counts, hits = {}, Counter[str](), Counter[str]()
    for case in islice(singles(story, "durable", queue=queue), share, None, of):
        played = play(case)
        hits.update(played.hits)
        counts["single faults on the way"] += 1
        if played.violations:
            violations[case] = played.violations

    counted(counts)
    assert not violations
    assert hits.total() == counts["single faults on the way"], "each fault must happen, once"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("story", STORIES)
def test_a_share_of_the_pairs_of_faults(story: str, counted: Count) -> None:
    share, of = PAIRS_SHARE
    violations, hits, played_with = {}, Counter[int](), 0
    for profile in PROFILES:
        for case in pairs(story, profile, share=share, of=of):
            played = play(case)
            played_with += 1
            hits[played.hits.total()] += 1
            if played.violations:
                violations[case] = played.violations

    counted({"pairs of faults": played_with, "pairs of which both happened": hits[2]})
    assert not violations


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("queue", ["inbox", "chained"])
@pytest.mark.parametrize("story", EXECUTION_STORIES)
def test_a_share_of_the_pairs_of_faults_on_the_way_of_execution_reports(story: str, queue: str, counted: Count) -> None:
    share, of = WAY_PAIRS_SHARE
    violations, hits, played_with = {}, Counter[int](), 0
    for case in pairs(story, "durable", share=share, of=of, queue=queue):
        played = play(case)
        played_with += 1
        hits[played.hits.total()] += 1
        if played.violations:
            violations[case] = played.violations

    counted({"pairs of faults on the way": played_with, "pairs of which both happened": hits[2]})
    assert not violations


def test_a_fault_that_is_reported_makes_a_difference() -> None:
    """Or the matrix would prove nothing: the same story with and without a fault is not the same run."""
    calm = play(Case("happy", "durable", ()), keep_trace=True)
    first = next(crossing for crossing in calm.crossings if crossing.what == "insert_initiated")

    faulty = play(Case("happy", "durable", ((first.number, "lost_answer"),)), keep_trace=True)

    assert calm.trace != faulty.trace
    assert sum(faulty.hits.values()) == 1


def test_all_failpoints_are_known_here() -> None:
    reached = {
        name
        for path in Path(ordertrail.__file__).parent.rglob("*.py")
        for name in re.findall(r'failpoints\.reach\("(\w+)"\)', path.read_text())
    }

    assert reached == {*FAILPOINTS, *EXECUTION_FAILPOINTS, *QUEUE_FAILPOINTS}
