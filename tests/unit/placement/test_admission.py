"""Which new orders are shed, and for which reason where there are several."""

from dataclasses import dataclass
from typing import Any

import pytest

from ordertrail.placement.admission import Admission, Shed


@dataclass
class House:
    """Journal, spool and gate of a process, as far as a new order looks at them."""

    is_full: bool = False
    is_halted: bool = False
    room_for: int = 100

    def has_room(self, *, orders_in_flight: int) -> bool:
        return orders_in_flight < self.room_for

    def shed(self, orders_in_flight: int = 0) -> Shed | None:
        parts: Any = self
        return Admission(parts, parts, parts, orders_in_flight_max=10).shed(orders_in_flight)


def test_order_is_taken_where_nothing_speaks_against_it() -> None:
    assert House().shed() is None


@pytest.mark.parametrize(
    ("house", "shed"),
    [
        (House(is_full=True), Shed.OVERLOADED),
        (House(room_for=0), Shed.SPOOL_FULL),
        (House(is_halted=True), Shed.HALTED),
        (House(is_full=True, room_for=0, is_halted=True), Shed.OVERLOADED),
        (House(room_for=0, is_halted=True), Shed.SPOOL_FULL),
    ],
    ids=str,
)
def test_order_that_could_not_be_carried_to_its_end_is_shed(house: House, shed: Shed) -> None:
    assert house.shed() is shed


def test_so_many_orders_in_flight_and_no_more() -> None:
    assert House().shed(9) is None
    assert House().shed(10) is Shed.OVERLOADED


def test_spool_must_have_room_for_all_that_is_in_flight() -> None:
    assert House(room_for=5).shed(4) is None
    assert House(room_for=5).shed(5) is Shed.SPOOL_FULL
