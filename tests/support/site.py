"""An installation of real processes that a test may kill, stop and start again: PostgreSQL, the exchange, ours."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import asyncpg
import psutil

from ordertrail.storage.postgres.migrate import migrate
from ordertrail.up.embedded_postgres import EmbeddedPostgres
from simulated_exchange.log import LOG_NAME
from tests.support.checker import ClientAnswer, Evidence, Report, check_settled, read_evidence_async, unreplayed
from tests.support.clients import Door, until
from tests.support.postgres import run, temporary_postgres
from tests.support.programs import Program, api_program, exchange_program, execution_program, reconcile_program

DEADLINE_SECONDS = 120
SETTLE_POLL_SECONDS = 0.1

# Ids may be used again and again, so nothing hides a second send; a resend is safe by `accept_by` alone.
FORGIVES_NOTHING = {"client_order_id_unique": "never", "accepts_within_seconds": 1, "honours_accept_by": True}

SETTINGS: Mapping[str, object] = {
    "exchange_timeout_seconds": 1,
    "send_window_seconds": 1,
    "database_timeout_seconds": 1,
    "reconcile_interval_seconds": 0.3,
    "retry_window_seconds": 20,
}

LEFT = """
SELECT (SELECT count(*) FROM order_batches) + (SELECT count(*) FROM order_queue)
     + (SELECT count(*) FROM doubts d
         WHERE settled_at IS NULL
           AND NOT EXISTS (SELECT FROM orders o WHERE o.id = d.order_id AND o.status = 'UNRESOLVED'))
