"""What goes wrong in a run: which kinds of faults, how often, and when; drawn from the seed."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol

from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.placement.halting import Halting
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from simulated_exchange.capabilities import PROFILES, Profile
from simulated_exchange.faults import Faults, PlaceWeights, QueryFaults, SocketFaults
from tests.simulation.event_reader import KeptEvents, ReaderMember
from tests.simulation.execution_evidence import is_all_applied
from tests.simulation.execution_members import FeedMember, ProcessorMember
from tests.simulation.network import Fates, Passage, with_fault
from tests.simulation.occurrences import Happening, compact, draw_amendment, draw_epoch, draw_poison, occur
from tests.simulation.site import (
    EXECUTION_FAILPOINTS,
    FAILPOINTS,
    QUEUE_FAILPOINTS,
    SETTINGS,
    Resident,
    SimulatedClock,
    Site,
    WorkerMember,
)
from tests.simulation.sockets import SocketFrame

RATES = (0.01, 0.03, 0.1, 0.25)
EXCHANGE_FAULTS = ("refuse", "throttle", "closed", "lost", "late", "error_after", "error_before", "garbage", "reset")
DATABASE_FAULTS = ("refused", "lost_request", "lost_answer", "error", "slow", "hangs")
NETWORK_FAULTS = ("refused", "lost_request", "lost_answer", "silent_request", "silent_answer", "slow", "held")
EVENTS = ("kill", "stop", "database away", "exchange away", "exchange killed", "halt", "spool lost")
QUEUED_SHARE = 1 / 3
QUEUE_EVENTS = ("worker killed", "worker stopped")
# The way of execution reports: the queue that there is, the exchange's faults on its socket, the broker's, and events.
QUEUES = ("inbox", "chained", "unchained")
QUEUE_SHARES = (3, 2, 1)
EXECUTIONS_SHARE = 1 / 3
# There are few frames in a run.
SOCKET_RATES = (0.05, 0.1, 0.25)
SOCKET_FAULTS = ("gap", "duplicate", "shuffle", "stall", "cut", "garbage", "unknown_type", "stranger")
BROKER_FAULTS = ("refused", "lost_request", "lost_answer", "slow")
EXECUTION_EVENTS = (
    "feed or processor killed", "feed or processor stopped", "amended", "broker wiped", "broker away", "epoch",
    "compacted", "poisoned", "head went back", "queue wiped under way",
)  # fmt: skip
# Drawn last, so that what was drawn before them stays what it was.
LATER_EVENTS = ("poisoned", "head went back", "queue wiped under way")
# With these alone, what an exchange reports again in other reports' places must be read.
EVENTS_WITHOUT_CUTS = frozenset({"amended", "poisoned", "head went back"})
OPERATOR = Operator("chaos", Origin.CLI)

# Beside those by name: promises of other kinds, so that each capability is seen with and without the others.
MORE_PROFILES = {
    "forever_late": Profile(accepts_within_seconds=15.0, visible_within_seconds=5.0, honours_accept_by=False),
    "thirty_seconds": Profile(client_order_id_unique=30.0, visible_within_seconds=2.0, honours_accept_by=False),
    "never_honours": Profile(client_order_id_unique="never", visible_within_seconds=3.0),
    "never_bounded": Profile(client_order_id_unique="never", honours_accept_by=False),
    "while_open_bounded": Profile(
        client_order_id_unique="while_open", accepts_within_seconds=2.0, honours_accept_by=False
    ),
}
ALL_PROFILES: dict[str, Profile] = {**PROFILES, **MORE_PROFILES}


@dataclass
class Plan:
    """The faults of one run."""

    profile: str = "durable"
    is_calm: bool = False
    database: dict[str, float] = field(default_factory=dict)
    network: dict[str, float] = field(default_factory=dict)
    exchange: dict[str, float] = field(default_factory=dict)
    failpoints: dict[str, float] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    no_answer: float = 0.0
    hide_seconds: float = 0.0
    late_seconds: float = 3.0
    cancels: float = 0.15
    keyless: float = 0.2
    followers: int = 0
    is_skewed: bool = False
    is_watcher_dead: bool = False
    exchange_skew_us: int = 0
    unreadable: float = 0.0
    queue: str | None = None
    exec_ids: str = "order"
    has_large_prices: bool = False
    socket: dict[str, float] = field(default_factory=dict)
    broker: dict[str, float] = field(default_factory=dict)
    queued: float = 0.0
    readers: int = 0

    @property
    def faults(self) -> Faults:
        """The exchange's own."""
        weights = PlaceWeights(accept=1.0, **self.exchange)
        visible = ALL_PROFILES[self.profile].visible_within_seconds
        hide_seconds = self.hide_seconds if visible is None else min(self.hide_seconds, visible)
        return Faults(
            place=weights,
            ask=QueryFaults(no_answer=self.no_answer, hide_seconds=hide_seconds),
            late_seconds=self.late_seconds,
            socket=SocketFaults(**self.socket),
        )


