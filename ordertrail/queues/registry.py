"""Which queue serves a URL. Without one it is in PostgreSQL, and made where the database is."""

from urllib.parse import SplitResult, urlsplit

from ordertrail.queues.queue import Broker
from ordertrail.runtime.errors import CannotStart

NATS = ("nats", "tls")
SQS = ("sqs", "sqs+http", "sqs+https")

_WANTED = (
    "ORDERTRAIL_QUEUE_URL must be nats://host:4222, tls://host:4222, sqs://region/queue or "
    "sqs+http://host:port/queue, or not be set; "
)


def make_queue(url: str, *, venue: str, bytes_max: int, timeout_seconds: float = 5.0) -> Broker:
    """A venue's queue at a URL, not opened yet; CannotStart with a sentence."""
    parts = _parts(url)
    try:
        # Each brings a library of its own, which others need not wait for, nor have.
        if parts.scheme in NATS:
            from ordertrail.queues.nats import NatsQueue  # noqa: PLC0415

            return NatsQueue(url, venue=venue, bytes_max=bytes_max, timeout_seconds=timeout_seconds)
        if parts.scheme in SQS:
            from ordertrail.queues.sqs import SqsQueue  # noqa: PLC0415

            return SqsQueue(url, venue=venue, timeout_seconds=timeout_seconds)
    except ValueError as error:
        raise CannotStart(f"{_WANTED}{error}.") from None
    raise CannotStart(_WANTED + "what it begins with is none of them.")


def queue_title(url: str | None) -> str:
    """How a person knows the queue, without any secret that the URL may have."""
    if url is None:
        return "PostgreSQL"
    try:
        parts = _parts(url)
    except CannotStart:
        return "unreadable"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise CannotStart(_WANTED + f"it cannot be read: {error}.") from None
    if not parts.netloc.rpartition("@")[2]:
        raise CannotStart(_WANTED + "it names no host.")
    return parts
