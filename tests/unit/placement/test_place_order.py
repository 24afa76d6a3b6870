"""Placement against rows that fail as told: what is sent, what is written, and what is claimed of it."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ordertrail.bootstrap import gate_limits_of
from ordertrail.domain.answer import Answer, NotSent, Refused, Unknown
from ordertrail.domain.errors import DatabaseAnswered, DatabaseLost, OrdertrailError
from ordertrail.domain.order import Order
from ordertrail.domain.trail import OrderStatus, Outcome
from ordertrail.gate.gate import Gate
from ordertrail.gate.report import GateReport
from ordertrail.gate.rules import GateRules
from ordertrail.journal import Journal
from ordertrail.placement.place_order import Failed, Placed, Placement, Placing, Repeated
from ordertrail.rows import KeyTaken, Recorded, SentLater, SpooledTrail, StepRow, StoredOrder, Unsent, Windows
from ordertrail.sending import Sender
from ordertrail.settings import Settings
from ordertrail.shared_commits import Limits
from ordertrail.spool import Spool
from tests.support.orders import an_order
from tests.support.service import PatientClock, ScriptedVenue

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WINDOWS = Windows(send_seconds=5, accept_seconds=10, review_seconds=20, retry_seconds=60)
REFUSED = DatabaseAnswered("23514", "refused")
NEVER_SENT = DatabaseLost("cannot connect", may_have_happened=False)
PERHAPS = DatabaseLost("cut", may_have_happened=True)


class FailingRows:
    """Every write succeeds, or fails with what stands here for its kind."""

    def __init__(self) -> None:
        self.initiated: OrdertrailError | None = None
        self.unsent: OrdertrailError | None = None
        self.steps: OrdertrailError | None = None
        self.was_sent_later = False
        self.written: list[StepRow] = []

    async def insert_initiated(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        _raise(self.initiated)
        return [Recorded(NOW) for _ in orders]

    async def insert_unsent(self, orders: Sequence[Order]) -> list[Unsent | SentLater | KeyTaken]:
        _raise(self.unsent)
        return [SentLater() if self.was_sent_later else Unsent(NOW) for _ in orders]

    async def insert_steps(self, rows: Sequence[StepRow]) -> list[bool]:
        _raise(self.steps)
        self.written += rows
        return [True for _ in rows]

    async def replay(self, trails: Sequence[SpooledTrail]) -> None:
        raise AssertionError("nothing is replayed here")

    async def read(self, order_id: str) -> StoredOrder | None:
        return None


def _raise(error: OrdertrailError | None) -> None:
    if error is not None:
        raise error


class House:
    """A placing with its parts."""

    def __init__(self, folder: Path) -> None:
        clock = self.clock = PatientClock()
        self.rows = FailingRows()
        self.venue = ScriptedVenue()
        self.spool = Spool(folder, bytes_max=1_000_000)
        limits = Limits(rows_max=10, queue_max=10, timeout_seconds=0.01)
        gate = Gate(
            gate_limits_of(Settings(_env_file=None)),
            GateRules(),
            clock=clock,
            chance=random.random,
            metrics=GateReport(venue="scripted"),
        )
        sender = Sender(self.venue, gate, clock, timeout_seconds=1)
        self.placing = Placing(Journal(self.rows, self.spool, clock, limits), sender, clock, WINDOWS)

    async def place(self, **changes: Any) -> Placement:
        return await self.placing.place(an_order(**changes))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "spool")
    await house.spool.open()
    yield house
    await house.spool.close()


@pytest.mark.parametrize("first", [REFUSED, NEVER_SENT, PERHAPS], ids=str)
@pytest.mark.parametrize("second", [None, REFUSED, NEVER_SENT, PERHAPS], ids=str)
async def test_not_placed_is_claimed_only_where_no_row_can_make_anyone_send(
    house: House, first: OrdertrailError, second: OrdertrailError | None
) -> None:
    house.rows.initiated, house.rows.unsent = first, second

    placement = await house.place()

    assert isinstance(placement, Failed)
    assert placement.status is OrderStatus.DATABASE_PERSISTENCE_FAILED
    initiated_may_stand_alone = second is not None and PERHAPS in (first, second)
    assert placement.outcome is (Outcome.UNKNOWN if initiated_may_stand_alone else Outcome.NOT_PLACED)
    assert house.venue.sent == []
    assert house.rows.written == []


@pytest.mark.parametrize("error", [REFUSED, NEVER_SENT], ids=str)
async def test_not_placed_is_not_claimed_of_a_key_that_could_not_be_looked_up(
    house: House, error: OrdertrailError
) -> None:
    house.rows.initiated = house.rows.unsent = error

    placement = await house.place(client_order_id="mine")

    # Another process may have placed the same request, and have answered nobody.
    assert isinstance(placement, Failed)
    assert placement.outcome is Outcome.UNKNOWN


async def test_an_order_that_was_sent_meanwhile_is_told_of_as_it_is(house: House) -> None:
    house.rows.initiated, house.rows.was_sent_later = PERHAPS, True

    placement = await house.place()

    assert isinstance(placement, Repeated)
    assert house.venue.sent == []


@pytest.mark.parametrize("answer", [Refused("price"), NotSent("closed"), Unknown("timeout")], ids=str)
@pytest.mark.parametrize("late", [True, False])
async def test_what_became_of_a_send_is_not_the_whole_where_others_may_have_sent_since(
    house: House, answer: Answer, late: bool
) -> None:
    def stand_still(order: Order) -> Answer:
        house.clock.skip(WINDOWS.review_seconds if late else WINDOWS.review_seconds / 2)
        return answer

    house.venue.answer = stand_still

    placement = await house.place()

    assert isinstance(placement, Repeated if late else Failed)
    assert [row.status for row in house.rows.written] != []


@pytest.mark.parametrize("error", [REFUSED, NEVER_SENT, PERHAPS], ids=str)
async def test_an_accepted_order_of_which_no_more_rows_can_be_written_is_placed_and_never_201(
    house: House, error: OrdertrailError
) -> None:
    house.rows.steps = error

    placement = await house.place()

    assert isinstance(placement, Failed)
    assert placement.outcome is Outcome.PLACED
    assert len(house.venue.sent) == 1


async def test_completed_follows_the_exchange_s_acceptance(house: House) -> None:
    placement = await house.place()

    assert isinstance(placement, Placed)
    assert [(row.status, row.exchange_order_id) for row in house.rows.written] == [(OrderStatus.COMPLETED, "X-1")]