def draw_plan(random: Random) -> Plan:
    """A quarter of the runs is calm; the others have some kinds of faults each, at rates of their own.

    A third of both has a feed and processors, too, a third orders that wait in the queue for workers, and a third a
    reader of events.
    """
    plan = _draw_placing(random)
    if random.random() < EXECUTIONS_SHARE:
        plan = _with_executions(plan, random)
    plan = _with_queue(plan, random) if random.random() < QUEUED_SHARE else plan
    return replace(plan, readers=random.choice((0, 0, 1)))


def _with_queue(plan: Plan, random: Random) -> Plan:
    plan = replace(plan, queued=random.choice((0.2, 0.5, 1.0)))
    if plan.is_calm:
        return plan
    failpoints = {name: random.choice(RATES) / 2 for name in QUEUE_FAILPOINTS if random.random() < 0.2}
    events = [event for event in QUEUE_EVENTS if random.random() < 0.3]
    return replace(plan, failpoints=plan.failpoints | failpoints, events=(*plan.events, *events))


def _with_executions(plan: Plan, random: Random) -> Plan:
    [queue] = random.choices(QUEUES, QUEUE_SHARES)
    plan = replace(plan, queue=queue, exec_ids=random.choice(("order", "order", "order", "epoch")))
    plan.has_large_prices = random.random() < 0.2
    if plan.is_calm:
        # Calm but for this: nothing else may hide whether it is noticed.
        return replace(plan, events=("head went back",)) if random.random() < 0.3 else plan
    events = [event for event in EXECUTION_EVENTS if event not in LATER_EVENTS and random.random() < 0.3]
    plan = replace(
        plan,
        # No element of a page is unreadable for good: what a processor cannot read is a test of its own.
        unreadable=0.0,
        socket={kind: random.choice(SOCKET_RATES) for kind in SOCKET_FAULTS if random.random() < 0.4},
        broker={kind: random.choice(RATES) for kind in BROKER_FAULTS if random.random() < 0.3},
        failpoints=plan.failpoints
        | {name: random.choice(RATES) / 2 for name in EXECUTION_FAILPOINTS if random.random() < 0.1},
        events=(*plan.events, *events),
    )
    later = [event for event in LATER_EVENTS if random.random() < 0.25]
    if {"epoch", "compacted"} & set(events):
        # What is owed of reports in others' places, once an epoch has ended or they are not kept, is not reckoned.
        later = [event for event in later if event != "head went back"]
    return replace(plan, events=(*plan.events, *later))


def _draw_placing(random: Random) -> Plan:
    name = random.choice(list(ALL_PROFILES))
    profile = ALL_PROFILES[name]
    if random.random() < 0.25:
        return Plan(name, is_calm=True)

    def some(kinds: tuple[str, ...], share: float) -> dict[str, float]:
        return {kind: random.choice(RATES) for kind in kinds if random.random() < share}

    visible = profile.visible_within_seconds
    accepts = profile.accepts_within_seconds
    return Plan(
        name,
        database=some(DATABASE_FAULTS, 0.3),
        network=some(NETWORK_FAULTS, 0.3),
        exchange=some(EXCHANGE_FAULTS, 0.3),
        failpoints={name: rate / 2 for name, rate in some(FAILPOINTS, 0.1).items()},
        events=tuple(event for event in EVENTS if random.random() < 0.3),
        no_answer=random.choice((0.0, 0.0, 0.1, 0.5)),
        hide_seconds=random.random() * (10.0 if visible is None else visible),
        late_seconds=random.random() * (25.0 if accepts is None else accepts + 2),
        is_skewed=random.random() < 0.3,
        exchange_skew_us=random.choice((0, 0, random.randint(-900_000, 900_000))),
        unreadable=random.choice((0.0, 0.0, 0.03, 0.25)),
        is_watcher_dead=random.random() < 0.5,
        followers=random.choice((0, 0, 1, 3)),
    )


