"""How the exchange in this process is opened: on its log, or in memory alone."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl

from ordertrail.runtime.errors import CannotStart
from simulated_exchange.capabilities import Profile
from simulated_exchange.faults import Faults, PlaceFault, PlaceWeights
from simulated_exchange.log import LogError
from simulated_exchange.service import ExchangeService, open_exchange

FOLDER = "exchange-in-process"
LATENCY_MS_MAX = 600_000


class Opening(Protocol):
    """A way to open an exchange."""

    @property
    def is_in_memory(self) -> bool:
        """Whether what it accepts is gone with the process."""
        ...

    def open(self) -> ExchangeService:
        """CannotStart with a sentence."""
        ...


class Durable:
    """On the log in `data_dir`, which one process at a time can have."""

    is_in_memory = False

    def __init__(self, data_dir: Path, *, profile: Profile | None = None) -> None:
        self._folder = data_dir / FOLDER
        self._profile = profile

    def open(self) -> ExchangeService:
        try:
            return open_exchange(self._folder, profile=self._profile)
        except LogError as problem:
            raise CannotStart(
                f"The exchange inside the process cannot be opened: {problem} Only one process at a time can have "
                "it. For several, run the exchange as a process of its own (`ordertrail exchange`) and set "
                "ORDERTRAIL_EXCHANGE_URL to its address."
            ) from problem


class InMemory:
    """In memory, the newest orders alone, with faults from the start: for benchmarks."""

    is_in_memory = True

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def open(self) -> ExchangeService:
        return open_exchange(None, faults=self._faults)


def parse_in_memory(query: str) -> InMemory:
    """From `latency_ms=5&refuse=0.1`: a latency, and a probability for what may become of an order.

    What is left of the probability is accepted. CannotStart with a sentence.
    """
    numbers = dict(_numbers(parse_qsl(query, keep_blank_values=True)))
    latency_ms = numbers.pop("latency_ms", 0.0)
    total = sum(numbers.values())
    if total > 1 + 1e-9 or latency_ms > LATENCY_MS_MAX:
        raise CannotStart(
            "ORDERTRAIL_EXCHANGE_URL: the probabilities after in_memory: must add up to 1 at most, and latency_ms "
            f"be {LATENCY_MS_MAX} at most."
        )
    weights = PlaceWeights(**{"accept": max(1 - total, 0.0), **numbers})
    return InMemory(Faults(place=weights, latency_ms=latency_ms))


def _numbers(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, float]]:
    known = ["latency_ms", *(fault.value for fault in PlaceFault if fault is not PlaceFault.ACCEPT)]
    for name, text in pairs:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if name not in known or not 0 <= number < float("inf"):
            raise CannotStart(
                f"ORDERTRAIL_EXCHANGE_URL: {name}={text} cannot stand after in_memory: there are "
                f"{', '.join(known)}, each with a number from 0."
            )
        yield name, number
