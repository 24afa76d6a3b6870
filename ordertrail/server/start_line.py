"""The one line with which a process says what it is about to work with: where orders go, above all."""

from ordertrail import __version__
from ordertrail.queues.registry import queue_title
from ordertrail.runtime import notices
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings, is_started_by_up
from ordertrail.storage.postgres.address import read_address
from ordertrail.venues.registry import SIMULATED, make_venue, venue_name, venue_title

NO_REAL_ORDER = "no real order is placed"

NOT_SET = (
    "ORDERTRAIL_EXCHANGE_URL is not set: set it to the exchange's address (http://…), or to `simulated:` if you mean "
    f"the simulated exchange inside the process, where {NO_REAL_ORDER}."
)


def say_start(role: str, settings: Settings, *, workers: int = 1) -> None:
    """Say version, exchange, database, workers and data folder; no secret among them."""
    notices.say(start_line(role, settings, workers=workers))


def start_line(role: str, settings: Settings, *, workers: int = 1) -> str:
    """That line."""
    return (
        f"version {__version__}, {role}: exchange {shown_exchange(settings)}; "
        f"database {shown_database(settings)}; {workers} worker{'' if workers == 1 else 's'}; "
        f"execution reports over {queue_title(settings.queue_url)}; data folder {settings.data_dir.absolute()}"
    )


def title_of(settings: Settings) -> str:
    """The exchange as a person knows it; SIMULATED where it is."""
    return venue_title(settings.exchange_url, is_simulated=is_started_by_up())


def shown_exchange(settings: Settings) -> str:
    """The exchange, and what is to be known of a simulated one."""
    title = title_of(settings)
    return f"{title}, {NO_REAL_ORDER}" if title.startswith("SIMULATED") else title


def shown_database(settings: Settings) -> str:
    """Host, port and name of the database; CannotStart where its URL cannot be read."""
    return read_address(settings.database_url.get_secret_value()).place


def want_venue_name(settings: Settings) -> str:
    """The name of the venue, for roles that never call it; CannotStart where nothing says which one it is."""
    if settings.exchange_url is None:
        raise CannotStart(NOT_SET)
    return venue_name(settings.exchange_url)


def want_exchange_url(settings: Settings, *, workers: int = 1) -> None:
    """CannotStart where nothing says to which exchange orders go, or where so many workers cannot share it."""
    if settings.exchange_url is None:
        raise CannotStart(NOT_SET)
    # Here already, and not first in each worker.
    make_venue(settings.exchange_url, data_dir=settings.data_dir, clock=SystemClock(), connections_max=1)
    if workers > 1 and settings.exchange_url == SIMULATED:
        raise CannotStart(
            "Several workers need one exchange that all of them can reach: start it with `ordertrail exchange` and "
            "set ORDERTRAIL_EXCHANGE_URL to its address, or use one worker."
        )
