"""Placement against rows that fail as told: what is sent, what is written, and what is claimed of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from typing_extensions import override

from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.errors import OrdertrailError
from ordertrail.domain.order import Order
from ordertrail.domain.stored_order import StoredOrder
from ordertrail.domain.trail import OrderStatus, Outcome, TrailRow
from ordertrail.domain.venue_answer import NotSent, PlaceAnswer, Refused, Unknown
from ordertrail.placement.place_order import Failed, Placed, Placement, Placing, Repeated
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Limits
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_rows import KeyTaken, NeverSent, NewTrailRow, Recorded, SentLater, SpooledTrail
from ordertrail.storage.spool import Spool
from tests.support.clocks import ManualClock, PatientClock
from tests.support.gateway import gateway_to
from tests.support.orders import a_market_order, an_order
from tests.support.service import ScriptedVenue

S = OrderStatus
NOW = datetime(2026, 11, 22, tzinfo=UTC)
DEADLINES = Deadlines(send_seconds=5, accept_seconds=10, review_seconds=20, retry_seconds=60)
REFUSED = StatementFailed("23514", "refused")
NEVER_SENT = StatementOutcomeUnknown("cannot connect", may_have_happened=False)
PERHAPS = StatementOutcomeUnknown("cut", may_have_happened=True)
NO_ANSWERS = frozenset({S.EXCHANGE_CREATION_FAILED, S.EXCHANGE_OUTCOME_UNKNOWN})


class FailingRows:
    """Every write succeeds, or fails with what stands here for its kind."""

    def __init__(self) -> None:
        self.on_initiated: Callable[[], None] = lambda: None
        self.initiated: OrdertrailError | None = None
        self.never_sent: OrdertrailError | None = None
        self.steps: OrdertrailError | None = None
        self.reads: OrdertrailError | None = None
        self.steps_fail_for = frozenset(OrderStatus)
        self.was_sent_later = False
        self.key_of: str | None = None
        self.stored: StoredOrder | None = None
        self.written: list[NewTrailRow] = []

    async def insert_initiated(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        self.on_initiated()
        _raise(self.initiated)
        return [Recorded(NOW) if self.key_of is None else KeyTaken(self.key_of) for _ in orders]

    async def insert_queued(self, orders: Sequence[Order]) -> list[Recorded | KeyTaken]:
        return await self.insert_initiated(orders)

    async def insert_initiated_and_completed(
        self, orders: Sequence[Order], completed: Sequence[NewTrailRow]
    ) -> tuple[list[Recorded | KeyTaken], list[bool]]:
        raise AssertionError("nothing is placed beside another order here")

    async def insert_never_sent(self, orders: Sequence[Order]) -> list[NeverSent | SentLater | KeyTaken]:
        _raise(self.never_sent)
        if self.key_of is not None:
            return [KeyTaken(self.key_of) for _ in orders]
        return [SentLater() if self.was_sent_later else NeverSent(NOW) for _ in orders]

    async def insert_trail_rows(self, rows: Sequence[NewTrailRow]) -> list[bool]:
        if {row.status for row in rows} & self.steps_fail_for:
            _raise(self.steps)
        self.written += rows
        return [True for _ in rows]

    async def replay(self, trails: Sequence[SpooledTrail]) -> None:
        raise AssertionError("nothing is replayed here")

    async def owner_of(self, key: str) -> str | None:
        return None

    async def read(self, order_id: str) -> StoredOrder | None:
        _raise(self.reads)
        self.stored = StoredOrder(an_order(id=order_id), NOW, None, (TrailRow(OrderStatus.INITIATED),), NOW)
        return self.stored


def unrecorded() -> float:
    return REGISTRY.get_sample_value("ordertrail_unrecorded_total") or 0


def _raise(error: OrdertrailError | None) -> None:
    if error is not None:
        raise error


class House:
    """A placing with its parts."""

    def __init__(self, folder: Path, *, spool_bytes_max: int = 1_000_000) -> None:
        clock = self.clock = PatientClock()
        self.rows = FailingRows()
        self.venue = ScriptedVenue()
        self.spool = Spool(folder, bytes_max=spool_bytes_max)
        limits = Limits(rows_max=10, queue_max=10, timeout_seconds=0.01)
        gateway = gateway_to(self.venue, clock)
        self.placing = Placing(Journal(self.rows, self.spool, clock, limits), gateway, clock, DEADLINES)

    async def place(self, **changes: Any) -> Placement:
        return await self.placing.place(an_order(**changes))

    def spooled(self) -> list[tuple[str, tuple[TrailRow, ...]]]:
        """Trails without the times of their steps."""
        return [(order_id, tuple(replace(row, created_at=None) for row in rows)) for order_id, rows in self._spooled()]

    def step_times(self) -> list[datetime | None]:
        return [row.created_at for _, rows in self._spooled() for row in rows]

    def _spooled(self) -> list[tuple[str, tuple[TrailRow, ...]]]:
        with self.spool.adopted() as files:
            return [(trail.order.id, trail.rows) for _, trails in files for trail in trails]


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
    house.rows.initiated, house.rows.never_sent = first, second

    placement = await house.place()

    assert isinstance(placement, Failed)
    assert placement.status is OrderStatus.DATABASE_PERSISTENCE_FAILED
    initiated_may_stand_alone = second is not None and PERHAPS in (first, second)
    assert placement.outcome is (Outcome.UNKNOWN if initiated_may_stand_alone else Outcome.NOT_PLACED)
    assert house.venue.sent == []
    assert house.rows.written == []


@pytest.mark.parametrize("error", [REFUSED, NEVER_SENT], ids=str)
async def test_not_placed_is_not_claimed_of_a_key_that_could_not_be_read(house: House, error: OrdertrailError) -> None:
    house.rows.initiated = house.rows.never_sent = error

    placement = await house.place(client_order_id="mine")

    # Another process may have placed the same request, and have answered nobody.
    assert isinstance(placement, Failed)
    assert placement.outcome is Outcome.UNKNOWN


async def test_an_order_that_was_sent_meanwhile_is_reported_as_it_is(house: House) -> None:
    house.rows.initiated, house.rows.was_sent_later = PERHAPS, True

    placement = await house.place()

    assert isinstance(placement, Repeated)
    assert house.venue.sent == []


@pytest.mark.parametrize("answer", [Refused("price"), NotSent("closed"), Unknown("timeout")], ids=str)
@pytest.mark.parametrize("late", [True, False])
async def test_what_became_of_a_send_is_not_the_whole_where_others_may_have_sent_since(
    house: House, answer: PlaceAnswer, late: bool
) -> None:
    def stand_still(order: Order) -> PlaceAnswer:
        house.clock.skip(DEADLINES.review_seconds if late else DEADLINES.review_seconds / 2)
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


# What a failed step leaves behind


class RecordingVenue(ScriptedVenue):
    """Remembers the deadlines as well."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: list[tuple[float, datetime | None]] = []

    @override
    async def place(
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> PlaceAnswer:
        self.deadlines.append((send_by, accept_by))
        return await super().place(order, send_by=send_by, timeout_seconds=timeout_seconds, accept_by=accept_by)


async def test_deadlines_are_the_windows_after_the_row_and_before_it(house: House) -> None:
    venue = RecordingVenue()
    house.placing._gateway._venue = venue
    before = house.clock.monotonic()

    await house.place()

    [(send_by, accept_by)] = venue.deadlines
    assert before + DEADLINES.send_seconds <= send_by <= house.clock.monotonic() + DEADLINES.send_seconds
    assert accept_by == NOW + timedelta(seconds=DEADLINES.accept_seconds)


@pytest.mark.parametrize(
    ("answer", "status", "reason", "outcome"),
    [
        (Refused("no_funds"), S.EXCHANGE_CREATION_FAILED, "refused:no_funds", Outcome.NOT_PLACED),
        (NotSent("throttled", 7), S.EXCHANGE_CREATION_FAILED, "not_sent:throttled", Outcome.PENDING),
        (Unknown("timeout"), S.EXCHANGE_OUTCOME_UNKNOWN, "unknown:timeout", Outcome.UNKNOWN),
    ],
)
async def test_answer_that_is_no_acceptance_is_recorded_and_reported(
    house: House, answer: PlaceAnswer, status: OrderStatus, reason: str, outcome: Outcome
) -> None:
    house.venue.answer = answer

    placement = await house.place()

    assert isinstance(placement, Failed)
    assert [(row.status, row.reason) for row in house.rows.written] == [(status, reason)]
    assert placement.rows == (TrailRow(S.INITIATED, created_at=NOW), TrailRow(status, reason))
    assert (placement.status, placement.outcome) == (status, outcome)
    assert placement.place_by == NOW + timedelta(seconds=DEADLINES.retry_seconds)
    assert placement.retry_after_seconds == (7 if isinstance(answer, NotSent) else None)


async def test_market_order_that_was_not_sent_is_not_placed(house: House) -> None:
    house.venue.answer = NotSent("closed")

    placement = await house.placing.place(a_market_order())

    assert isinstance(placement, Failed)
    assert (placement.outcome, placement.place_by) == (Outcome.NOT_PLACED, None)


@pytest.mark.parametrize("answer", [Refused("no_funds"), NotSent("closed"), Unknown("timeout")])
async def test_failing_row_that_is_refused_is_written_as_one_of_the_database(house: House, answer: PlaceAnswer) -> None:
    house.venue.answer = answer
    house.rows.steps, house.rows.steps_fail_for = REFUSED, NO_ANSWERS

    placement = await house.place()

    assert isinstance(placement, Failed)
    [row] = house.rows.written
    assert row.status is placement.status is S.DATABASE_PERSISTENCE_FAILED
    assert row.reason == placement.rows[-1].reason
    assert not house.spool.has_trails


async def test_acceptance_that_could_not_be_recorded_is_written_with_its_exchange_order_id(house: House) -> None:
    house.rows.steps, house.rows.steps_fail_for = REFUSED, frozenset({S.COMPLETED})

    placement = await house.place()

    assert isinstance(placement, Failed)
    [row] = house.rows.written
    assert (row.status, row.reason, row.exchange_order_id) == (S.DATABASE_PERSISTENCE_FAILED, "accepted", "X-1")
    assert placement.rows[-1] == TrailRow(S.DATABASE_PERSISTENCE_FAILED, "accepted", "X-1")
    assert placement.place_by == NOW + timedelta(seconds=DEADLINES.retry_seconds)


async def test_what_the_database_takes_no_row_of_is_spooled(house: House) -> None:
    house.rows.steps = REFUSED

    placement = await house.place()

    assert isinstance(placement, Failed)
    accepted = (TrailRow(S.INITIATED), TrailRow(S.DATABASE_PERSISTENCE_FAILED, "accepted", "X-1"))
    assert house.spooled() == [(placement.order.id, accepted)]


async def test_spooled_rows_have_the_times_of_their_steps(house: House) -> None:
    """INITIATED the database's own; what came of it when that was known, not when the database was given up."""
    clock = ManualClock(house.clock.monotonic())
    house.placing._clock = clock
    house.rows.steps = REFUSED

    def answer_late(order: Order) -> PlaceAnswer:
        clock.move(3)
        return Refused("no")

    house.venue.answer = answer_late
    began = clock.now()
    await house.place()

    assert house.step_times() == [NOW, began + timedelta(seconds=3)]


async def test_order_that_was_never_recorded_has_the_times_of_its_steps(house: House) -> None:
    clock = ManualClock(house.clock.monotonic())
    house.placing._clock = clock
    house.rows.on_initiated = lambda: clock.move(2)
    house.rows.initiated = house.rows.never_sent = NEVER_SENT
    began = clock.now()

    await house.place()

    assert house.step_times() == [began, began + timedelta(seconds=2)]


async def test_placing_that_took_the_whole_review_is_not_the_whole_story(house: House) -> None:
    clock = ManualClock(house.clock.monotonic())
    house.placing._clock = clock

    def stand_still(order: Order) -> PlaceAnswer:
        clock.move(DEADLINES.review_seconds)
        return Unknown("timeout")

    house.venue.answer = stand_still

    assert isinstance(await house.place(), Repeated)


@pytest.mark.parametrize(("bytes_max", "lost"), [(1_000_000, 0), (1, 1)])
async def test_trail_that_nothing_takes_is_counted_and_no_other(tmp_path: Path, bytes_max: int, lost: int) -> None:
    house = House(tmp_path / "spool", spool_bytes_max=bytes_max)
    await house.spool.open()
    house.rows.steps = PERHAPS
    before = unrecorded()

    await house.place()
    await house.spool.close()

    assert unrecorded() - before == lost


async def test_order_that_was_never_recorded_is_spooled_as_one_that_was_never_sent(house: House) -> None:
    house.rows.initiated = house.rows.never_sent = NEVER_SENT

    placement = await house.place()

    assert isinstance(placement, Failed)
    never_sent = (TrailRow(S.INITIATED), TrailRow(S.DATABASE_PERSISTENCE_FAILED, "not_sent:not_recorded"))
    assert house.spooled() == [(placement.order.id, never_sent)]


async def test_order_that_only_the_second_try_recorded_reports_its_place_by_and_is_not_spooled(house: House) -> None:
    house.rows.initiated = NEVER_SENT

    placement = await house.place()

    assert isinstance(placement, Failed)
    assert placement.place_by == NOW + timedelta(seconds=DEADLINES.retry_seconds)
    assert placement.rows[-1].reason == "not_sent:not_recorded"
    assert not house.spool.has_trails


# Keys


@pytest.mark.parametrize("first", [None, PERHAPS], ids=str)
async def test_taken_key_sends_nothing_and_reports_its_order(house: House, first: OrdertrailError | None) -> None:
    house.rows.key_of = "first"
    house.rows.initiated = first

    placement = await house.place(client_order_id="mine")

    assert placement == Repeated("first", house.rows.stored)
    assert house.rows.stored is not None
    assert house.venue.sent == []
    assert house.rows.written == []


async def test_order_of_a_taken_key_that_cannot_be_read_is_said_to_be_there(house: House) -> None:
    house.rows.key_of = "first"
    house.rows.reads = NEVER_SENT

    assert await house.place(client_order_id="mine") == Repeated("first", None)