READER_SLOTS = ("reader",)
WORKER_SLOTS = ("worker-1", "worker-2")
PLACING_SLOTS = ("api-1", "api-2", "reconciler")
EXECUTION_SLOTS = ("feed-1", "feed-2", "processor-1", "processor-2")


class FaultyWorld(Fates, Protocol):
    """Fates that can be made to end, and that rule over the database and the failpoints too."""

    is_healed: bool
    is_database_away: bool
    is_broker_away: bool

    def at_failpoint(self, name: str) -> bool:
        """Whether the process is killed here."""
        ...


class Dice:
    """Draws the fate of each request of each process, until all is healed."""

    def __init__(self, site: Site, plan: Plan) -> None:
        self._site = site
        self._random = site.random
        self._plan = plan
        self._holds_long = may_hold_long(ALL_PROFILES[plan.profile])
        self.is_healed = False
        self.is_database_away = False
        self.is_broker_away = False

    def database(self, operation: str) -> Passage:
        random = self._random
        if self.is_database_away:
            # What is under way as it goes is cut, whatever has become of it.
            self._site.counts["database: away"] += 1
            return Passage(refused=True, back_seconds=0.01)
        out, back = random.random() * 0.01, random.random() * 0.01
        fault = None if self.is_healed else self._draw(self._plan.database)
        if fault is None:
            return Passage(out, back, starts_before=out / 2)
        self._site.counts[f"database: {fault}"] += 1
        passage = Passage(out, back, starts_before=out)
        match fault:
            case "slow":
                out = random.random() * SETTINGS.database_timeout_seconds
                return Passage(out, back, starts_before=out * random.random())
            case "hangs":
                # A statement whose client has given up may still be committed.
                out = SETTINGS.database_timeout_seconds * (1 + random.random() * 5)
                return Passage(out, back, starts_before=out * random.random())
            case "slow_answer":
                # In no plan that is drawn: canaries have it, where what is committed must stay unknown for a while.
                return passage._replace(back_seconds=random.random() * SETTINGS.database_timeout_seconds)
            case "error":
                return with_fault(passage, fault, error=random.choice(("40P01", "53200", "25006", "57014")))
            case _:
                return with_fault(passage, fault)

    def exchange(self, call: str) -> Passage:
        random = self._random
        if not self._site.exchange.takes(call):
            self._site.counts["exchange: away"] += 1
            return Passage(refused=True, back_seconds=0.002)
        out, back = random.random() * 0.02, random.random() * 0.02
        fault = None if self.is_healed else self._draw(self._plan.network)
        if fault is None:
            return Passage(out, back)
        self._site.counts[f"network: {fault}"] += 1
        match fault:
            case "slow":
                seconds = random.random() * SETTINGS.exchange_timeout_seconds
                return Passage(seconds, random.random() * 3)
            case "held":
                longest = 60.0 if self._holds_long else SETTINGS.exchange_timeout_seconds
                return Passage(self._site.hold(random.random() * longest), back)
            case _:
                return with_fault(Passage(out, back), fault)

    def frame(self, frame: SocketFrame) -> float | str:
        random = self._random
        fault = None if self.is_healed else self._draw(self._plan.network)
        if not self._site.exchange.is_up:
            fault = "silent_answer"
        if fault is None:
            return random.random() * 0.02
        self._site.counts[f"socket: {fault}"] += 1
        if fault in {"slow", "held"}:
            return random.random() * 3
        return "silent" if fault.startswith("silent") else "cut"

    def broker(self, call: str) -> Passage:
        random = self._random
        if self.is_broker_away:
            self._site.counts["broker: away"] += 1
            return Passage(refused=True, back_seconds=0.002)
        out, back = random.random() * 0.005, random.random() * 0.005
        fault = None if self.is_healed else self._draw(self._plan.broker)
        if fault is None:
            return Passage(out, back)
        self._site.counts[f"broker: {fault}"] += 1
        return Passage(random.random() * 3, back) if fault == "slow" else with_fault(Passage(out, back), fault)

    def at_failpoint(self, name: str) -> bool:
        rate = self._plan.failpoints.get(name)
        return rate is not None and not self.is_healed and self._random.random() < rate

    def _draw(self, rates: dict[str, float]) -> str | None:
        if not rates:
            return None
        at = self._random.random()
        for kind, rate in rates.items():
            if at < rate:
                return kind
            at -= rate
        return None


