"""The way of execution reports under kills: feeds, standbys, processors, the queue, PostgreSQL; then all must be there.

`ORDERTRAIL_TEST_EXECUTION_KILLS` says how many kills there are in all, shared over the three queues.
"""

import asyncio
import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from ordertrail.up.embedded_nats import EmbeddedNats
from simulated_exchange.log import LOG_NAME, read_lines
from tests.journeys.test_kills_under_load import by_count
from tests.support.checker import PLACED_SHARE_MIN
from tests.support.clients import Load, orders, session, until
from tests.support.counts import Count
from tests.support.execution_checker import (
    Logged,
    Position,
    Progress,
    check_executions,
    read_execution_evidence,
    reports_of,
)
from tests.support.postgres import UNREACHABLE
from tests.support.site import DEADLINE_SECONDS, Actor, Site, site
from tests.support.sqs_server import sqs_server

KILLS = int(os.environ.get("ORDERTRAIL_TEST_EXECUTION_KILLS", "30"))
# Of a hundred kills, so many with each queue.
SHARES = {"postgresql": 42, "nats": 40, "sqs": 18}
# Of a hundred kills with one queue.
VICTIMS = {"feed": 34, "processor": 40, "postgres": 13, "queue": 13}

CLIENTS = 2
CLIENT_SECONDS = 5
ENOUGH_PLACED = PLACED_SHARE_MIN + 0.1
ARMED_SECONDS_MAX = 12.0
READ_MAX = 300
VIOLATIONS_SHOWN = 20
INSTRUMENTS = ("AAPL12345678", "MSFT12345678", "NVDA12345678")
DURABLE = {"accepts_within_seconds": 1}
FAULTS = {
    "place": {"accept": 96, "error_after": 2, "reset": 2},
    "late_seconds": 0.7,
    "socket": {
        "gap": 0.05, "duplicate": 0.05, "shuffle": 0.05, "stall": 0.01, "stall_seconds": 2, "cut": 0.02,
        "garbage": 0.02, "unknown_type": 0.05, "stranger": 0.02,
    },
}  # fmt: skip
SETTINGS = {"executions_in_api": False, "sweep_interval_seconds": 5}

FEED_POINTS = ("after_feed_receive", "before_feed_publish", "after_feed_publish", "before_feed_lease")
PROCESSOR_POINTS = ("before_apply_reports", "after_apply_reports")
BROKER_POINTS = (*PROCESSOR_POINTS, "before_acknowledge", "after_acknowledge")


