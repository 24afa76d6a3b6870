"""An installation in one event loop: API processes, reconcilers, a database, an exchange, and the wires between them.

What runs in the processes is the service's own code: endpoint, placing, journal, spool, gate, reconciliation. Only
what touches the world is simulated: clocks, the database, the wires, threads. The spool writes real files.
"""

import asyncio
import contextvars
import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from zlib import crc32

from typing_extensions import override

from ordertrail.api.cancel_order import cancel_endpoint
from ordertrail.api.place import PlaceOrder
from ordertrail.api.problems import ProblemError
from ordertrail.domain.reason import Cause
from ordertrail.domain.settling import VerificationLimits
from ordertrail.placement.admission import Admission
from ordertrail.placement.cancel_order import Canceling
from ordertrail.placement.order_intake import OrderIntake
from ordertrail.placement.place_order import Placing
from ordertrail.placement.worker import PlaceWorker, WorkerLimits
from ordertrail.reconciliation.fed_reports import FedReports
from ordertrail.reconciliation.reconciler import Reconciler
from ordertrail.reconciliation.schedule import Schedule
from ordertrail.reconciliation.sweep import Sweep
from ordertrail.runtime import failpoints
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.runtime.telemetry import buffered
from ordertrail.server.service import deadlines_of
from ordertrail.storage import spool
from ordertrail.storage.comparison_rows import Comparison
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.group_commit import Limits
from ordertrail.storage.journal import Journal
from ordertrail.storage.postgres.doubts import PostgresDoubts
from ordertrail.storage.postgres.executions import PostgresExecutions
from ordertrail.storage.postgres.order_queue import PostgresOrderQueue
from ordertrail.storage.postgres.orders import PostgresRows
from ordertrail.storage.postgres.parked import PostgresParked
from ordertrail.storage.postgres.switch import PostgresSwitch
from ordertrail.venues.gate.breaker import State
from ordertrail.venues.gate.denial import BudgetName
from simulated_exchange.capabilities import Profile
from simulated_exchange.faults import Faults
from tests.simulation.broker import Broker
from tests.simulation.exchange import ExchangeHost
from tests.simulation.loop import CURRENT, Killed, Process, SimulationLoop
from tests.simulation.network import DatabaseWire, ExchangeWire, Fates
from tests.simulation.tables import SimulatedDatabase
from tests.support.gateway import gateway_to, service_gate

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MEMORY = Path("/dev/shm")
WATCH_SECONDS = 6
QUEUE_ORDERS_MAX = 1000
# Few in a claim, and seldom, for each turn costs a simulation as much as a request; what is queued wakes them.
WORKER_LIMITS = WorkerLimits(
    claim_max=4, in_flight_max=8, gather_seconds=0.01, idle_seconds_min=0.5, idle_seconds_max=3.0, expire_seconds=3.0,
    answer_seconds=1.0,
)  # fmt: skip

SETTINGS = Settings(
    _env_file=None,
    exchange_timeout_seconds=2,
    database_timeout_seconds=1,
    send_window_seconds=2,
    retry_window_seconds=20,
    reconcile_interval_seconds=5,
    sweep_interval_seconds=15,
    queue_window_seconds=15,
)
# All of them; a test compares.
FAILPOINTS = (
    "after_answer", "after_query", "after_claim", "after_completed", "after_failure", "after_initiated", "after_resend",
    "after_send", "after_spool", "after_lease", "after_never_sent", "before_query", "before_completed", "before_apply",
    "before_failure", "before_initiated", "before_send", "before_spool", "before_never_sent",
)  # fmt: skip
# Those of queued orders.
QUEUE_FAILPOINTS = (
    "before_queued", "after_queued", "before_first_claim", "after_first_claim", "after_first_send",
)  # fmt: skip
# Those on the way of execution reports.
EXECUTION_FAILPOINTS = (
    "before_apply_reports", "after_apply_reports", "after_park_report", "before_drop_from_inbox", "before_acknowledge",
    "after_acknowledge", "before_feed_lease", "after_feed_receive", "before_feed_publish", "after_feed_publish",
)  # fmt: skip


# Status, headers and body.
_Answer = tuple[int, dict[str, str], bytes]