"""


@dataclass(eq=False)
class Actor:
    """A process of ours that runs, is stopped, or is dead; `door`: where clients find it, if they do."""

    program: Program
    door: Door | None
    _stack: contextlib.ExitStack

    @property
    def is_dead(self) -> bool:
        return self.program.process.poll() is not None

    @property
    def is_stopped(self) -> bool:
        return not self.is_dead and self._process.status() == psutil.STATUS_STOPPED

    @property
    def was_killed(self) -> bool:
        return self.program.process.poll() == -signal.SIGKILL

    @property
    def _process(self) -> psutil.Process:
        return psutil.Process(self.program.process.pid)

    def workers(self) -> list[psutil.Process]:
        """The processes that serve for it, oldest first."""
        return sorted(children_of(self.program.process.pid, "spawn_main"), key=lambda child: child.create_time())

    def stop(self) -> None:
        """It stands still, and its clients give up."""
        self.program.send_signal(signal.SIGSTOP)
        self.lose_clients()

    def wake(self) -> None:
        self.program.send_signal(signal.SIGCONT)
        if self.door is not None:
            self.door.is_open = True

    def lose_clients(self) -> None:
        if self.door is not None:
            self.door.close()

    async def kill(self) -> None:
        """Killed and gone, with whatever it had started."""
        self.program.send_signal(signal.SIGKILL)
        await self.gone()

    async def gone(self) -> None:
        """Take away what is left of one that has died."""
        self.lose_clients()
        await asyncio.to_thread(self._stack.close)


@dataclass(eq=False)
class Site:
    """`exchange_url` and `database_url` are where ours look for them: a proxy may stand between."""

    postgres: EmbeddedPostgres
    folder: Path
    profile: Mapping[str, object]
    faults: Mapping[str, object]
    settings: Mapping[str, object]
    stack: contextlib.ExitStack
    exchange: Actor = field(init=False)
    exchange_url: str = field(init=False)
    database_url: str = field(init=False)
    actors: list[Actor] = field(default_factory=list)
    closing: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.exchange = self._start_exchange()
        self.exchange_url = self.exchange.program.url
        self.database_url = self.postgres.url

    def doors(self) -> list[Door]:
        return [actor.door for actor in self.actors if actor.door is not None]

    async def start_api(self, *arguments: str, **settings: object) -> Actor:
        return await asyncio.to_thread(self._start_api, arguments, settings)

    async def start_reconciler(self, **settings: object) -> Actor:
        return await asyncio.to_thread(self._start_reconciler, settings)

    async def start_feed(self, **settings: object) -> Actor:
        return await asyncio.to_thread(self._start_execution_program, "feed", settings)

    async def start_processor(self, **settings: object) -> Actor:
        return await asyncio.to_thread(self._start_execution_program, "process", settings)

    async def start_placer(self, **settings: object) -> Actor:
        return await asyncio.to_thread(self._start_execution_program, "place", settings)

    def _start_execution_program(
        self, role: Literal["feed", "process", "place"], settings: Mapping[str, object]
    ) -> Actor:
        with contextlib.ExitStack() as stack:
            settings = {**self.settings, **settings}
            program = stack.enter_context(
                execution_program(role, self.database_url, self.folder, exchange_url=self.exchange_url, **settings)
            )
            return self._actor(program, None, stack)

    def _start_api(self, arguments: tuple[str, ...], settings: Mapping[str, object]) -> Actor:
        with contextlib.ExitStack() as stack:
            settings = {**self.settings, "reconcile_in_api": False, **settings}
            program = stack.enter_context(
                api_program(self.database_url, self.folder, *arguments, exchange_url=self.exchange_url, **settings)
            )
            return self._actor(program, Door(program.url), stack)

    def _start_reconciler(self, settings: Mapping[str, object]) -> Actor:
        with contextlib.ExitStack() as stack:
            settings = {**self.settings, **settings}
            program = stack.enter_context(
                reconcile_program(self.database_url, self.folder, exchange_url=self.exchange_url, **settings)
            )
            return self._actor(program, None, stack)

    def _actor(self, program: Program, door: Door | None, stack: contextlib.ExitStack) -> Actor:
        actor = Actor(program, door, stack.pop_all())
        with self.closing:
            if self.is_closed:
                # A test that failed did not wait for its start.
                actor._stack.close()
            else:
                self.stack.callback(actor._stack.close)
        self.actors.append(actor)
        return actor

    def close(self) -> None:
        """Whatever starts from now on is ended at once."""
        with self.closing:
            self.is_closed = True

    def _start_exchange(self, *arguments: str) -> Actor:
        profile, faults = json.dumps(self.profile), json.dumps(self.faults)
        with contextlib.ExitStack() as stack:
            program = stack.enter_context(
                exchange_program(self.folder / "exchange", "--profile", profile, "--faults", faults, *arguments)
            )
            return self._actor(program, None, stack)

    async def kill_exchange(self) -> None:
        """And start it again, at the same place, with the same log."""
        port = self.exchange.program.port
        await self.exchange.kill()
        self.exchange = await asyncio.to_thread(self._start_exchange, "--port", str(port))

    def end_exchange_faults(self) -> None:
        self.faults = {}
        request = urllib.request.Request(self.exchange.program.url + "/v1/faults", b"{}", method="PUT")
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS):
            pass

    async def kill_postgres(self) -> None:
        """SIGKILL of the postmaster, so that the next start is a recovery from a crash."""
        os.kill(self.postgres.pid, signal.SIGKILL)
        await until(lambda: not self.postgres.is_running(), timeout_seconds=DEADLINE_SECONDS)

    async def start_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.start)

    def backends(self) -> list[psutil.Process]:
        """PostgreSQL's processes that serve connections of ours."""
        return children_of(self.postgres.pid, "postgres: ordertrail")

    async def settle(self, *, timeout_seconds: float = DEADLINE_SECONDS) -> None:
        """Until nobody has anything left to do; at the deadline the checker says what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while unreplayed(self.folder / "spool") or await self.fetch_value(LEFT):  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(SETTLE_POLL_SECONDS)

    async def fetch_value(self, sql: str) -> Any:
        connection = await asyncpg.connect(self.postgres.url, timeout=DEADLINE_SECONDS)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    def said_of(self, order_id: str) -> list[str]:
        """What our processes logged about an order, for whoever looks for the reason of a violation."""
        said = [(line.strip(), actor.program.process.pid) for actor in self.actors for line in actor.program.log]
        return [f"{pid}: {line}" for line, pid in said if order_id in line]

    def report(self, evidence: Evidence, answers: Sequence[ClientAnswer]) -> Report:
        """Both halves of the checker, and what our processes said of whatever is violated."""
        report = check_settled(evidence, answers)
        said = ["\n    ".join([each, *self.said_of(each.partition(":")[0])]) for each in report.violations]
        return replace(report, violations=said)

    async def evidence(self) -> Evidence:
        log = self.folder / "exchange" / LOG_NAME
        return await read_evidence_async(log, self.postgres.url, spool=self.folder / "spool")


def children_of(pid: int, words: str) -> list[psutil.Process]:
    """A process's children that live, and have these words in their command line."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # zombies too
                if words in " ".join(child.cmdline()):
                    found.append(child)
    return found


@contextlib.contextmanager
def site(
    folder: Path,
    *,
    profile: Mapping[str, object] = FORGIVES_NOTHING,
    faults: Mapping[str, object] | None = None,
    **settings: object,
) -> Iterator[Site]:
    """PostgreSQL and the exchange run; nothing of ours does yet."""
    with temporary_postgres() as postgres, contextlib.ExitStack() as stack:
        run(migrate(postgres.url))
        place = Site(postgres, folder, profile, faults or {}, {**SETTINGS, **settings}, stack)
        try:
            yield place
        finally:
            place.close()
