"""Random walks over all operations, on both databases at once: every answer and every table must be the same.

Every duration is a multiple of a unit that is much longer than a walk takes, so that moments can be compared in units
before the present one.
"""

import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from ordertrail.domain.deadlines import Deadlines
from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.operator_word import OperatorWord
from ordertrail.domain.operator_word import statuses_of as statuses_of_word
from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.domain.switch import Switch
from ordertrail.domain.trail import OrderStatus, Outcome, TrailRow
from ordertrail.storage.doubt_rows import AnsweredSend, Lease, OperatorRuling, ShownOrder, Verdict, WantedSend
from ordertrail.storage.errors import StatementFailed
from ordertrail.storage.order_queue_rows import FIRST_SEND
from ordertrail.storage.order_rows import NewTrailRow, Rows, SpooledTrail
from ordertrail.storage.parked_rows import ParkedThing
from tests.conformance import report_walk
from tests.conformance.databases import DatabaseSubject, Doubts, postgres, simulated
from tests.support.switch import ALICE, WHY

UNIT = 100.0
DEADLINES = Deadlines(
    send_seconds=UNIT,
    accept_seconds=2 * UNIT,
    review_seconds=3 * UNIT,
    retry_seconds=10 * UNIT,
    queue_seconds=30 * UNIT,
)
WALKS = 10
STEPS = 300
REPORT_WALKS = 3
REPORT_STEPS = 100
# Reading all tables takes longer than any operation, and most of what once differs stays so.
CHECK_EVERY = 10
# The walk keeps to its newest orders, so that it comes to all that can become of one.
ORDERS = 6
KEYS = (None, None, None, *"abcdefgh")
EPOCHS = ("1", "2", "3")
UNANSWERED = ("unknown:timeout", "not_sent:closed")
# What an order's rows may say, and how often; much that settles it, and a walk would soon come to nothing new.
SAID: dict[tuple[OrderStatus, tuple[str | None, ...]], int] = {
    (OrderStatus.EXCHANGE_CREATION_FAILED, ("not_sent:closed", "not_sent:throttled", None, "refused:x")): 14,
    (OrderStatus.DATABASE_PERSISTENCE_FAILED, (*UNANSWERED, "accepted", "not_sent:not_recorded", "refused:x")): 4,
    (OrderStatus.EXCHANGE_OUTCOME_UNKNOWN, (*UNANSWERED, None)): 10,
    (OrderStatus.UNRESOLVED, ("differs",)): 10,
    (OrderStatus.NOT_PLACED, ("proved:absent",)): 2,
    (OrderStatus.COMPLETED, ("verified", "execution")): 2,
    (OrderStatus.PARTIALLY_FILLED, ("execution",)): 1,
    (OrderStatus.REJECTED, ("verified:refused:x",)): 1,
    (OrderStatus.CANCELED, ("execution",)): 1,
    (OrderStatus.FILLED, ("execution",)): 1,
}
BAD = "bad\x00"


@dataclasses.dataclass
class Walk:
    """What a walk has drawn and learned so far; the same for both databases."""

    random: Random
    orders: list[Order] = dataclasses.field(default_factory=list)
    # In units from the moment at which an operation is made: the databases' clocks differ.
    place_by: dict[str, float | None] = dataclasses.field(default_factory=dict)
    leases: list[Lease] = dataclasses.field(default_factory=list)
    claims: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def new_order(self) -> None:
        """One more that the walk may name."""
        number = len(self.orders)
        is_limit = self.random.random() < 0.7
        order = Order(
            id=f"{self.random.randrange(10)}-{number:04d}",
            type=OrderType.LIMIT if is_limit else OrderType.MARKET,
            side=self.random.choice(list(Side)),
            instrument="AAPL12345678",
            limit_price=Decimal("0.1") * (number + 1) if is_limit else None,
            quantity=number + 1,
            client_order_id=self.random.choice(KEYS),
        )
        self.orders.append(order)
        self.place_by[order.id] = self.random.choice([None, 3.5, 50.5])

    def some(self, most: int) -> list[Order]:
        """Orders, most of them new, some twice."""
        return self.random.choices(self.orders[-ORDERS:], k=self.random.randint(1, most))

    def distinct(self, most: int) -> list[Order]:
        return list(dict.fromkeys(self.some(most)))

    def one(self) -> Order:
        return self.some(1)[0]

    def text(self, *texts: str | None) -> Any:
        """One of these, or now and then what no column can have."""
        return BAD if self.random.random() < 0.01 else self.random.choice(texts)

    def exchange_order_id(self) -> Any:
        return self.text(None, "E-1", "E-2")

    def rows(self, *, least: int = 0) -> tuple[TrailRow, ...]:
        """Up to two, of different statuses."""
        count = self.random.randint(least, 2)
        drawn = {
            status: TrailRow(status, self.text(*reasons), self.exchange_order_id())
            for status, reasons in self.random.choices(list(SAID), weights=list(SAID.values()), k=count)
        }
        return tuple(drawn.values())

    def holders(self, most: int) -> list[Lease]:
        """Who holds, or now and then held; none twice."""
        newest = list({each.order_id: each for each in self.leases}.values())
        among = (newest if self.random.random() < 0.8 else self.leases)[-6:]
        return self.random.sample(among, k=min(len(among), self.random.randint(0, most)))

    def answered(self) -> tuple[str, int]:
        """A claim that was made, or now and then one that was not."""
        if self.claims and self.random.random() < 0.9:
            return self.random.choice(self.claims[-4:])
        return self.one().id, 2