@dataclass(eq=False)
class Way:
    """The processes between the socket and the rows; `kill_queue` None: the queue is not one to be killed."""

    site: Site
    load: Load
    chance: random.Random
    settings: dict[str, object]
    points: tuple[str, ...]
    turn: Callable[[], Awaitable[None]]
    kill_queue: Callable[[], Awaitable[None]] | None
    kills: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)

    async def torment(self, kills: int) -> None:
        """All of them at once; together so many kills."""
        counts = {name: max(1, kills * share // 100) for name, share in VICTIMS.items()}
        if self.kill_queue is None:
            counts["postgres"] += counts.pop("queue")
        counts["processor"] += max(0, kills - sum(counts.values()))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feeds(counts["feed"]))
            group.create_task(self._processors(counts["processor"]))
            group.create_task(self._postgres(counts["postgres"]))
            if self.kill_queue is not None:
                group.create_task(self._queue(counts["queue"], self.kill_queue))
            group.create_task(self._amend(kills))

    async def _feeds(self, count: int) -> None:
        """Always two: the older one dies, at a failpoint or anywhere, or sleeps first; the standby takes over."""
        points = self._points(FEED_POINTS)
        feeds = [await self._start("feed", None), await self._start("feed", next(points))]
        for _ in range(count):
            await self._end("feed", *feeds.pop(0))
            feeds.append(await self._start("feed", next(points)))
        for actor, point in feeds:
            if point is not None:
                await self._end("feed", actor, point)
        await self._start("feed", None)
        await self._start("feed", None)

    async def _processors(self, count: int) -> None:
        points = self._points(self.points)
        processors = [await self._start("processor", None), await self._start("processor", next(points))]
        for _ in range(count):
            await self._end("processor", *processors.pop(0))
            processors.append(await self._start("processor", next(points)))
        await self._start("processor", None)
        for actor, point in processors:
            if point is not None:
                await self._end("processor", actor, point)

    async def _start(self, role: str, point: str | None) -> tuple[Actor, str | None]:
        """A process, killed at its failpoint where it has one."""
        start = self.site.start_feed if role == "feed" else self.site.start_processor
        failpoints = {} if point is None else {"failpoints": point}
        return await start(**self.settings, **failpoints), point

    def _points(self, names: tuple[str, ...]) -> Iterator[str | None]:
        """Every second one dies at a failpoint, of which each comes as often as any other; now and then it sleeps."""
        while True:
            for name in self.chance.sample(names, len(names)):
                action = "stop" if self.chance.random() < 0.25 else "kill"
                yield f"{name}={action}:{self.chance.randint(1, 3)}"
                yield None

    async def _end(self, role: str, actor: Actor, point: str | None) -> None:
        if point is None:
            await self.turn()
            if self.chance.random() < 0.4:
                actor.stop()
                await self._sleep(role, actor)
        else:
            with contextlib.suppress(TimeoutError):
                # One that is only the standby never gets there.
                await until(lambda: actor.is_dead or actor.is_stopped, timeout_seconds=ARMED_SECONDS_MAX)
            if actor.is_stopped:
                await self._sleep(role, actor)
        name = f"{role} at {point.partition('=')[0]}" if point is not None and actor.is_dead else role
        if actor.is_dead:
            assert actor.was_killed, actor.program.stderr
        else:
            actor.program.process.kill()
        await actor.gone()
        self.kills[name] += 1

    async def _sleep(self, role: str, actor: Actor) -> None:
        """Longer than its lease, so that another owns the feed when it wakes."""
        self.stops[role] += 1
        await self.turn()
        if role == "feed":
            await self._until_another_owns()
        actor.wake()
        await self.turn()

    async def _until_another_owns(self) -> None:
        before = await self._owner()

        async def is_another() -> bool:
            return await self._owner() not in (before, None)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ARMED_SECONDS_MAX):
                while not await is_another():  # noqa: ASYNC110 - another process takes over
                    await asyncio.sleep(0.1)

    async def _owner(self) -> Any:
        with contextlib.suppress(*UNREACHABLE):
            return await self.site.fetch_value("SELECT holder FROM feeds WHERE leased_until > clock_timestamp()")
        return None

    async def _postgres(self, count: int) -> None:
        for _ in range(count):
            await self.turn()
            await self.turn()
            await self.site.kill_postgres()
            self.kills["postgres"] += 1
            await self.site.start_postgres()

    async def _queue(self, count: int, kill: Callable[[], Awaitable[None]]) -> None:
        for _ in range(count):
            await self.turn()
            await self.turn()
            await kill()
            self.kills["queue"] += 1

    async def _amend(self, count: int) -> None:
        """Trades are busted and corrected, and open orders expire, while all that goes on."""
        for number in range(count):
            await self.turn()
            await amend(self.site.exchange.program.url, self.chance, number)


async def amend(exchange_url: str, chance: random.Random, number: int) -> None:
    """One thing of those that happen at an exchange beside trades, if there is anything that it can happen to."""
    async with aiohttp.ClientSession(exchange_url) as client:
        async with client.get("/v1/executions?limit=10000") as response:
            reports = (await response.json())["executions"]
        trades = [report for report in reports if report["exec_type"] == "trade"]
        if not trades:
            return
        trade = chance.choice(trades)
        if number % 4 == 3:
            body, path = {"client_order_id": trade["client_order_id"]}, "expire"
        elif number % 4 == 2:
            body, path = {"exec_id": trade["exec_id"], "exec_type": "trade_cancel"}, "executions"
        else:
            last_px = f"{100 + chance.randint(0, 700) / 100:.2f}"
            body = {
                "exec_id": trade["exec_id"],
                "exec_type": "trade_correct",
                "last_qty": 1 + number,
                "last_px": last_px,
            }
            path = "executions"
        async with client.post(f"/v1/faults/{path}", json=body) as response:
            assert response.status in {202, 404, 409}, await response.text()


@contextlib.asynccontextmanager
async def postgresql(_folder: Path) -> AsyncIterator[tuple[str | None, Callable[[], Awaitable[None]] | None]]:
    """The queue that is in the database."""
    yield None, None


@contextlib.asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[tuple[str | None, Callable[[], Awaitable[None]] | None]]:
    """JetStream, with all that it acknowledged on the disk."""
    server = EmbeddedNats(folder / "nats")
    await asyncio.to_thread(server.start)

    async def kill() -> None:
        await asyncio.to_thread(server.stop_now)
        await asyncio.to_thread(server.start)

    try:
        yield server.url, kill
    finally:
        await asyncio.to_thread(server.stop_now)


