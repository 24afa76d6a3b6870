"""What the status says was counted."""

from ordertrail.runtime.telemetry import metrics


def test_counters_are_summed_by_what_they_count() -> None:
    before = metrics.trouble_counters()

    metrics.INVARIANTS_BROKEN.labels("of_this_test").inc(2)
    metrics.LATE_ARRIVALS.inc()

    after = metrics.trouble_counters()
    assert after.invariants_broken == {**before.invariants_broken, "of_this_test": 2}
    assert after.late_arrivals == (before.late_arrivals or 0) + 1
    assert after.log_records_dropped == before.log_records_dropped