# What the walks must come to at least once, or they show little; `Unreadable` and the like are inside of results.
WANTED = {
    ("insert_initiated", "Recorded"),
    ("insert_initiated", "KeyTaken"),
    ("insert_initiated_and_completed", "Recorded"),
    ("insert_initiated_and_completed", "KeyTaken"),
    ("insert_initiated_and_completed", "True"),
    ("insert_initiated_and_completed", "False"),
    ("insert_queued", "Recorded"),
    ("insert_queued", "KeyTaken"),
    ("claim_queued", "ClaimedOrder"),
    ("insert_trail_rows", "True"),
    ("insert_trail_rows", "False"),
    ("insert_never_sent", "NeverSent"),
    ("insert_never_sent", "SentLater"),
    ("insert_never_sent", "KeyTaken"),
    ("claim_sends", "ClaimedSend"),
    ("claim_sends", "None"),
    ("apply", "True"),
    ("apply", "False"),
    ("record_answers", "None"),
    ("make_due", "1"),
    ("resolve", "True"),
    ("resolve", "False"),
    ("request_cancel", "True"),
    ("request_cancel", "False"),
    ("note_epoch", "None"),
    *(("read", outcome) for outcome in Outcome),
}

Operation = Callable[[DatabaseSubject, Rows, Doubts], Awaitable[object]]


async def dated(walk: Walk, database: DatabaseSubject, orders: Sequence[Order]) -> list[Order]:
    """The orders with their `place_by`, by the clock of the database that they go to."""
    now = await database.now()
    found = []
    for order in orders:
        units = walk.place_by[order.id]
        place_by = None if units is None else now + timedelta(seconds=units * UNIT)
        found.append(dataclasses.replace(order, place_by=place_by))
    return found


def insert_initiated(walk: Walk) -> Operation:
    if walk.random.random() < 0.7:
        walk.new_order()
    orders = walk.some(4)
    if walk.random.random() < 0.02:
        orders.append(dataclasses.replace(orders[0], client_order_id=BAD))

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await rows.insert_initiated(await dated(walk, database, orders))

    return run


def insert_queued(walk: Walk) -> Operation:
    if walk.random.random() < 0.8:
        walk.new_order()
    orders = walk.some(3)

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await rows.insert_queued(await dated(walk, database, orders))

    return run


def claim_queued(walk: Walk) -> Operation:
    orders_max = walk.random.choice([1, 1, 2, 10])
    instruments = walk.random.choice([(), (), ("AAPL12345678",)])
    which = walk.random.choice(["excluded", "probing", "probing"])

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        queue = database.order_queue(DEADLINES)
        claimed = await queue.claim(orders_max=orders_max, claimed_by="w", **{which: instruments})
        walk.claims += [claim for each in claimed if (claim := (each.order.id, FIRST_SEND)) not in walk.claims]
        return [*claimed, (await queue.depth()).orders]

    return run


def expire_queued(walk: Walk) -> Operation:
    orders_max = walk.random.choice([1, 10])

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        queue = database.order_queue(DEADLINES)
        expired = await queue.expire(orders_max=orders_max)
        await queue.compact()
        return [*expired, await queue.depth()]

    return run


