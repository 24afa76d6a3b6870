"""Exchanges, orders and clocks for the tests of the simulated exchange."""

from decimal import Decimal
from random import Random

from simulated_exchange.capabilities import Profile
from simulated_exchange.exchange import Exchange
from simulated_exchange.faults import Faults, PlaceWeights
from simulated_exchange.log import InMemoryLog
from simulated_exchange.orders import NewOrder
from tests.support.clocks import ManualClock

INSTRUMENT = "US0378331005"
NOON_US = 1_767_268_800_000_000


def exchange(
    clock: ManualClock | None = None, profile: Profile | None = None, faults: Faults | None = None
) -> Exchange:
    return Exchange(
        epoch="e",
        log=InMemoryLog(),
        now_us=(clock or ManualClock()).now_us,
        random=Random(1),
        profile=profile,
        faults=faults,
    )


def limit(
    client_order_id: str,
    side: str = "buy",
    price: str = "10.00",
    quantity: int = 10,
    *,
    instrument: str = INSTRUMENT,
    accept_by_us: int | None = None,
) -> NewOrder:
    return NewOrder(client_order_id, "limit", side, instrument, Decimal(price), quantity, accept_by_us)


def market(client_order_id: str, side: str = "buy", quantity: int = 10, *, instrument: str = INSTRUMENT) -> NewOrder:
    return NewOrder(client_order_id, "market", side, instrument, None, quantity)


def always(fault: str, **others: float) -> Faults:
    """Faults with which every order meets this one."""
    return Faults(place=PlaceWeights(**{fault: 1.0}), **others)  # type: ignore[arg-type]  # floats by name
