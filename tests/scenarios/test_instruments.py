"""README's tour of the instruments that fail on purpose: what each answers, and that no other order notices."""

import re
from pathlib import Path

from simulated_exchange.faults import INSTRUMENTS
from tests.support.service import running

README = Path(__file__).parents[2] / "README.md"
# What the tour does; LOST and LATE are found by the query that follows, or are in doubt until then.
ANSWERS: dict[str, tuple[int, str | None]] = {
    "FAULTREFUSE0": (500, "refused:refused_on_purpose"),
    "FAULTTHROTTL": (500, "not_sent:throttled"),
    "FAULTCLOSED0": (500, "not_sent:closed"),
    "FAULTLOST000": (201, None),
    "FAULTLATE000": (500, "unknown:timeout"),
    "FAULTERROR00": (201, None),
    "FAULTGARBAGE": (201, None),
    "FAULTRESET00": (201, None),
}


def test_the_tour_names_every_instrument_that_fails_on_purpose() -> None:
    assert re.findall(r"`(FAULT[A-Z0-9]{7})`", README.read_text()) == list(INSTRUMENTS) == list(ANSWERS)


async def test_each_instrument_fails_as_it_should_and_a_good_order_is_placed_at_once(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path, exchange_timeout_seconds=0.5) as service:
        answers: dict[str, tuple[int, str | None]] = {}
        good: list[int] = []
        for instrument in INSTRUMENTS:
            reply = await service.place(instrument=instrument)
            rows = await service.trail(reply.headers["location"].rpartition("/")[2])
            answers[instrument] = (reply.status, rows[-1][1])
            good.append((await service.place()).status)

    assert answers == ANSWERS
    assert good == [201] * len(INSTRUMENTS)


async def test_an_instrument_that_is_closed_is_stopped_by_itself_and_the_status_shows_it(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as service:
        replies = [await service.place(instrument="FAULTCLOSED0") for _ in range(9)]
        rows = [await service.trail(reply.headers["location"].rpartition("/")[2]) for reply in replies]
        good = await service.place()
        status = (await service.call("GET", "/status")).body
        ready = await service.call("GET", "/readyz")

    assert [trail[-1][1] for trail in rows] == ["not_sent:closed"] * 8 + ["not_sent:circuit_open"]
    assert int(replies[-1].headers["retry-after"]) >= 1
    assert good.status == 201
    placing = status["gate"]["budgets"]["place"]
    assert (placing["breaker"], placing["instruments_open"]) == ("closed", 1)
    assert placing["open_instruments"][0]["instrument"] == "FAULTCLOSED0"
    assert "the others go on" in status["gate"]["to_do"]
    assert ready.status == 200