def insert_trail_rows(walk: Walk) -> Operation:
    is_plain = walk.random.random() < 0.2
    steps = []
    for order in walk.distinct(2):
        if is_plain:
            steps.append(NewTrailRow(order.id, OrderStatus.COMPLETED, None, walk.exchange_order_id()))
        else:
            steps += [
                NewTrailRow(order.id, row.status, row.reason, row.exchange_order_id) for row in walk.rows(least=1)
            ]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        there = await rows.insert_trail_rows(steps)
        # A failure is due after a second: surely not before this, nor later.
        await database.let_pass(UNIT)
        return there

    return run


def insert_initiated_and_completed(walk: Walk) -> Operation:
    if walk.random.random() < 0.7:
        walk.new_order()
    orders = walk.some(3)
    completed = [
        NewTrailRow(order.id, OrderStatus.COMPLETED, None, walk.exchange_order_id()) for order in walk.distinct(2)
    ]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        recorded, are_there = await rows.insert_initiated_and_completed(await dated(walk, database, orders), completed)
        return [*recorded, *are_there]

    return run


def insert_never_sent(walk: Walk) -> Operation:
    claimed = {order_id for order_id, _ in walk.claims[-4:]}
    sent = [order for order in walk.orders if order.id in claimed]
    orders = walk.some(2) if not sent or walk.random.random() < 0.5 else [walk.random.choice(sent)]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await rows.insert_never_sent(await dated(walk, database, orders))

    return run


def replay(walk: Walk) -> Operation:
    trails = []
    for order in walk.distinct(3):
        first = (TrailRow(OrderStatus.INITIATED),) if walk.random.random() < 0.9 else ()
        trails.append(SpooledTrail(order, (*first, *walk.rows())))

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        await rows.replay(trails)
        return None

    return run


def read(walk: Walk) -> Operation:
    order_id = walk.text(walk.one().id)

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        stored = await rows.read(order_id)
        return stored and (stored, stored.status, stored.outcome, stored.exchange_order_id)

    return run


def enqueue_due_batches(walk: Walk) -> Operation:
    batches_max = walk.random.choice([0, 1, 2, 1000])

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.enqueue_due_batches(batches_max=batches_max)

    return run


def lease_due(walk: Walk) -> Operation:
    lease_seconds = walk.random.choice([0, UNIT, 3 * UNIT])

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        leases = await doubts.lease(doubts_max=1000, lease_seconds=lease_seconds)
        leases.sort(key=lambda each: each.order_id)
        walk.leases = [*(each for each in walk.leases if each not in leases), *leases]
        return leases

    return run


def load(walk: Walk) -> Operation:
    ids = [walk.text(order.id) for order in walk.some(4)]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return list((await doubts.load(ids)).items())

    return run


def apply(walk: Walk) -> Operation:
    verdicts = [
        Verdict(
            lease,
            walk.rows(),
            is_settled=walk.random.random() < 0.5,
            next_seconds=walk.random.choice([0, UNIT, 3 * UNIT]),
            observation=walk.text("seen", "other"),
        )
        for lease in walk.holders(4)
    ]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.apply(verdicts)

    return run


def claim_sends(walk: Walk) -> Operation:
    wanted = [(lease, walk.random.choice([None, None, -1.5, 0.5, 3.5])) for lease in walk.holders(4)]
    if wanted and walk.random.random() < 0.05:
        wanted.append(wanted[0])

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        now = await database.now()
        sends = [
            WantedSend(lease, None if units is None else now + timedelta(seconds=units * UNIT))
            for lease, units in wanted
        ]
        claims = await doubts.claim_sends(sends, claimed_by="r", send_seconds=UNIT, answer_seconds=2 * UNIT)
        made = [
            (each.lease.order_id, claimed.number)
            for each, claimed in zip(sends, claims, strict=True)
            if claimed is not None
        ]
        walk.claims += [claim for claim in made if claim not in walk.claims]
        return claims

    return run


def record_answers(walk: Walk) -> Operation:
    answers = [
        AnsweredSend(
            *walk.answered(),
            walk.random.choice(list(SendAnswer)),
            walk.text(None, "refused:x", "unknown:x"),
            walk.exchange_order_id(),
        )
        for _ in range(walk.random.randint(1, 2))
    ]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.record_answers(answers)

    return run


def make_due(walk: Walk) -> Operation:
    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.make_due(doubts_max=1000)

    return run


def reopen(walk: Walk) -> Operation:
    ids = [walk.text(order.id) for order in walk.some(2)]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.reopen(ids)

    return run


def request_cancel(walk: Walk) -> Operation:
    order_id = walk.text(walk.one().id)

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.request_cancel(order_id)

    return run


