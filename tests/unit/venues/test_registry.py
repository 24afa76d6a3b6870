"""Which adapter serves a URL, and which URLs are refused with a sentence."""

from pathlib import Path

import pytest

from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.errors import CannotStart
from ordertrail.venues.http.client import HttpVenue
from ordertrail.venues.registry import make_venue
from ordertrail.venues.simulated.client import SimulatedVenue
from ordertrail.venues.venue import Venue


def make(url: str | None, data_dir: Path = Path("unused")) -> Venue:
    return make_venue(url, data_dir=data_dir, clock=SystemClock(), connections_max=8)


def opened(venue: Venue) -> SimulatedVenue:
    assert isinstance(venue, SimulatedVenue)
    return venue


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://exchange.example", "HTTP://[::1]:9000/base/"])
def test_http_urls_are_served_over_http(url: str) -> None:
    assert isinstance(make(url), HttpVenue)


def test_in_memory_exchange_is_known_by_its_old_name_for_one_release() -> None:
    renamed = opened(make("forgetful:?latency_ms=5&refuse=0.25"))

    assert renamed._opening.is_in_memory


@pytest.mark.parametrize(
    "url",
    [
        "",
        "exchange:9000",
        "ftp://exchange",
        "http://",
        "http://:9000",
        "http://exchange:port",
        "http://exchange:70000",
        "http://exchange:0",
        "http://exchange?x=1",
        "http://exchange#x",
        "http://exch ange",
        "http://exchange\r\nX: y",
        "http://börse.example",
        "http://[::1",
        "in_memory:?latency=5",
        "in_memory:?latency_ms=fast",
        "in_memory:?latency_ms=nan",
        "in_memory:?latency_ms=inf",
        "in_memory:?latency_ms=-1",
        "in_memory:?latency_ms=1000000",
        "in_memory:?refuse=0.6&lost=0.6",
        "in_memory:?accept=0.5",
        "in_memory:?refuse",
    ],
)
def test_other_urls_are_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(CannotStart, match=r"^ORDERTRAIL_EXCHANGE_URL.*\.$"):
        make(url)


def test_credentials_are_refused_and_not_repeated() -> None:
    with pytest.raises(CannotStart) as refusal:
        make("http://user:secret@exchange.example")

    assert "secret" not in str(refusal.value)
    assert "password" in str(refusal.value)


@pytest.mark.parametrize("url", [None, "simulated:"])
async def test_without_a_url_the_exchange_is_in_this_process_and_keeps_its_log(url: str | None, tmp_path: Path) -> None:
    venue = make(url, tmp_path)
    await venue.open()
    await venue.close()

    assert (tmp_path / "exchange-in-process" / "exchange.log").is_file()


async def test_second_owner_of_the_log_is_reported_what_to_do(tmp_path: Path) -> None:
    first, second = make(None, tmp_path), make(None, tmp_path)
    await first.open()

    with pytest.raises(CannotStart, match=r"process of its own.*ORDERTRAIL_EXCHANGE_URL"):
        await second.open()

    await second.close()
    await first.close()
    await second.open()
    await second.close()


async def test_in_memory_exchange_has_the_faults_of_its_url(tmp_path: Path) -> None:
    venue = opened(make("in_memory:?latency_ms=5&refuse=0.1&lost=0.2", tmp_path))
    await venue.open()
    faults = venue.exchange.exchange.faults
    await venue.close()

    assert faults.latency_ms == 5
    assert (faults.place.refuse, faults.place.lost) == (0.1, 0.2)
    assert faults.place.accept == pytest.approx(0.7)
    assert not (tmp_path / "exchange-in-process").exists()


async def test_in_memory_exchange_without_faults_accepts_everything() -> None:
    venue = opened(make("in_memory:"))
    await venue.open()
    faults = venue.exchange.exchange.faults
    await venue.close()

    assert faults.place.accept == 1
    assert faults.latency_ms == 0
