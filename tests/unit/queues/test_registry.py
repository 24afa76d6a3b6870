import pytest

from ordertrail.queues.nats import NatsQueue
from ordertrail.queues.registry import make_queue, queue_title
from ordertrail.runtime.errors import CannotStart


@pytest.mark.parametrize(
    "url", ["nats://queue", "tls://user:secret@queue:4222", "nats://one:4222,two:4222/trading?replicas=3"]
)
def test_a_nats_url_is_served(url: str) -> None:
    assert isinstance(make_queue(url, venue="exchange", bytes_max=1), NatsQueue)


@pytest.mark.parametrize(
    "url",
    ["", "queue", "http://queue", "nats:", "nats://", "nats://user:secret@", "nats://[queue", "nats://q?replicas=x"],
)
def test_any_other_url_is_refused_in_words_without_its_secrets(url: str) -> None:
    with pytest.raises(CannotStart, match="ORDERTRAIL_QUEUE_URL") as refused:
        make_queue(url, venue="exchange", bytes_max=1)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "title"),
    [
        (None, "PostgreSQL"),
        ("nats://queue:4222", "nats://queue:4222"),
        ("nats://user:sec@ret@queue", "nats://queue"),
        ("nats://queue/trading?replicas=3", "nats://queue/trading"),
        ("nats://[queue", "unreadable"),
    ],
)
def test_a_title_has_no_secret(url: str | None, title: str) -> None:
    assert queue_title(url) == title


@pytest.mark.parametrize("names", [("a.b", "a_b"), ("http://a", "http:/_a"), ("é", "e")])
def test_streams_of_two_venues_are_two(names: tuple[str, str]) -> None:
    streams = {NatsQueue("nats://queue", venue=venue, bytes_max=1).name for venue in names}

    assert len(streams) == 2
    assert all(name.isascii() and not set(name) & set(" .*>/\\") for name in streams)


def test_a_prefix_keeps_streams_apart() -> None:
    one, other = (NatsQueue(f"nats://queue/{prefix}", venue="exchange", bytes_max=1) for prefix in ("", "trading"))

    assert (one.name, other.name) == ("ordertrail_executions_exchange", "trading_executions_exchange")