@contextlib.asynccontextmanager
async def sqs(_folder: Path) -> AsyncIterator[tuple[str | None, Callable[[], Awaitable[None]] | None]]:
    """A server in this process, as strict as Amazon's; it forgets all when it ends, so it is not killed."""
    async with sqs_server() as (server, _end):
        yield f"sqs+http://key:secret@{server.url.removeprefix('http://')}/reports.fifo", None


QUEUES = {"postgresql": postgresql, "nats": nats, "sqs": sqs}


@pytest.mark.kills
@pytest.mark.timeout(5 * DEADLINE_SECONDS)
@pytest.mark.parametrize("queue", QUEUES)
async def test_everything_on_the_way_of_reports_is_killed(queue: str, tmp_path: Path, counted: Count) -> None:
    chance = random.Random(queue)
    kills = max(4, KILLS * SHARES[queue] // sum(SHARES[name] for name in QUEUES))
    async with contextlib.AsyncExitStack() as stack:
        place = stack.enter_context(site(tmp_path, profile=DURABLE, faults=FAULTS, **SETTINGS))
        url, kill_queue = await stack.enter_async_context(QUEUES[queue](tmp_path))
        await place.start_api(reconcile_in_api=True)
        client = await stack.enter_async_context(session(timeout_seconds=CLIENT_SECONDS))
        load = Load(client, orders(INSTRUMENTS, prefix="load"), place.doors, chance, clients=CLIENTS)
        settings: dict[str, object] = {} if url is None else {"queue_url": url}
        points = PROCESSOR_POINTS if url is None else BROKER_POINTS
        way = Way(place, load, chance, settings, points, by_count(load, chance), kill_queue)
        async with asyncio.TaskGroup() as group:
            placing = group.create_task(load.run())
            await way.torment(kills)
            await until(lambda: load.placed >= ENOUGH_PLACED * load.begun, timeout_seconds=DEADLINE_SECONDS)
            load.is_ending = True
            await placing
        place.end_exchange_faults()
        await place.settle()
        violations, counts = await until_all_is_there(place)
        report = place.report(await place.evidence(), load.answers)

    counted({**way.kills, **counts, **report.counts, "kills": way.kills.total(), "stops": way.stops.total()})
    assert way.kills.total() >= kills
    assert not violations, "\n".join(violations[:VIOLATIONS_SHOWN])
    report.assert_safe(hits={"trades": counts["reports trade"], "busts": counts["reports trade_cancel"]})


async def until_all_is_there(place: Site) -> tuple[list[str], Counter[str]]:
    """What is violated still at the deadline: nothing tells that the last report is applied but the rows themselves."""
    checked: tuple[list[str], Counter[str]] = (["it was never looked at"], Counter())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_SECONDS):
            while checked[0]:
                await asyncio.sleep(0.5)
                checked = await review(place, with_answers=False)
    return await review(place, with_answers=True)


async def review(place: Site, *, with_answers: bool) -> tuple[list[str], Counter[str]]:
    """The exchange's log, the rows, and what a reader is told."""
    reports = list(reports_of(line for _, line in read_lines(place.folder / "exchange" / LOG_NAME)))
    answers = await read_answers(place, reports) if with_answers else {}
    connection = await asyncpg.connect(place.postgres.url, timeout=DEADLINE_SECONDS)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            evidence = await read_execution_evidence(connection, **answers)
    finally:
        await connection.close()
    # Until a report of nobody's order is given up, more than a minute passes.
    return check_executions(reports, replace(evidence, orphans=None))


async def read_answers(place: Site, reports: list[Logged]) -> dict[str, Any]:
    """Progress and positions as our API tells them."""
    [door] = [door for door in place.doors() if door.is_open]
    ids = list(dict.fromkeys(report.order_id for report in reports if not report.order_id.startswith("stranger")))
    progress: dict[str, Progress] = {}
    positions: dict[str, Position] = {}
    async with aiohttp.ClientSession(door.url) as client:
        for order_id in ids[-READ_MAX:]:
            async with client.get(f"/orders/{order_id}") as response:
                if response.status == 404:
                    continue
                body = json.loads(await response.read(), parse_float=Decimal)
            progress[order_id] = Progress(
                body["cum_qty"],
                body["leaves_qty"],
                _decimal(body["avg_px"]),
                body["is_live"],
                body["executions_complete"],
            )
        path: str | None = "/positions"
        while path is not None:
            async with client.get(path) as response:
                page = await response.json()
            for each in page["positions"]:
                positions[each["instrument"]] = Position(
                    each["buy_qty"], _decimal(each["buy_avg_px"]), each["sell_qty"], _decimal(each["sell_avg_px"])
                )
            path = None if page["next_cursor"] is None else f"/positions?cursor={page['next_cursor']}"
    return {"progress": progress, "positions": positions}


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
