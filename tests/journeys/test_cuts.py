"""Every statement and every call is cut off before it arrives and after it took effect, once and again and for good.

What died is a connection, not a process: whoever had it must find out what became of what it had begun.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ordertrail.storage.postgres import doubt_statements, order_statements, sweep_statements
from tests.support.checker import unreplayed
from tests.support.clients import Load, orders, session, until
from tests.support.counts import Count
from tests.support.postgres import execute
from tests.support.proxy import Proxy, When, exchange_proxy, postgres_proxy
from tests.support.site import DEADLINE_SECONDS, Site, site

CLIENTS = 5
CLIENT_SECONDS = 10
TIMES_AGAIN = 3
FOR_GOOD = 1_000_000
IN_DOUBT = 3  # places whose answers are lost, and whose orders a sweep finds before they are settled
GIVEN_UP = 2

PLAIN = "AAPL12345678"
INSTRUMENTS = (PLAIN,) * 7 + ("FAULTREFUSE0",)
FAULTS = {"place": {"accept": 80, "closed": 8, "reset": 6, "error_before": 6}}

# How each step is cut, one after the other, and how often in a row.
Ways = tuple[tuple[When, int], ...]
EVERY_WAY: Ways = (("before", 1), ("after", 1), ("after", TIMES_AGAIN), ("silent", 1))
WAYS: Ways = EVERY_WAY if "ORDERTRAIL_KILLS" in os.environ else (("before", 1), ("after", 2))
# Of a transaction that is cut before it is committed nothing is left, however it was cut.
UNCOMMITTED: Ways = (("after", 1), ("silent", 1))
# A process that dies in a sweep leaves its turn to the next after a while, which no test waits for.
END_TURN = "UPDATE sweep_positions SET leased_until = NULL"

# In the order of an order's life.
PLACING = (
    "insert initiated",
    "key owners",
    "initiated times",
    "insert completed",
    "insert initiated and completed",
    "insert trail rows",
    "read order",
)
NEVER_SENT = {
    "insert late initiated before its commit": UNCOMMITTED,
    "hold before its commit": UNCOMMITTED,
    "insert never sent before its commit": UNCOMMITTED,
    "insert never sent": EVERY_WAY,
}
REPLAYING = {"replay before its commit": UNCOMMITTED, "replay": WAYS}
RECONCILING = (
    "enqueue due batches",
    "lease",
    "load",
    "claim sends",
    "record answers",
    "apply verdicts",
    "note epoch",
    "counts",
)
SWEEPING = ("lease sweep", "statuses of", "keep observations", "move sweep", "end sweep")
CALLS = ("place", "query", "capabilities", "executions", "open orders")


def statements_by_text() -> dict[str, str]:
    """The names of all statements that ours may send."""
    named: dict[str, str] = {}
    for module in (order_statements, doubt_statements, sweep_statements):
        for name, value in vars(module).items():
            texts = value.values() if isinstance(value, dict) else [value]
            if name.isupper() and not name.startswith("_"):
                named |= {text: name.lower().replace("_", " ") for text in texts if isinstance(text, str)}
    return named


@dataclass(eq=False)
class Journey:
    """An installation behind proxies, under a light load."""

    site: Site
    database: Proxy
    exchange: Proxy
    load: Load
    cuts: Counter[str] = field(default_factory=Counter)

    async def cut(self, proxy: Proxy, step: str, when: When, times: int) -> None:
        """Until it has happened so often."""
        cut = proxy.plan(step, when, times)
        if step == "keep observations":
            # Something must be in doubt when a sweep comes by, and not be settled before it does.
            self.exchange.plan("query", "before", FOR_GOOD)
            self.exchange.plan("place", "after", IN_DOUBT)
        try:
            for hits in range(1, times + 1):
                if step in SWEEPING:
                    await asyncio.to_thread(execute, self.site.postgres.url, END_TURN)
                await until(lambda hits=hits: cut.hits >= hits, timeout_seconds=DEADLINE_SECONDS)  # type: ignore[misc]
        except TimeoutError:
            raise AssertionError(f"{step} was not cut {when}: {cut.hits} of {times}; seen {proxy.passed}") from None
        finally:
            proxy.heal()
            self.exchange.heal()
        self.cuts[f"cuts {when}"] += cut.hits

    async def cut_in_all_ways(self, proxy: Proxy, step: str, ways: Ways = WAYS) -> None:
        for when, times in ways:
            await self.cut(proxy, step, when, times)

    async def give_up(self, proxy: Proxy, step: str, when: When) -> None:
        """Cut off every time, until clients were told that this did not work."""
        cut = proxy.plan(step, when, FOR_GOOD)
        start = len(self.load.answers)
        await until(
            lambda: sum(answer.status == 500 for answer in self.load.answers[start:]) >= GIVEN_UP and cut.hits,
            timeout_seconds=DEADLINE_SECONDS,
        )
        proxy.heal()
        self.cuts[f"cuts {when} for good"] += cut.hits

    async def spool_something(self) -> None:
        """The database takes nothing of new orders, until something lies in the spool."""
        self.database.plan("insert initiated", "before", FOR_GOOD)
        self.database.plan("hold before its commit", "before", FOR_GOOD)
        await until(lambda: unreplayed(self.site.folder / "spool"), timeout_seconds=DEADLINE_SECONDS)
        self.database.heal()

    async def judge(self, counted: Count) -> None:
        """Healed, everything settles; both halves of the checker say so."""
        self.load.is_ending = True
        await self.load.until_finished(timeout_seconds=DEADLINE_SECONDS)
        await self.site.settle()
        await self.load.repeat_all()
        await self.site.settle()
        report = self.site.report(await self.site.evidence(), self.load.answers)
        counted({"cuts": self.cuts.total(), **self.cuts, **report.counts})
        report.assert_safe(hits=self.cuts)


@contextlib.asynccontextmanager
async def journey(folder: Path) -> AsyncIterator[Journey]:
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(site(folder, faults=FAULTS, sweep_interval_seconds=0.2))
        database = stack.enter_context(postgres_proxy(place.postgres.port, statements_by_text()))
        exchange = stack.enter_context(exchange_proxy(place.exchange.program.port))
        place.database_url = place.postgres.url.replace(f":{place.postgres.port}/", f":{database.port}/")
        place.exchange_url = f"http://127.0.0.1:{exchange.port}"
        await asyncio.gather(place.start_api(), place.start_api(), place.start_reconciler())
        async with session(timeout_seconds=CLIENT_SECONDS) as client, asyncio.TaskGroup() as group:
            load = Load(client, orders(INSTRUMENTS, prefix="cut"), place.doors, random.Random(7), clients=CLIENTS)
            group.create_task(load.run())
            yield Journey(place, database, exchange, load)
            load.is_ending = True


@pytest.mark.kills
@pytest.mark.timeout(5 * DEADLINE_SECONDS)
async def test_statements_of_placing_cut(tmp_path: Path, counted: Count) -> None:
    async with journey(tmp_path) as cutting:
        database = cutting.database
        for step in PLACING:
            await cutting.cut_in_all_ways(database, step, EVERY_WAY)
        for step, ways in NEVER_SENT.items():
            for when, times in ways:
                database.plan("insert initiated", "before", FOR_GOOD)
                await cutting.cut(database, step, when, times)
        for step in ("insert initiated", "insert completed", "insert trail rows"):
            for when in ("before", "after"):
                await cutting.give_up(database, step, when)
        await cutting.judge(counted)


@pytest.mark.kills
@pytest.mark.timeout(5 * DEADLINE_SECONDS)
async def test_statements_of_replaying_and_reconciling_cut(tmp_path: Path, counted: Count) -> None:
    async with journey(tmp_path) as cutting:
        for step, ways in REPLAYING.items():
            for when, times in ways:
                await cutting.spool_something()
                await cutting.cut(cutting.database, step, when, 1 if when == "after" else times)
        for step in (*RECONCILING, *SWEEPING):
            await cutting.cut_in_all_ways(cutting.database, step)
        await cutting.judge(counted)


@pytest.mark.kills
@pytest.mark.timeout(5 * DEADLINE_SECONDS)
async def test_calls_of_the_exchange_cut(tmp_path: Path, counted: Count) -> None:
    async with journey(tmp_path) as cutting:
        for step in CALLS:
            await cutting.cut_in_all_ways(cutting.exchange, step)
        for when in ("before", "after"):
            await cutting.give_up(cutting.exchange, "place", when)
        await cutting.judge(counted)


def test_every_statement_that_writes_is_cut() -> None:
    writes = {name for text, name in statements_by_text().items() if "INSERT" in text or "UPDATE" in text}

    cut = {
        step.removesuffix(" before its commit") for step in (*PLACING, *NEVER_SENT, *REPLAYING, *RECONCILING, *SWEEPING)
    }

    # These are for a person, for an exchange that comes back, and for orders that are not ours; no client here leaves
    # its order to workers, whose statements the simulation cuts.
    for_a_person = {"lock doubt", "resolve", "close orphan"}
    assert writes - cut == {"reopen", "request cancel", "make due", "keep orphans", "insert queued", *for_a_person}
