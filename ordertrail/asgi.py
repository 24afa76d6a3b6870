"""The web process: the application with real parts, from the environment's settings."""

from ordertrail.telemetry.processes import share_metrics

# Before anything imports the metrics: the library decides on import how their values are kept.
share_metrics()

from ordertrail.api.app import create_app  # noqa: E402
from ordertrail.bootstrap import Service  # noqa: E402
from ordertrail.settings import load_settings  # noqa: E402
from ordertrail.telemetry.logs import configure_logs  # noqa: E402


def make_service() -> Service:
    """The service, with the settings as they are when the server starts."""
    settings = load_settings()
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    return Service(settings)


app = create_app(make_service)
