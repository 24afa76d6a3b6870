"""Faults on demand: what goes wrong, how often, and the instruments that always go wrong."""

from enum import StrEnum
from random import Random
from typing import Annotated

import msgspec

Weight = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
FaultSeconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=600_000)]


class PlaceFault(StrEnum):
    """What becomes of one call that places an order. README.md says each in full."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    THROTTLE = "throttle"
    CLOSED = "closed"
    LOST = "lost"
    LATE = "late"
    ERROR_AFTER = "error_after"
    ERROR_BEFORE = "error_before"
    GARBAGE = "garbage"
    RESET = "reset"


class PlaceWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often each thing happens, relative to the others."""

    accept: Weight = 0.0
    refuse: Weight = 0.0
    throttle: Weight = 0.0
    closed: Weight = 0.0
    lost: Weight = 0.0
    late: Weight = 0.0
    error_after: Weight = 0.0
    error_before: Weight = 0.0
    garbage: Weight = 0.0
    reset: Weight = 0.0

    def __post_init__(self) -> None:
        if not any(self.of(fault) for fault in PlaceFault):
            raise ValueError("at least one weight must be greater than 0")

    def of(self, fault: PlaceFault) -> float:
        weight: float = getattr(self, fault.value)
        return weight


class CancelFault(StrEnum):
    """What becomes of one call that cancels an order."""

    ACCEPT = "accept"
    LATE = "late"
    LOST = "lost"
    ERROR_AFTER = "error_after"
    REFUSE = "refuse"


class CancelWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often each thing happens, relative to the others."""

    accept: Weight = 0.0
    late: Weight = 0.0
    lost: Weight = 0.0
    error_after: Weight = 0.0
    refuse: Weight = 0.0

    def __post_init__(self) -> None:
        if not any(self.of(fault) for fault in CancelFault):
            raise ValueError("at least one weight must be greater than 0")

    def of(self, fault: CancelFault) -> float:
        weight: float = getattr(self, fault.value)
        return weight


class QueryFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`no_answer`: probability of an answer that says nothing; `hide_seconds`: new ones are hidden so long."""

    no_answer: Probability = 0.0
    hide_seconds: FaultSeconds = 0.0


class FrameFault(StrEnum):
    """What becomes of one frame of reports on one connection. README.md says each in full."""

    GAP = "gap"
    DUPLICATE = "duplicate"
    SHUFFLE = "shuffle"
    STALL = "stall"
    CUT = "cut"
    GARBAGE = "garbage"
    UNKNOWN_TYPE = "unknown_type"
    STRANGER = "stranger"


class SocketFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Probabilities, for each frame of reports and each connection; `stall_seconds` is how long a stall lasts."""

    gap: Probability = 0.0
    duplicate: Probability = 0.0
    shuffle: Probability = 0.0
    stall: Probability = 0.0
    cut: Probability = 0.0
    garbage: Probability = 0.0
    unknown_type: Probability = 0.0
    stranger: Probability = 0.0
    stall_seconds: FaultSeconds = 4.0

    def of(self, fault: FrameFault) -> float:
        probability: float = getattr(self, fault.value)
        return probability


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All faults as `PUT /v1/faults` takes them; what is left out has its default, which is no fault."""

    place: PlaceWeights = PlaceWeights(accept=1.0)
    ask: QueryFaults = QueryFaults()
    latency_ms: Milliseconds = 0.0
    late_seconds: FaultSeconds = 6.0
    cancel: CancelWeights = CancelWeights(accept=1.0)
    socket: SocketFaults = SocketFaults()


INSTRUMENTS = {
    "FAULTREFUSE0": PlaceFault.REFUSE,
    "FAULTTHROTTL": PlaceFault.THROTTLE,
    "FAULTCLOSED0": PlaceFault.CLOSED,
    "FAULTLOST000": PlaceFault.LOST,
    "FAULTLATE000": PlaceFault.LATE,
    "FAULTERROR00": PlaceFault.ERROR_AFTER,
    "FAULTGARBAGE": PlaceFault.GARBAGE,
    "FAULTRESET00": PlaceFault.RESET,
}


class FaultDice:
    """Draws what happens to each call; where there is one possibility it draws nothing, which is cheap."""

    def __init__(self, settings: Faults, random: Random) -> None:
        self.settings = settings
        self._random = random
        self._choices = [fault for fault in PlaceFault if settings.place.of(fault) > 0]
        self._weights = [settings.place.of(fault) for fault in self._choices]
        self._cancels = [fault for fault in CancelFault if settings.cancel.of(fault) > 0]
        self._cancel_weights = [settings.cancel.of(fault) for fault in self._cancels]
        self._frame = [(fault, settings.socket.of(fault)) for fault in FrameFault if settings.socket.of(fault) > 0]

    def place(self, instrument: str | None) -> PlaceFault:
        """What becomes of a call that places an order in this instrument."""
        if instrument is not None and (on_purpose := INSTRUMENTS.get(instrument)) is not None:
            return on_purpose
        if len(self._choices) == 1:
            return self._choices[0]
        return self._random.choices(self._choices, self._weights)[0]

    def cancel(self) -> CancelFault:
        """What becomes of a call that cancels an order."""
        if len(self._cancels) == 1:
            return self._cancels[0]
        return self._random.choices(self._cancels, self._cancel_weights)[0]

    def query_has_no_answer(self) -> bool:
        probability = self.settings.ask.no_answer
        return probability > 0 and self._random.random() < probability

    def frame(self) -> FrameFault | None:
        """What becomes of a frame of reports; the first that is drawn, in the order of the words."""
        for fault, probability in self._frame:
            if self._random.random() < probability:
                return fault
        return None

    def shuffled(self, reports: list[bytes]) -> list[bytes]:
        """In another order, where there is one."""
        return self._random.sample(reports, len(reports))

    def coin(self) -> bool:
        return self._random.random() < 0.5


def parse_faults(text: str | bytes) -> Faults:
    """Faults from JSON; ValueError with a sentence."""
    try:
        return msgspec.json.decode(text, type=Faults)
    except msgspec.DecodeError as problem:
        raise ValueError(f"The faults cannot be used: {problem}.") from problem
