"""The token bucket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.venues.gate.rate import Bucket

START = 1000.0


def test_a_full_bucket_gives_its_burst_and_then_one_by_one() -> None:
    bucket = Bucket(per_second=10, burst=3)

    at_once = [bucket.take(START) for _ in range(4)]
    then = [bucket.take(START + 0.0999), bucket.take(START + 0.1001), bucket.take(START + 0.1001)]

    assert at_once == [True, True, True, False]
    assert then == [False, True, False]


def test_a_long_quiet_time_saves_no_more_than_the_burst() -> None:
    bucket = Bucket(per_second=10, burst=3)
    bucket.take(START)

    assert sum(bucket.take(START + 3600) for _ in range(10)) == 3


def test_it_foresees_when_there_is_a_token_for_those_who_wait() -> None:
    bucket = Bucket(per_second=10, burst=1)
    bucket.take(START)

    assert bucket.free_at(START) == pytest.approx(START + 0.1)
    assert bucket.free_at(START, ahead=4) == pytest.approx(START + 0.5)


@given(
    per_second=st.floats(0.1, 10_000),
    burst=st.floats(1, 100),
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=300),
)
def test_never_more_than_rate_times_time_and_burst_in_any_window(
    per_second: float, burst: float, gaps: list[float]
) -> None:
    bucket = Bucket(per_second=per_second, burst=burst)
    now = START
    taken = []

    for gap in gaps:
        now += gap / per_second
        if bucket.take(now):
            taken.append(now)

    for i, begin in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= per_second * (taken[j] - begin) + burst + 1e-6 * (1 + per_second)


@given(per_second=st.floats(0.1, 10_000), burst=st.floats(1, 100), takings=st.integers(0, 50))
def test_what_it_foresees_holds(per_second: float, burst: float, takings: int) -> None:
    bucket = Bucket(per_second=per_second, burst=burst)
    for _ in range(takings):
        bucket.take(START)

    at = bucket.free_at(START)

    assert bucket.take(at)
