"""Processes that are killed, or stopped for a while, between any two steps of placing an order: nothing is doubled.

Real processes, a real PostgreSQL, and an exchange that refuses no repeated id: a second send would stand in its log.
What is checked is the safety half of what must always hold; `tests/support/checker.py` says it in words.
"""

import ast
import asyncio
import contextlib
import itertools
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

import ordertrail
from ordertrail.up.embedded_postgres import EmbeddedPostgres
from simulated_exchange.log import LOG_NAME
from tests.simulation.site import QUEUE_FAILPOINTS
from tests.support.checker import PLACED_SHARE_MIN, ClientAnswer, Report, check, read_evidence
from tests.support.clients import is_final
from tests.support.counts import Count
from tests.support.postgres import execute, temporary_database
from tests.support.programs import Program, api_program, exchange_program

CLIENTS = 10
ORDERS = 60
REST_SECONDS = 0.2
DEADLINE_SECONDS = 30
POLL_SECONDS = 0.01

# Each point, and the pass at which it acts: early enough for the load below to reach it, in the middle of the load.
POINTS = {
    "before_initiated": 20,
    "after_initiated": 19,
    "before_never_sent": 2,
    "after_never_sent": 2,
    "before_send": 18,
    "after_send": 17,
    "before_query": 3,
    "after_query": 4,
    "before_completed": 16,
    "after_completed": 15,
    "before_failure": 4,
    "after_failure": 3,
    "before_spool": 2,
    "after_spool": 2,
}