class SimulatedClock:
    """One process's clocks: the wall's may be wrong, the monotonic one counts from anywhere."""

    def __init__(self, loop: SimulationLoop, *, wrong_by: float, counts_from: float) -> None:
        self._loop = loop
        self._wrong_by = wrong_by
        self._counts_from = counts_from

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() + self._wrong_by)

    def monotonic(self) -> float:
        return self._loop.time() + self._counts_from

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Site:
    """The world that a run takes place in. `note` writes its trace."""

    def __init__(
        self,
        random: Random,
        *,
        profile: Profile,
        faults: Faults,
        exchange_skew_us: int = 0,
        unreadable: float = 0.0,
        queue: str | None = None,
    ) -> None:
        """`queue`: how execution reports reach the rows: `inbox`, a broker that is `chained` or not, or None."""
        self.random = random
        self._unreadable = unreadable
        self.loop = SimulationLoop(lambda: random.random() * 0.004)
        self.folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=MEMORY if MEMORY.is_dir() else None))
        self.counts: Counter[str] = Counter()
        self.members: list[Resident] = []
        self.is_watcher_dead = False
        self.at_failpoint: Callable[[str], bool] = lambda name: False
        self.trace: list[str] | None = None
        # The first bytes of orders, and when each left; halts that were waited for, and when their wait was over.
        self.sent: list[tuple[str, datetime]] = []
        self.halted: list[tuple[datetime, datetime]] = []
        # Orders of which a processor wrote COMPLETED.
        self.placed_by_processor: list[str] = []
        # Until when a request may still be on its way to the exchange.
        self.held_until = 0.0
        self.world = contextvars.Context()
        self._hash = blake2b(digest_size=16)
        self._ids = 0
        self._generation = 0
        self.database = SimulatedDatabase()
        self.queue = queue
        self.broker: Broker | None = None
        if queue in {"chained", "unchained"}:
            self.broker = Broker(random, self.loop.time, is_chained=queue == "chained")
            self.broker.on_publish = self.was_put
        # What an operator's comparison of executions came to in the end, or why there was none.
        self.compared: Comparison | str = "there was none"
        # Whether the queue loses what it has, once something is put into it again.
        self.is_wiped_next = False
        self.exchange = ExchangeHost(
            self.loop,
            SimulatedClock(self.loop, wrong_by=0, counts_from=0),
            random,
            lambda: int((EPOCH.timestamp() + self.loop.time()) * 1_000_000),
            profile=profile,
            faults=faults,
            skew_us=exchange_skew_us,
        )

    def now(self, ago: float = 0.0) -> datetime:
        """The database's clock."""
        return EPOCH + timedelta(seconds=self.loop.time() - ago)

    def is_unreadable(self, mark: str) -> bool:
        """Whether nobody can understand this element of the exchange's lists; always the same of the same one."""
        return crc32(mark.encode()) % 1000 < self._unreadable * 1000

    def note(self, event: str, text: str) -> None:
        """One more thing that happened."""
        process = CURRENT.get()
        line = f"{self.loop.time():.6f} {process.name if process else '-'} {event} {text}"
        self._hash.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    @property
    def trace_hash(self) -> str:
        """Equal for equal runs."""
        return self._hash.hexdigest()

    def hold(self, seconds: float) -> float:
        """A request is on its way for so long."""
        self.held_until = max(self.held_until, self.loop.time() + seconds)
        return seconds

    def was_put(self) -> None:
        """A frame is in the queue."""
        if self.is_wiped_next:
            self.is_wiped_next = False
            self.loop.call_later(self.random.random() * 0.008, self.wipe_queue, context=self.world)

    def wipe_queue(self) -> None:
        """All that waits in the queue is gone, and a broker's tail with it; or half of it, and the tail stays."""
        inbox: dict[int, Any] = self.database.tables.reports.inbox
        frames: dict[int, Any] = inbox if self.broker is None else self.broker.frames
        numbers = list(frames)
        self.counts["frames wiped"] += len(numbers)
        self.note("wiped", str(len(numbers)))
        if self.random.random() < 0.5:
            numbers = numbers[len(numbers) // 2 :]
        elif self.broker is not None:
            self.broker.wipe()
            return
        for number in numbers:
            del frames[number]

    def switch_of(self, fates: Fates) -> PostgresSwitch:
        """An operator's way to the switch, from outside of every process."""
        wire = DatabaseWire(
            fates, self.now, self.world, timeout_seconds=SETTINGS.database_timeout_seconds, note=self.note
        )
        session: Any = self.database.session(wire)
        return PostgresSwitch(session)

    def new_id(self) -> str:
        """Ids in the order of their making, as UUIDv7 are."""
        self._ids += 1
        return f"01900000-0000-7000-8000-{self._ids:012d}"

    def start(self, slot: str, fates: Fates, *, serves: bool = True, wrong_by: float = 0.0) -> "Member":
        """Start a process in a slot; processes of one slot follow each other and share a data folder."""
        member = Member(self, slot, fates, serves=serves, wrong_by=wrong_by)
        self.add(member)
        return member

    def add(self, member: "Resident") -> None:
        """Start what has been made."""
        self.members.append(member)
        member.start()
        self.note("start", member.process.name)

    def new_generation(self) -> int:
        """The number of one more process."""
        self._generation += 1
        return self._generation

    def kill(self, member: "Resident") -> None:
        """SIGKILL."""
        if member.process.is_alive:
            self.note("kill", member.process.name)
            self.members.remove(member)
            member.die()

    @property
    def serving(self) -> "list[Member]":
        """Those of whom clients may ask something."""
        return [member for member in self.members if isinstance(member, Member) and member.serves]

    def current_member(self) -> "Resident | None":
        """The one whose code runs now; None: it is dead, or it is the world."""
        process = CURRENT.get()
        return next((member for member in self.members if member.process is process), None)

    def reach(self, name: str) -> None:
        """What happens at a failpoint."""
        member = self.current_member()
        if member is not None and self.at_failpoint(name):
            self.counts["killed at a failpoint"] += 1
            self.note("failpoint", name)
            self.kill(member)
            raise Killed

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Everything that is global is ours until the end of the block."""
        files = _Files(self)
        outside = vars(spool)["os"], vars(spool)["uuid"]
        vars(spool).update(os=files, uuid=SimpleNamespace(uuid4=files.unique))
        for name in (*FAILPOINTS, *EXECUTION_FAILPOINTS, *QUEUE_FAILPOINTS):
            failpoints.arm(name, lambda name=name: self.reach(name))  # type: ignore[misc]
        asyncio.set_event_loop(self.loop)
        # What is collected runs its `finally`s: not in the middle of a run, nor of the next one.
        collects, tallies = gc.isenabled(), len(buffered._all)
        gc.disable()
        gc.freeze()  # what is there already need not be looked through at the end of each run
        try:
            yield
        finally:
            failpoints.disarm()
            for member in self.members:
                member.close_files()
            self.members.clear()
            self.loop.bury()
            self.loop.close()
            del buffered._all[tallies:]
            gc.unfreeze()
            if collects:
                gc.enable()
            vars(spool).update(os=outside[0], uuid=outside[1])
            asyncio.set_event_loop(None)
            shutil.rmtree(self.folder, ignore_errors=True)


class Resident:
    """One process of ours. `slot`: processes of one slot follow each other."""

    serves = False

    def __init__(self, site: Site, slot: str, fates: Fates, *, wrong_by: float) -> None:
        self.site = site
        self.slot = slot
        self.number = site.new_generation()
        self.process = Process(f"{slot}.{self.number}")
        self.files: set[int] = set()
        # In their order, which a set's is not from run to run.
        self.replies: dict[asyncio.Future[_Answer | None], None] = {}
        self.clock = SimulatedClock(site.loop, wrong_by=wrong_by, counts_from=1000.0 * self.number)
        self.background = BackgroundTasks()
        self.connection = DatabaseWire(
            fates, site.now, site.world, timeout_seconds=SETTINGS.database_timeout_seconds, note=site.note
        )
        self.session: Any = site.database.session(self.connection)
        self.venue = ExchangeWire(
            site.exchange,
            fates,
            self.clock,
            lambda order_id: site.sent.append((order_id, site.now())),
            site.is_unreadable,
        )

    def start(self) -> None:
        self.task = self.site.loop.create_task(self.run(), context=self.process.context)
        self.task.add_done_callback(self._ended)

    async def run(self) -> None:
        """What it does, for as long as it lives."""
        raise NotImplementedError

    def die(self) -> None:
        self.site.loop.kill(self.process)
        self.close_files()
        for reply in self.replies:
            if not reply.done():
                reply.set_result(None)

    def close_files(self) -> None:
        """What the kernel does for the dead: their locks are free."""
        for file in self.files:
            os.close(file)
        self.files.clear()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.site.loop.exceptions.append({"message": f"{self.process.name} has ended", "exception": error})


class Member(Resident):
    """An API that reconciles too, or a reconciler alone."""

    def __init__(self, site: Site, slot: str, fates: Fates, *, serves: bool, wrong_by: float) -> None:
        super().__init__(site, slot, fates, wrong_by=wrong_by)
        self.serves = serves
        self.is_open = False
        self.is_watcher_dead = site.is_watcher_dead
        settings, clock, session = SETTINGS, self.clock, self.session
        deadlines = deadlines_of(settings)
        self.rows = PostgresRows(session, deadlines)
        self.doubts = PostgresDoubts(session)
        self.switch = PostgresSwitch(session)
        self.spool = spool.Spool(site.folder / slot / "spool", bytes_max=settings.spool_bytes_max)
        self.journal = Journal(
            self.rows,
            self.spool,
            clock,
            Limits(settings.commit_rows_max, settings.commit_queue_max, settings.database_timeout_seconds),
        )
        self.gate = service_gate(clock, settings=settings, chance=site.random.random, metrics=_Unreported())
        gateway = gateway_to(self.venue, clock, gate=self.gate, timeout_seconds=settings.exchange_timeout_seconds)
        admission = Admission(self.journal, self.spool, self.gate, orders_in_flight_max=settings.orders_in_flight_max)
        placing = Placing(self.journal, gateway, clock, deadlines)
        queue = PostgresOrderQueue(session, deadlines)
        self.worker = PlaceWorker(
            queue,
            placing,
            gateway,
            self.doubts,
            clock=clock,
            limits=WORKER_LIMITS,
            name=self.process.name,
        )
        intake = OrderIntake(placing, queue, clock, orders_max=QUEUE_ORDERS_MAX)
        waiting: Any = PolledWaiting(clock)
        self.endpoint = PlaceOrder(
            placing,
            intake,
            waiting,
            clock,
            shed=admission.shed,
            body_bytes_max=settings.body_bytes_max,
            seconds_after_send_by=settings.seconds_after_send_by,
            place_by_of=deadlines.place_by,
            new_id=site.new_id,
        )
        feeds = None if site.queue is None else PostgresExecutions(session)
        reconciler = Reconciler(
            self.doubts,
            self.journal,
            gateway,
            clock,
            VerificationLimits(settings.exchange_timeout_seconds, settings.clock_margin_seconds),
            name=self.process.name,
            send_seconds=settings.send_window_seconds,
            chance=Random(site.random.random()),
            feeds=feeds,
            queue=queue,
        )
        sweep = Sweep(
            self.doubts,
            PostgresParked(session),
            gateway,
            venue="simulated",
            rest_seconds=settings.sweep_interval_seconds,
            fed=None if feeds is None else FedReports(feeds, clock, venue="simulated"),
        )
        self.schedule = Schedule(reconciler, sweep, self.doubts, interval_seconds=settings.reconcile_interval_seconds)
        self._cancel_order = cancel_endpoint(Canceling(self.rows, self.doubts, self.schedule.wake_up))

    @override
    async def run(self) -> None:
        await self.spool.open()
        self.is_open = self.serves
        self.background.start("reconciliation", self.schedule.run())
        while True:
            await self._watch()
            await self.clock.sleep(WATCH_SECONDS)

    async def _watch(self) -> None:
        """As the service's own watch: the switch, the spool's state, its replay."""
        try:
            halted = (await self.switch.read()).is_halted
            await asyncio.to_thread(self.spool.probe)
            # Where its watcher is dead, what it records and claims must obey all the same.
            if halted and not self.is_watcher_dead:
                self.gate.halt()
            else:
                self.gate.resume()
            if self.spool.has_trails:
                await self.journal.replay()
        except (StatementFailed, StatementOutcomeUnknown):
            pass

    async def post(
        self, body: bytes, key: str | None, prefer: bytes | None = None, *, wait_seconds_max: float
    ) -> _Answer | None:
        """`POST /orders` from somewhere else; None: no answer came."""
        headers = [(b"content-type", b"application/json")]
        if prefer is not None:
            headers.append((b"prefer", prefer))
        if key is not None:
            headers.append((b"idempotency-key", key.encode()))

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def serve() -> _Answer:
            sent: list[dict[str, Any]] = []

            async def send(message: Any) -> None:
                sent.append(message)

            await self.endpoint({"type": "http", "headers": headers}, receive, send)
            answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
            return sent[0]["status"], answered, sent[1]["body"]

        return await self._request(serve, wait_seconds_max)

    async def delete(self, order_id: str, *, wait_seconds_max: float) -> _Answer | None:
        """`DELETE /orders/{id}`."""

        async def serve() -> _Answer:
            try:
                response = await self._cancel_order(order_id)
            except ProblemError as problem:
                return problem.status, {}, b"{}"
            return response.status_code, {}, b"{}"

        return await self._request(serve, wait_seconds_max)

    async def _request(self, serve: Callable[[], Any], wait_seconds_max: float) -> _Answer | None:
        if not self.is_open or not self.process.is_alive:
            await asyncio.sleep(0.05)
            return None
        loop, random = self.site.loop, self.site.random
        reply: asyncio.Future[_Answer | None] = loop.create_future()
        self.replies[reply] = None
        reply.add_done_callback(self.replies.pop)

        def begin() -> None:
            task = loop.create_task(serve(), context=self.process.context)
            task.add_done_callback(answer)

        def answer(task: "asyncio.Task[_Answer]") -> None:
            result = None if task.exception() is not None else task.result()
            loop.call_later(random.random() * 0.005, settle, result)

        def settle(result: _Answer | None) -> None:
            if not reply.done():
                reply.set_result(result)

        loop.call_later(random.random() * 0.005, begin, context=self.process.context)
        try:
            async with asyncio.timeout(wait_seconds_max):
                return await reply
        except TimeoutError:
            return None


class WorkerMember(Member):
    """A worker for queued orders."""

    def __init__(self, site: Site, slot: str, fates: Fates, *, wrong_by: float) -> None:
        super().__init__(site, slot, fates, serves=False, wrong_by=wrong_by)

    @override
    async def run(self) -> None:
        await self.spool.open()
        self.background.start("placing queued orders", self.worker.run())
        while True:
            await self._watch()
            await self.clock.sleep(WATCH_SECONDS)


class PolledWaiting:
    """Waits for an order by reading it now and then, where nobody reads the event log."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock

    async def read_until(
        self, _order_id: str, read: Callable[[], Any], is_enough: Callable[[Any], bool], *, seconds: float
    ) -> Any:
        deadline = self._clock.monotonic() + seconds
        found = await read()
        while not is_enough(found) and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.5)
            found = await read()
        return found


class _Unreported:
    """Nobody reads this gate's metrics."""

    def refused(self, budget: BudgetName, cause: Cause) -> None: ...

    def changed(self, budget: BudgetName, state: State) -> None: ...

    def instrument_changed(self, budget: BudgetName, instrument: str, state: State) -> None: ...


class _Files:
    """`os` as the spool sees it: files belong to the process that opened them, and no disk is waited for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        file = os.open(path, flags, mode)
        member = self._site.current_member()
        if member is not None:
            member.files.add(file)
        return file

    def close(self, file: int) -> None:
        member = self._site.current_member()
        if member is not None and file in member.files:
            member.files.discard(file)
            os.close(file)

    def fsync(self, file: int) -> None:
        pass

    def fdatasync(self, file: int) -> None:
        pass

    def getpid(self) -> int:
        member = self._site.current_member()
        return 0 if member is None else member.number

    def unique(self) -> SimpleNamespace:
        """Instead of a random UUID: names that are not the same twice, and sort in the order of their making."""
        self._count += 1
        return SimpleNamespace(hex=f"{self._count:08d}")
