import sys

import pytest

from ordertrail.queues.nats import NatsQueue
from ordertrail.queues.registry import make_queue, queue_title
from ordertrail.queues.sqs import SqsAddress, SqsQueue, read_address
from ordertrail.runtime.errors import CannotStart


@pytest.mark.parametrize(
    "url", ["nats://queue", "tls://user:secret@queue:4222", "nats://one:4222,two:4222/trading?replicas=3"]
)
def test_a_nats_url_is_served(url: str) -> None:
    assert isinstance(make_queue(url, venue="exchange", bytes_max=1), NatsQueue)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "queue",
        "http://queue",
        "nats:",
        "nats://",
        "nats://user:secret@",
        "nats://[queue",
        "nats://q?replicas=x",
        "nats://q?secret=1",
        "sqs://r",
        "sqs://r/a/b/c",
    ],
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


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqs://eu-central-1/reports", SqsAddress("reports", "eu-central-1", None, None, None, None)),
        ("sqs://eu-central-1/123/reports.fifo", SqsAddress("reports.fifo", "eu-central-1", "123", None, None, None)),
        (
            "sqs+http://key:s%2Fcret@localhost:4566/reports?region=eu-west-1",
            SqsAddress("reports", "eu-west-1", None, "http://localhost:4566", "key", "s/cret"),
        ),
        ("sqs+https://queue/reports", SqsAddress("reports", "us-east-1", None, "https://queue", None, None)),
    ],
)
def test_an_sqs_url_is_read(url: str, address: SqsAddress) -> None:
    assert read_address(url) == address
    assert isinstance(make_queue(url, venue="exchange", bytes_max=1), SqsQueue)


def test_a_fifo_queue_is_known_by_its_name() -> None:
    assert read_address("sqs://eu-central-1/reports.fifo").is_fifo
    assert not read_address("sqs://eu-central-1/reports").is_fifo


def test_without_its_library_an_sqs_url_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ordertrail.queues.sqs")
    monkeypatch.setitem(sys.modules, "aiobotocore.config", None)

    with pytest.raises(CannotStart, match="aiobotocore"):
        make_queue("sqs://eu-central-1/reports", venue="exchange", bytes_max=1)


@pytest.mark.parametrize("names", [("a.b", "a_b"), ("http://a", "http:/_a"), ("é", "e")])
def test_streams_of_two_venues_are_two(names: tuple[str, str]) -> None:
    streams = {NatsQueue("nats://queue", venue=venue, bytes_max=1).name for venue in names}

    assert len(streams) == 2
    assert all(name.isascii() and not set(name) & set(" .*>/\\") for name in streams)


def test_a_prefix_keeps_streams_apart() -> None:
    one, other = (NatsQueue(f"nats://queue/{prefix}", venue="exchange", bytes_max=1) for prefix in ("", "trading"))

    assert (one.name, other.name) == ("ordertrail_executions_exchange", "trading_executions_exchange")