def may_hold_long(profile: Profile) -> bool:
    """Whether a request may be on its way for longer than all promises allow, and still no order doubles.

    Where ids are unique for a time only, nobody can prevent that: there a request is held no longer than its sender
    waits. Elsewhere it comes late to an exchange that refuses it, or to an order that was never sent again.
    """
    return profile.honours_accept_by or isinstance(profile.client_order_id_unique, str)


def is_uncut(plan: Plan) -> bool:
    """Whether no connection breaks in a run, and nobody dies, unless the exchange's head goes back."""
    faults = (plan.network, plan.database, plan.broker, plan.failpoints, plan.socket)
    return not any(faults) and EVENTS_WITHOUT_CUTS.issuperset(plan.events)


class Chaos:
    """Starts the processes, does to them what the plan has in store, and heals everything in the end."""

    def __init__(self, site: Site, plan: Plan, *, fates: "FaultyWorld | None" = None) -> None:
        self.site = site
        self.plan = plan
        self.dice = fates or Dice(site, plan)
        self.read = KeptEvents()
        self.slots = (
            *PLACING_SLOTS,
            *(EXECUTION_SLOTS if plan.queue is not None else ()),
            *(WORKER_SLOTS if plan.queued else ()),
            *(READER_SLOTS if plan.readers else ()),
        )
        site.at_failpoint = self.dice.at_failpoint
        site.exchange.is_read_again_for_sure = is_uncut(plan)
        site.is_watcher_dead = plan.is_watcher_dead
        self._switch = site.switch_of(self.dice)
        self._halting = Halting(
            self._switch,
            SimulatedClock(site.loop, wrong_by=0, counts_from=0),
            send_seconds=SETTINGS.send_window_seconds,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._healed_at = 0.0

    def start_all(self) -> None:
        for slot in self.slots:
            self._start(slot)

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._repeat(event)) for event in self.plan.events]
        self._tasks.append(asyncio.create_task(self._restart()))

    async def heal(self) -> None:
        """From now on nothing fails, and everything runs."""
        for task in self._tasks:
            task.cancel()
        self.dice.is_healed = True
        self.dice.is_database_away = self.dice.is_broker_away = False
        site = self.site
        site.is_wiped_next = False
        self._healed_at = site.loop.time()
        site.note("heal", "")
        self._tasks = [asyncio.create_task(self._stay_resumed())]
        site.exchange.is_out_of_reach = False
        site.exchange.start()
        site.exchange.exchange.set_faults(Faults())
        for member in site.members:
            if member.process.is_stopped:
                site.loop.continue_process(member.process)
        self._start_missing()

    def _start(self, slot: str) -> None:
        wrong_by = self.site.random.choice((-3600.0, -5.0, 5.0, 3600.0)) if self.plan.is_skewed else 0.0
        if slot in EXECUTION_SLOTS:
            member = FeedMember if slot.startswith("feed") else ProcessorMember
            self.site.add(member(self.site, slot, self.dice, wrong_by=wrong_by))
        elif slot in READER_SLOTS:
            self.site.add(ReaderMember(self.site, slot, self.dice, wrong_by=wrong_by, kept=self.read))
        elif slot in WORKER_SLOTS:
            self.site.add(WorkerMember(self.site, slot, self.dice, wrong_by=wrong_by))
        else:
            self.site.start(slot, self.dice, serves=slot != "reconciler", wrong_by=wrong_by)

    def _start_missing(self) -> None:
        running = {member.slot for member in self.site.members}
        for slot in self.slots:
            if slot not in running:
                self._start(slot)

    async def _restart(self) -> None:
        """Whoever is gone comes back after a while."""
        while True:
            await asyncio.sleep(0.5 + self.site.random.random() * 5)
            self._start_missing()

    async def _repeat(self, event: str) -> None:
        random = self.site.random
        while True:
            await asyncio.sleep(random.random() * 20)
            self.site.counts[f"event: {event}"] += 1
            self.site.note("event", event)
            await self._do(event)

    async def _do(self, event: str) -> None:
        site, random = self.site, self.site.random
        match event:
            case "kill":
                if site.members:
                    site.kill(random.choice(site.members))
            case "stop":
                if site.members:
                    await self._stop(random.choice(site.members))
            case "database away":
                self.dice.is_database_away = True
                await asyncio.sleep(random.random() * 10)
                self.dice.is_database_away = False
            case "exchange away":
                site.exchange.is_out_of_reach = True
                await asyncio.sleep(random.random() * 10)
                site.exchange.is_out_of_reach = False
            case "exchange killed":
                site.exchange.kill()
                await asyncio.sleep(random.random() * 5)
                site.exchange.start()
            case "halt":
                await self._halt(random.random() * 10)
            case "spool lost":
                for file in sorted(site.folder.glob("*/spool/*")):
                    file.unlink()
            case _:
                await self._do_to_workers(event)
                await self._do_to_executions(event)

    async def _do_to_workers(self, event: str) -> None:
        site, random = self.site, self.site.random
        workers = [member for member in site.members if member.slot in WORKER_SLOTS]
        match event:
            case "worker killed" if workers:
                site.kill(random.choice(workers))
            case "worker stopped" if workers:
                await self._stop(random.choice(workers))
            case _:
                pass

    async def _do_to_executions(self, event: str) -> None:
        site, random = self.site, self.site.random
        members = [member for member in site.members if member.slot in EXECUTION_SLOTS]
        match event:
            case "feed or processor killed" if members:
                site.kill(random.choice(members))
            case "feed or processor stopped" if members:
                await self._stop(random.choice(members))
            case "broker away":
                self.dice.is_broker_away = True
                await asyncio.sleep(random.random() * 10)
                self.dice.is_broker_away = False
            case "broker wiped" if site.broker is not None:
                site.broker.wipe()
            case "queue wiped under way":
                site.is_wiped_next = True
            case "compacted":
                compact(site, up_to=self._kept_by_queue())
            case "head went back" if site.exchange.process.is_alive:
                await self._go_back()
            case "amended" | "epoch" | "poisoned" if site.exchange.process.is_alive:
                self._occur(event)
            case _:
                pass

    def _occur(self, event: str) -> None:
        site = self.site
        occurrence: Happening | None
        if event == "amended":
            occurrence = draw_amendment(site)
        elif event == "poisoned":
            occurrence = draw_poison(site)
        else:
            occurrence = draw_epoch(site, is_all_applied=is_all_applied(site))
        if occurrence is not None:
            occur(site, occurrence)

    async def _go_back(self) -> None:
        """The exchange dies, and comes back without its last reports."""
        exchange, random = self.site.exchange, self.site.random
        if exchange.is_read_again_for_sure and not is_all_applied(self.site):
            return
        log = exchange.exchange.executions_log
        head = max(log.dropped, log.head - random.randint(1, 8))
        exchange.kill()
        exchange.go_back(head, others=random.randint(0, max(0, log.head - head - 1)))
        await asyncio.sleep(random.random() * 2)  # of simulated time, in which others find it away
        exchange.start()

    def _kept_by_queue(self) -> int:
        """Up to where the queue has taken the exchange's reports, for good; 0 where it cannot be relied on."""
        site = self.site
        epoch = site.exchange.exchange.executions_log.epoch
        if "queue wiped under way" in self.plan.events:
            return 0
        if site.broker is None:
            feed = site.database.tables.reports.feeds.get("simulated")
            tail = (None, 0) if feed is None else (feed["epoch"], feed["seq"])
        else:
            position = None if "broker wiped" in self.plan.events else site.broker.tail()
            tail = (None, 0) if position is None else (position.epoch, position.seq)
        return tail[1] if tail[0] == epoch else 0

    async def _halt(self, seconds: float) -> None:
        """An operator halts, waits until nothing leaves, and resumes after a while, whatever it takes."""
        site = self.site
        with suppress(StatementFailed, StatementOutcomeUnknown):
            halt = await self._halting.halt(OPERATOR, "chaos")
            await self._halting.wait(halt)
            site.counts["halts that were waited for"] += 1
            site.halted.append((halt.at, site.now()))
        await asyncio.sleep(seconds)
        while site.database.tables.is_halted:
            with suppress(StatementFailed, StatementOutcomeUnknown):
                await self._resume()

    async def _stay_resumed(self) -> None:
        """A halt whose operator has given up may yet be committed."""
        while self.site.loop.time() < self._healed_at + 10 * SETTINGS.database_timeout_seconds:
            if self.site.database.tables.is_halted:
                await self._resume()
            await asyncio.sleep(0.1)

    async def _resume(self) -> None:
        await self._halting.resume(OPERATOR, None, before=await self._switch.read())

    async def _stop(self, member: Resident) -> None:
        """SIGSTOP, and SIGCONT after longer than any deadline or after a moment."""
        self.site.loop.stop_process(member.process)
        await asyncio.sleep(self.site.random.choice((0.5, 3.0, 15.0, 60.0)) * self.site.random.random())
        self.site.loop.continue_process(member.process)
        self.site.note("continue", member.process.name)
