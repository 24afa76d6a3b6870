"""What runs: settings, clock, failpoints, telemetry."""
