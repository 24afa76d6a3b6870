"""Each of the mistakes in `canaries.py` is found, or what finds nothing in the service itself proves nothing."""

import pytest

from tests.simulation import event_canaries, execution_canaries, queue_canaries
from tests.simulation.canaries import CANARIES
from tests.simulation.run import run_seed
from tests.support.counts import Count

SEEDS_MAX = 2000
CANARIES_MIN = 25


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CANARIES)
def test_a_service_with_this_mistake_is_found_out(name: str, counted: Count) -> None:
    canary = CANARIES[name]
    with canary.broken() as mistake:
        seeds = next((seed + 1 for seed in range(SEEDS_MAX) if run_seed(seed, focus=canary.focus).violations), None)

    # Asked first: one that was never reached cannot be found, and may yet be "found" for something else.
    assert not mistake.stale, "; ".join(mistake.stale)
    assert seeds is not None, "it survived"
    counted({"canaries caught": 1, "seeds until caught": seeds})


def test_there_are_enough_of_them() -> None:
    assert len(CANARIES) >= CANARIES_MIN
    assert event_canaries.__doc__ and execution_canaries.__doc__ and queue_canaries.__doc__