def resolve(walk: Walk) -> Operation:
    order_id = walk.one().id if not walk.leases else walk.random.choice(walk.leases[-6:]).order_id
    word = walk.random.choice(list(OperatorWord))
    statuses = statuses_of_word(word, is_partly_filled=word is OperatorWord.EXPIRED)
    reason = walk.text("operator:x")

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        found = await doubts.resolve(order_id, OperatorRuling(statuses, reason, Operator("ada", Origin.CLI), "x"))
        return [found is not None and found.is_taken, found]

    return run


def note_epoch(walk: Walk) -> Operation:
    venue, epoch = walk.random.choice("vw"), walk.random.choice(EPOCHS)

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.note_epoch(venue, epoch)

    return run


def review(walk: Walk) -> Operation:
    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        oldest = await doubts.oldest(limit=1000)
        return (
            await doubts.counts(),
            sorted(oldest, key=lambda view: view.order_id),
            (await database.switch.read()).is_halted,
        )

    return run


def sweep(walk: Walk) -> Operation:
    venue, epoch, seq = walk.random.choice("vw"), walk.random.choice(EPOCHS), walk.random.randrange(10)
    does_move, does_end = walk.random.random() < 0.7, walk.random.random() < 0.5

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        turn = await doubts.lease_sweep(venue, lease_seconds=2 * UNIT)
        if does_move:
            await doubts.move_sweep(venue, epoch, seq)
        if does_end:
            await doubts.end_sweep(venue, rest_seconds=UNIT)
        return turn

    return run


def statuses_of(walk: Walk) -> Operation:
    ids = [order.id for order in walk.some(4)]

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.statuses_of(ids)

    return run


def keep_observations(walk: Walk) -> Operation:
    observations = {order.id: walk.text("E-1", "E-2") for order in walk.some(2)}

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.keep_observations(observations)

    return run


def keep_orphans(walk: Walk) -> Operation:
    terms = walk.random.choice([(None, None, None), ("AAPL12345678", "buy", 7)])
    orphans = {walk.text("x", "y", "z"): ShownOrder(walk.text("E-1", "E-2"), *terms) for _ in range(2)}
    epoch = walk.random.choice(EPOCHS)

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        return await doubts.keep_orphans("v", epoch, orphans)

    return run


def park(walk: Walk) -> Operation:
    marks = [walk.random.choice([b"a", b"b", b"c", b"d", b"e", b"f"]) for _ in range(2)]
    things = [
        ParkedThing("open_order", walk.random.choice([None, "seq"]), walk.text("x"), mark, mark) for mark in marks
    ]
    new_max, closed = walk.random.randint(0, 2), walk.random.random() < 0.2

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        kept = await database.parked.park("v", things, new_max=new_max)
        oldest = await database.parked.parked(limit=1)
        if closed and oldest:
            await database.parked.close_parked(oldest[0].id, operator=ALICE, evidence=WHY)
        return sorted(kept.items()), await database.parked.count_parked()

    return run


def halt(walk: Walk) -> Operation:
    halted = walk.random.random() < 0.2

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        if halted:
            await database.switch.halt(ALICE, WHY)
        before = await database.switch.read()
        is_resumed = not halted and [
            await database.switch.resume(ALICE, None, before=which) for which in (Switch(), before, before)
        ]
        switch = await database.switch.read()
        return is_resumed, switch.is_halted, switch.operator, switch.reason

    return run


def let_pass(walk: Walk) -> Operation:
    seconds = walk.random.choice([1, 1, 2, 4]) * UNIT

    async def run(database: DatabaseSubject, rows: Rows, doubts: Doubts) -> object:
        await database.let_pass(seconds)
        return None

    return run


OPERATIONS: dict[Callable[[Walk], Operation], int] = {
    insert_initiated: 12,
    insert_initiated_and_completed: 5,
    insert_queued: 12,
    claim_queued: 2,
    expire_queued: 2,
    insert_trail_rows: 6,
    insert_never_sent: 3,
    replay: 3,
    read: 12,
    enqueue_due_batches: 6,
    lease_due: 14,
    load: 6,
    apply: 8,
    claim_sends: 14,
    record_answers: 8,
    make_due: 3,
    reopen: 5,
    request_cancel: 2,
    resolve: 5,
    note_epoch: 2,
    review: 2,
    sweep: 4,
    statuses_of: 2,
    keep_observations: 2,
    keep_orphans: 2,
    halt: 2,
    let_pass: 5,
    park: 4,
}
REPORT_OPERATIONS: dict[Callable[[Walk], Operation], int] = {
    **report_walk.OPERATIONS,
    insert_initiated: 3,
    insert_trail_rows: 3,
    reopen: 2,
    load: 2,
    let_pass: 1,
}


