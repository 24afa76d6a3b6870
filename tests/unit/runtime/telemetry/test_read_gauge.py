"""A gauge of what has not been read is absent."""

from prometheus_client import REGISTRY

from ordertrail.runtime.telemetry.metrics import ReadGauge


def test_gauge_is_absent_until_it_was_read() -> None:
    gauge = ReadGauge("ordertrail_test_read", "Of a test.", multiprocess_mode="livemax")
    assert REGISTRY.get_sample_value("ordertrail_test_read") is None

    gauge.set(0)
    gauge.set(3)

    assert REGISTRY.get_sample_value("ordertrail_test_read") == 3
