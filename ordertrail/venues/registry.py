"""Which adapter serves a URL."""

from pathlib import Path
from urllib.parse import urlsplit

from ordertrail.runtime.clock import Clock
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.venues.venue import Venue

_log = get_logger()

SIMULATED = "simulated:"
IN_MEMORY = "in_memory:"
IN_MEMORY_UNTIL_0_1 = "forgetful:"  # taken for one release, with a warning

_NO_VENUE = "ORDERTRAIL_EXCHANGE_URL must be http://…, https://… or simulated:, or not be set."


def venue_title(url: str | None, *, is_simulated: bool = False) -> str:
    """How a person knows the venue at a URL, without any secret that the URL may have: SIMULATED, or where it is.

    `is_simulated`: the one at that address is known to be a simulated exchange.
    """
    if url is None or url == SIMULATED:
        return "SIMULATED"
    if is_in_memory(url):
        return "SIMULATED in memory"
    try:
        scheme, host, port = (place := urlsplit(url)).scheme, place.hostname or "", place.port
    except ValueError:
        return "unreadable"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    return f"SIMULATED at {address}" if is_simulated else address


def is_in_memory(url: str | None) -> bool:
    """Whether it is the simulated exchange in this process that forgets everything."""
    return url is not None and url.startswith((IN_MEMORY, IN_MEMORY_UNTIL_0_1))


def is_in_process(url: str | None) -> bool:
    """Whether it is a simulated exchange in this process, so that no other one can reach it."""
    return url is None or url == SIMULATED or is_in_memory(url)


def venue_name(url: str | None) -> str:
    """The name of the venue at a URL, as its adapter has it, in rows and queues; CannotStart as `make_venue`."""
    if is_in_process(url):
        return "simulated"
    assert url is not None
    if url.lower().startswith(("http://", "https://")):
        return "http"
    raise CannotStart(_NO_VENUE)


def make_venue(url: str | None, *, data_dir: Path, clock: Clock, connections_max: int) -> Venue:
    """The venue at a URL, not opened yet; CannotStart with a sentence.

    None or `simulated:`: a simulated exchange in this process, whose log outlives it in `data_dir`.
    `in_memory:?latency_ms=5&refuse=0.1`: one that forgets what it accepted; for benchmarks only.
    `http://…`, `https://…`: an exchange that speaks the protocol in `simulated_exchange/README.md`.
    """
    # Each adapter brings a library of its own, which a command that asks no exchange need not wait for.
    if url is not None and url.lower().startswith(("http://", "https://")):
        from ordertrail.venues.http.client import HttpVenue  # noqa: PLC0415

        return HttpVenue(url, clock=clock, connections_max=connections_max)
    from ordertrail.venues.simulated.client import SimulatedVenue  # noqa: PLC0415
    from ordertrail.venues.simulated.opening import Durable, parse_in_memory  # noqa: PLC0415

    if url is None or url == SIMULATED:
        return SimulatedVenue(Durable(data_dir), clock=clock)
    if url.startswith(IN_MEMORY_UNTIL_0_1):
        _log.warning("an exchange URL has another name now", was=IN_MEMORY_UNTIL_0_1, now=IN_MEMORY)
        url = IN_MEMORY + url.removeprefix(IN_MEMORY_UNTIL_0_1)
    if url.startswith(IN_MEMORY):
        opening = parse_in_memory(url.removeprefix(IN_MEMORY).removeprefix("?"))
        return SimulatedVenue(opening, clock=clock)
    raise CannotStart(_NO_VENUE)