async def outcome_of(operation: Operation, database: DatabaseSubject) -> object:
    """What comes of it, comparable."""
    try:
        result = await operation(database, database.rows(DEADLINES), database.doubts)
    except StatementFailed as error:
        # Which of its two refusals a time gets is PostgreSQL's own affair.
        return "answered", error.code.replace("22008", "22007")
    return comparable(result, await database.now())


async def tables_of(database: DatabaseSubject) -> object:
    """All that is kept, comparable."""
    now = await database.now()
    contents = await database.contents()
    for retry in contents["parked_retries"]:
        del retry["due_at"]  # seconds, and no units; that it is due is seen when it is tried
    tables: dict[str, Any] = comparable(contents, now)
    return {name: sorted(records, key=str) for name, records in tables.items()}


def comparable(value: Any, now: datetime) -> Any:
    """The same for both databases where it is the same: moments in units before the present, and spans in units."""
    match value:
        case datetime():
            return f"{round((now - value).total_seconds() / UNIT)} units ago"
        case float():
            return f"{round(value / UNIT)} units"
        case Mapping():
            # A price is the one number that is no span of time.
            return {
                str(key): value[key] if key == "limit_price" else comparable(value[key], now)
                for key in sorted(value, key=str)
            }
        case list() | tuple():
            return [comparable(each, now) for each in value]
        case frozenset():
            return sorted(value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {"is": type(value).__name__, **comparable(fields, now)}
        case _:
            return value


@pytest.fixture
async def both(database_url: str) -> AsyncIterator[tuple[DatabaseSubject, DatabaseSubject]]:
    async with postgres(database_url) as real, simulated() as pretended:
        yield real, pretended


def steps(
    seed: int, *, operations: Mapping[Callable[[Walk], Operation], int] = OPERATIONS, count: int = STEPS
) -> Iterator[tuple[str, Operation]]:
    """A walk's operations with their names; each is drawn once the one before it has been made."""
    walk = Walk(Random(seed))
    for _ in range(ORDERS):
        walk.new_order()
    for _ in range(count):
        [make] = walk.random.choices(list(operations), weights=list(operations.values()))
        yield make.__name__, make(walk)


@pytest.mark.parametrize("seed", range(WALKS))
async def test_both_databases_come_to_the_same(both: tuple[DatabaseSubject, DatabaseSubject], seed: int) -> None:
    real, pretended = both

    for number, (name, operation) in enumerate(steps(seed), start=1):
        assert await outcome_of(operation, pretended) == await outcome_of(operation, real), f"step {number}: {name}"
        if number % CHECK_EVERY == 0:
            assert await tables_of(pretended) == await tables_of(real), f"after step {number}"
    assert await tables_of(pretended) == await tables_of(real), "at the end"


@pytest.mark.parametrize("seed", range(REPORT_WALKS))
async def test_both_databases_come_to_the_same_by_reports(
    both: tuple[DatabaseSubject, DatabaseSubject], seed: int
) -> None:
    real, pretended = both

    for number, (name, operation) in enumerate(steps(seed, operations=REPORT_OPERATIONS, count=REPORT_STEPS), start=1):
        assert await outcome_of(operation, pretended) == await outcome_of(operation, real), f"step {number}: {name}"
        if number % CHECK_EVERY == 0 or name == "apply_reports":
            assert await tables_of(pretended) == await tables_of(real), f"after step {number}: {name}"
    assert await tables_of(pretended) == await tables_of(real), "at the end"


async def test_walks_come_to_all_that_can_become_of_an_order() -> None:
    reached = set()
    kept: Counter[str] = Counter()

    for seed in range(WALKS):
        async with simulated() as database:
            for name, operation in steps(seed):
                outcome: Any = await outcome_of(operation, database)
                results = outcome if isinstance(outcome, list) else [outcome]
                reached |= {
                    (name, each["is"] if isinstance(each, dict) and "is" in each else str(each)) for each in results
                }
            contents = await database.contents()
            kept.update({table: len(contents[table]) for table in contents.keys() - report_walk.TABLES})

    assert min(kept.values()) >= WALKS, kept
    assert reached >= WANTED, WANTED - reached
