"""What is open at the exchange by its own list, for commands: our rows alone do not say which orders are over."""

from ordertrail.domain.switch import as_line
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings
from ordertrail.venues.registry import make_venue
from ordertrail.venues.venue import OpenOrders


async def open_at_exchange(settings: Settings) -> OpenOrders | str:
    """The list of the exchange that the settings name, or in a sentence why there is none."""
    url = settings.exchange_url
    if url is None or not url.lower().startswith(("http://", "https://")):
        return "ORDERTRAIL_EXCHANGE_URL names no exchange here that could be asked."
    try:
        venue = make_venue(url, data_dir=settings.data_dir, clock=SystemClock(), connections_max=1)
        await venue.open()
        try:
            answer = await venue.open_orders(timeout_seconds=settings.exchange_timeout_seconds)
        finally:
            await venue.close()
    except (CannotStart, OSError, ValueError) as error:
        return f"the exchange could not be asked: {as_line(str(error))}"
    return f"the exchange gave no answer: {as_line(answer.cause)}." if isinstance(answer, NoAnswer) else answer