PACKAGE = Path(ordertrail.__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PLAIN = "AAPL12345678"
REFUSED_FIRST = "FIRST1234567"
REFUSED_LAST = "LAST12345678"
TROUBLES = (
    REFUSED_FIRST,
    REFUSED_LAST,
    "FAULTREFUSE0",
    "FAULTERROR00",
    "FAULTGARBAGE",
    "FAULTRESET00",
    "FAULTLATE000",
)

# Ids may be used again and again, so nothing hides a second send; a resend is safe by `accept_by` alone.
FORGIVES_NOTHING = '{"client_order_id_unique": "never", "accepts_within_seconds": 1, "honours_accept_by": true}'

# Some orders' INITIATED is refused, but not in the transaction that says so; others' last row is refused, so that
# their trail goes to the spool, but a replay is taken.
REFUSE_ROWS = f"""
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused by a test' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER refuse_first BEFORE INSERT ON orders FOR EACH ROW
    WHEN (NEW.instrument = '{REFUSED_FIRST}' AND NEW.status = 'INITIATED'
          AND current_query() LIKE '%INTO order_batches%')
    EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse_last BEFORE INSERT ON orders FOR EACH ROW
    WHEN (NEW.instrument = '{REFUSED_LAST}' AND NEW.status <> 'INITIATED' AND current_query() NOT LIKE '%replayed AS%'
          AND coalesce(NEW.reason, 'accepted') = 'accepted')
    EXECUTE FUNCTION refuse();
"""

Request = tuple[str | None, dict[str, Any]]


@dataclass
class Site:
    """An installation: a database, an exchange, one API process that lives; and what the clients have seen."""

    database_url: str
    folder: Path
    exchange: Program
    programs: contextlib.ExitStack
    answers: list[ClientAnswer] = field(default_factory=list)
    steady: Program = field(init=False)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def api(self, **settings: object) -> Iterator[Program]:
        with api_program(
            self.database_url,
            self.folder,
            exchange_url=self.exchange.url,
            exchange_timeout_seconds=0.5,
            send_window_seconds=0.5,
            database_timeout_seconds=1,
            reconcile_interval_seconds=0.5,
            **settings,
        ) as running:
            yield running

    def orders(self) -> Iterator[Request]:
        """Keyed by the header, keyed by the body, and without a key; every third in some trouble."""
        for number in self.numbers:
            key = None if number % 4 == 0 else f"key-{number}"
            request: dict[str, Any] = {
                "type": "market" if number % 5 == 0 else "limit",
                "side": ("buy", "sell")[number % 2],
                "instrument": TROUBLES[number // 3 % len(TROUBLES)] if number % 3 == 2 else PLAIN,
                "quantity": 1 + number,
            }
            if request["type"] == "limit":
                request["limit_price"] = round(100 + number % 7 + number % 100 / 100, 2)
            if key is not None and number % 2:
                request["client_order_id"] = key
            yield key, request

    async def post(self, session: aiohttp.ClientSession, url: str, order: Request) -> ClientAnswer:
        """One request; losing the connection, or being cancelled while waiting, is an answer too."""
        key, request = order
        headers = {} if key is None or "client_order_id" in request else {"Idempotency-Key": key}
        answer = ClientAnswer(key, request, None)
        try:
            async with session.post(url + "/orders", json=request, headers=headers) as response:
                body = await response.json(content_type=None)
                answer = ClientAnswer(key, request, response.status, body, datetime.now(UTC))
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            self.answers.append(answer)
        return answer

    async def repeat_all(self, session: aiohttp.ClientSession, start: int) -> None:
        """Every keyed request since `start`, once more: the answers must agree with what was said before.

        On a slow machine most orders may have been settled only after their deadlines, so those that are not known
        to have ended are repeated until enough are.
        """
        await self._repeat(session, [answer for answer in self.answers[start:] if answer.key is not None])
        while self.report().placed_share < PLACED_SHARE_MIN:
            ended = {answer.key for answer in self.answers if is_final(answer)}
            await self._repeat(session, [a for a in self.answers if a.key is not None and a.key not in ended])

    async def _repeat(self, session: aiohttp.ClientSession, answers: Sequence[ClientAnswer]) -> None:
        orders = {answer.key: (answer.key, dict(answer.request)) for answer in answers}
        await run_clients(lambda order: self.post(session, self.steady.url, order), iter(orders.values()))

    def report(self) -> Report:
        return check(read_evidence(self.folder / "exchange" / LOG_NAME, self.database_url), self.answers)


def start_exchange(folder: Path, *arguments: str) -> contextlib.AbstractContextManager[Program]:
    faults = '{"late_seconds": 0.7}'
    return exchange_program(folder / "exchange", "--profile", FORGIVES_NOTHING, "--faults", faults, *arguments)


@pytest.fixture(scope="module")
def site(
    postgres_server: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("kills")
    with temporary_database(postgres_server, migrated_template) as url, contextlib.ExitStack() as programs:
        execute(url, REFUSE_ROWS)
        site = Site(url, folder, programs.enter_context(start_exchange(folder)), programs)
        site.steady = programs.enter_context(site.api())
        yield site
        assert site.report().violations == []


@contextlib.asynccontextmanager
async def a_session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.timeout(2 * DEADLINE_SECONDS):
        yield session


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(POLL_SECONDS)


async def run_clients(client: Callable[[Request], Awaitable[object]], orders: Iterator[Request]) -> None:
    """Concurrent clients who take the next order each, until there are none."""

    async def take_orders() -> None:
        for order in orders:
            await client(order)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(take_orders())


# Some are killed at the same time, each in a process of its own, for most of the time goes into starting them.
TOGETHER = [list(POINTS)[start : start + 4] for start in range(0, len(POINTS), 4)]


@pytest.mark.parametrize("points", TOGETHER, ids="-".join)
async def test_processes_killed_between_two_steps(site: Site, points: list[str], counted: Count) -> None:
    start = len(site.answers)
    with contextlib.ExitStack() as stack:
        victims = await asyncio.gather(
            *(
                asyncio.to_thread(stack.enter_context, site.api(failpoints=f"{point}=kill:{POINTS[point]}"))
                for point in points
            )
        )
        async with a_session() as session:

            async def load(victim: Program) -> None:
                async def place_and_repeat_elsewhere(order: Request) -> None:
                    answer = await site.post(session, victim.url, order)
                    if answer.status is None and answer.key is not None:
                        await site.post(session, site.steady.url, order)

                orders = list(itertools.islice(site.orders(), ORDERS))
                await run_clients(place_and_repeat_elsewhere, iter(orders))

            await asyncio.gather(*map(load, victims))
            await site.repeat_all(session, start)
        killed = [victim.process.poll() == -signal.SIGKILL for victim in victims]

    counted({"kills": sum(killed)})
    site.report().assert_safe(hits=dict(zip(points, killed, strict=True)))


@dataclass
class Stops:
    """Watches a process that stops itself, and lets it go on once every client has repeated elsewhere."""

    process: psutil.Process
    count: int = 0
    busy: int = 0
    has_stopped: asyncio.Event = field(default_factory=asyncio.Event)
    may_be_used: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_stopped(self) -> bool:
        return self.process.status() == psutil.STATUS_STOPPED

    async def watch(self) -> None:
        self.may_be_used.set()
        while True:
            if self.is_stopped:
                self.may_be_used.clear()
                self.has_stopped.set()
                await until(lambda: self.busy == 0)
                self.has_stopped.clear()
                self.count += 1
                self.process.send_signal(signal.SIGCONT)
                self.may_be_used.set()
            await asyncio.sleep(POLL_SECONDS)

    @contextlib.asynccontextmanager
    async def using(self) -> AsyncIterator[None]:
        await self.may_be_used.wait()
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1


async def test_process_stopped_between_any_two_steps_while_its_clients_repeat_elsewhere(
    site: Site, counted: Count
) -> None:
    start = len(site.answers)
    spread = {point: passes + 4 * number for number, (point, passes) in enumerate(POINTS.items())}
    spread |= {point: passes for point, passes in POINTS.items() if passes < 10}
    armed = ",".join(f"{point}=stop:{passes}" for point, passes in spread.items())
    with site.api(failpoints=armed) as victim:
        stops = Stops(psutil.Process(victim.process.pid))

        async with a_session() as session:

            async def place_or_give_up_and_repeat(order: Request) -> None:
                async with stops.using():
                    placing = asyncio.create_task(site.post(session, victim.url, order))
                    stopped = asyncio.create_task(stops.has_stopped.wait())
                    await asyncio.wait({placing, stopped}, return_when=asyncio.FIRST_COMPLETED)
                    stopped.cancel()
                    if placing.done():
                        if placing.result().status != 201:
                            # An open breaker answers at once: whoever did not rest would use up all orders on it.
                            await asyncio.sleep(REST_SECONDS)
                        return
                    placing.cancel()
                    await asyncio.wait({placing})
                    if order[0] is not None:
                        await site.post(session, site.steady.url, order)

            orders = itertools.takewhile(
                lambda _: stops.count < len(POINTS), itertools.islice(site.orders(), 20 * ORDERS)
            )
            watching = asyncio.create_task(stops.watch())
            await run_clients(place_or_give_up_and_repeat, orders)
            watching.cancel()
            await asyncio.wait({watching})
            await site.repeat_all(session, start)
        victim.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(victim.wait) == 0, victim.stderr

    # Each point stops it once, so as many stops as points are all of them.
    assert stops.count == len(POINTS)
    counted({"stops": stops.count})
    site.report().assert_safe()


async def test_process_that_wakes_after_its_order_was_settled_sends_nothing(site: Site) -> None:
    async with a_session() as session:

        async def wake_late(point: str) -> tuple[list[int | None], ClientAnswer, ClientAnswer]:
            request = {"type": "limit", "side": "buy", "instrument": PLAIN, "limit_price": 1.25, "quantity": 1}
            order = (f"late-{point}", request)
            starting = site.api(failpoints=f"{point}=stop", reconcile_in_api=False)
            with contextlib.ExitStack() as stack:
                victim = await asyncio.to_thread(stack.enter_context, starting)
                process = psutil.Process(victim.process.pid)
                waiting = asyncio.create_task(site.post(session, victim.url, order))
                await until(lambda: process.status() == psutil.STATUS_STOPPED)
                statuses: list[int | None] = []
                while 201 not in statuses:
                    statuses.append((await site.post(session, site.steady.url, order)).status)
                process.send_signal(signal.SIGCONT)
                woken = await waiting
            site.answers.remove(woken)  # it speaks of what was so before the repeats
            return statuses, woken, await site.post(session, site.steady.url, order)

        runs = await asyncio.gather(wake_late("after_initiated"), wake_late("before_send"))

    for statuses, woken, repeated in runs:
        assert set(statuses) <= {409, 500, 201}
        # It tells of its own send; or what the rows say, if it slept for so long that others look after the order.
        assert (woken.status, woken.body["outcome"]) in [(500, "unknown"), (500, "pending"), (201, "placed")]
        assert repeated.status == 201
        assert woken.order_id == repeated.order_id
    site.report().assert_safe()


def names_reached(*folders: str) -> set[str]:
    """The failpoints that the code passes."""
    found = {folder: sorted(PACKAGE.glob(folder)) for folder in folders}
    assert all(found.values()), "some of it has moved"
    sources = [path for paths in found.values() for path in paths]
    return {
        str(call.args[0].value)
        for source in sources
        for call in ast.walk(ast.parse(source.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "failpoints.reach"
        and isinstance(call.args[0], ast.Constant)
    }


def test_every_failpoint_of_placing_is_killed_and_stopped_at() -> None:
    # Those of queued orders have a journey of their own.
    assert set(POINTS) == names_reached("placement/*.py", "venues/gateway.py") - set(QUEUE_FAILPOINTS)


def test_documented_failpoints_are_those_in_the_code() -> None:
    page = PACKAGE.parent / "docs" / "failpoints.md"

    documented = re.findall(r"^\| `(\w+)` \|", page.read_text(), flags=re.MULTILINE)

    assert sorted(documented) == sorted(names_reached("**/*.py"))


STEPS = {
    *(f"self._journal.{write}" for write in ("initiated", "completed", "step", "never_sent", "spooled")),
    "self._venue.place",
    "self.query",
}


def test_every_step_of_placing_stands_between_two_failpoints() -> None:
    steps = []
    for source in (PACKAGE / "placement" / "place_order.py", PACKAGE / "venues" / "gateway.py"):
        tree = ast.parse(source.read_text())
        names = [name for name in map(_named, _in_order(tree, _handed_on(tree))) if name is not None]
        steps += list(zip(["", *names], names, [*names[1:], ""], strict=False))

    steps = [step for step in steps if step[1] in STEPS]
    assert {step for _, step, _ in steps} == STEPS
    for before, step, after in steps:
        assert before.startswith("before_"), step
        assert after == before.replace("before_", "after_"), step


def _handed_on(tree: ast.Module) -> dict[str, ast.AST]:
    """The methods that are given to another one to call, by the way they are named there."""
    methods = {f"self.{node.name}": node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
    given = {ast.unparse(each) for node in ast.walk(tree) if isinstance(node, ast.Call) for each in node.args}
    return {name: node for name, node in methods.items() if name in given}


def _in_order(tree: ast.AST, handed_on: Mapping[str, ast.AST]) -> Iterator[ast.Call]:
    """Calls by their lines; those of a method that is handed on stand where it is handed on."""
    elsewhere = {id(node) for method in handed_on.values() if method is not tree for node in ast.walk(method)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in elsewhere]
    for call in sorted(calls, key=lambda call: call.lineno):
        yield call
        for name in map(ast.unparse, call.args):
            if name in handed_on:
                yield from _in_order(handed_on[name], handed_on)


def _named(call: ast.Call) -> str | None:
    """A step's name, or that of the failpoint it passes."""
    function = ast.unparse(call.func)
    if function == "failpoints.reach":
        assert isinstance(call.args[0], ast.Constant)
        return str(call.args[0].value)
    return function if function in STEPS else None
