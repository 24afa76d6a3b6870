"""Everything is killed and stopped while clients place orders, at failpoints and at any moment; then all must settle.

`ORDERTRAIL_KILLS` says how many kills there are in all (the default is for a quick look); a long run has
`ORDERTRAIL_SOAK_ORDERS`, and kills at intervals until so many orders were placed.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.support.checker import PLACED_SHARE_MIN, Evidence
from tests.support.clients import Load, orders, session, until
from tests.support.counts import Count
from tests.support.site import DEADLINE_SECONDS, FORGIVES_NOTHING, Actor, Site, site

KILLS = int(os.environ.get("ORDERTRAIL_KILLS", "30"))
KILLS_AT_ONCE_MAX = 40
SOAK_ORDERS = int(os.environ.get("ORDERTRAIL_SOAK_ORDERS", "0"))
# Between two blows: with those that wake what was stopped, a kill comes every 1 to 5 s.
SOAK_SECONDS = (0.5, 3.0)
SOAK_CLIENTS = 16
SOAK_SECONDS_MAX = 2 * 3600

JOURNEYS = -(-KILLS // KILLS_AT_ONCE_MAX)
# Few, for what most of the time goes into is starting what was killed.
CLIENTS = 6
CLIENT_SECONDS = 5
NOTICED = 3
WAIT_SECONDS_MAX = 5
# More than the checker demands, so that a slow machine's orders are enough too.
ENOUGH_PLACED = PLACED_SHARE_MIN + 0.1
LAST_ORDERS = 5

# Of a hundred kills of one journey.
SHARES = {"postgres": 24, "backend": 4, "exchange": 10, "api failpoint": 24, "api": 10, "worker": 10}
SHARES |= {"reconcile failpoint": 12, "reconcile": 6}

PLAIN = "AAPL12345678"
INSTRUMENTS = (PLAIN,) * 9 + ("FAULTREFUSE0", "FAULTLATE000", "FAULTRESET00")
FAULTS = {
    "place": {"accept": 86, "closed": 4, "throttle": 1, "error_before": 3, "error_after": 2, "reset": 2, "garbage": 1},
    "ask": {"no_answer": 0.1},
    "late_seconds": 0.7,
}
DURABLE = {"accepts_within_seconds": 1}

# The latest pass at which each acts: often passed ones in the middle of the load, the others as soon as they come.
API_POINTS = {
    "before_initiated": 8,
    "after_initiated": 8,
    "before_send": 8,
    "after_send": 8,
    "before_query": 2,
    "after_query": 2,
    "before_completed": 8,
    "after_completed": 8,
    "before_failure": 3,
    "after_failure": 3,
}
RECONCILE_POINTS = {"after_lease": 10, "before_apply": 4, "after_claim": 2, "after_resend": 2, "after_answer": 2}


@dataclass(eq=False)
class Torment:
    """What is done to one installation; each of its processes is tormented on its own, so that faults meet."""

    site: Site
    load: Load
    chance: random.Random
    turn: Callable[[], Awaitable[None]]
    is_over: Callable[[], bool]
    kills: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    sleepers: list[Actor] = field(default_factory=list)

    async def at_failpoints(
        self, name: str, start: Callable[..., Awaitable[Actor]], arms: Iterable[tuple[str, str, int]]
    ) -> None:
        """One process after the other, each killed or stopped where it was told to."""
        for point, action, number in arms:
            if self.is_over():
                break
            await self.turn()
            actor = await start(failpoints=f"{point}={action}:{number}")
            await until(lambda actor=actor: actor.is_dead or actor.is_stopped, timeout_seconds=DEADLINE_SECONDS)  # type: ignore[misc]
            if action == "kill":
                assert actor.was_killed, actor.program.stderr
            else:
                self.stops[f"{name} at {point}"] += 1
                actor.lose_clients()
                if self.chance.random() < 0.5:
                    self.sleepers.append(actor)
                    continue
                await self.turn()
                actor.wake()
                await self.turn()
                await actor.kill()
            await actor.gone()
            self.kills[name if action == "stop" else f"{name} at {point}"] += 1

    async def anywhere(self, name: str, start: Callable[..., Awaitable[Actor]], count: int) -> None:
        """Killed, and now and then stopped for a while first."""
        actor = await start()
        for number in range(count):
            await self.turn()
            if self.is_over():
                break
            if number % 2:
                actor.stop()
                self.stops[name] += 1
                await self.turn()
                actor.wake()
                await self.turn()
            await actor.kill()
            self.kills[name] += 1
            actor = await start()

    async def workers(self, count: int) -> None:
        """Those of a process that replaces them; last the one that replaces them."""
        actor = await self.site.start_api("--workers", "2")
        for number in range(count):
            await self.turn()
            if self.is_over():
                break
            await until(lambda actor=actor: actor.is_dead or actor.workers(), timeout_seconds=DEADLINE_SECONDS)  # type: ignore[misc]
            if number == count - 1 or actor.is_dead:
                await self._parent(actor)
                actor = await self.site.start_api("--workers", "2")
                continue
            worker = actor.workers()[0]
            if number % 2:
                worker.suspend()
                self.stops["worker"] += 1
                await self.turn()
                worker.resume()
            worker.kill()
            self.kills["worker"] += 1
            await until(lambda worker=worker: is_gone(worker), timeout_seconds=DEADLINE_SECONDS)  # type: ignore[misc]

    async def _parent(self, actor: Actor) -> None:
        """The workers, left alone, end by themselves; it may have ended, too, if one died before it was ready."""
        orphans = [] if actor.is_dead else actor.workers()
        if not actor.is_dead:
            actor.program.send_signal(signal.SIGKILL)
            self.kills["parent of workers"] += 1
        actor.lose_clients()
        await until(lambda: all(map(is_gone, orphans)), timeout_seconds=DEADLINE_SECONDS)
        await actor.gone()

    async def postgres(self, count: int, backends: int) -> None:
        """The postmaster, so that it recovers; some of its backends, which makes it restart all of them."""
        victims = ["postgres"] * count + ["backend"] * backends
        self.chance.shuffle(victims)
        for number, victim in enumerate(victims):
            await self.turn()
            await self.turn()
            if self.is_over():
                break
            if victim == "backend":
                await self._backend(is_stopped_first=number % 2 == 1)
                continue
            await self.site.kill_postgres()
            self.kills["postgres"] += 1
            if number % 4 == 3:
                await self._noticed()
            await self.site.start_postgres()

    async def _noticed(self) -> None:
        """Some clients were told that something is wrong, or had to wait so long that they gave up."""
        start = len(self.load.answers)
        with contextlib.suppress(TimeoutError):
            await until(
                lambda: sum(answer.status != 201 for answer in self.load.answers[start:]) >= NOTICED,
                timeout_seconds=WAIT_SECONDS_MAX,
            )

    async def _backend(self, *, is_stopped_first: bool) -> None:
        found: list[psutil.Process] = []

        def check() -> bool:
            found[:] = self.site.backends()
            return bool(found)

        while True:
            await until(check, timeout_seconds=DEADLINE_SECONDS)
            backend = self.chance.choice(found)
            with contextlib.suppress(psutil.NoSuchProcess):  # for connections come and go
                if is_stopped_first:
                    backend.suspend()
                    self.stops["backend"] += 1
                    await self.turn()
                    backend.resume()
                backend.kill()
                self.kills["backend"] += 1
                return

    async def exchange(self, count: int) -> None:
        """With its memory of what it had accepted on disk."""
        for number in range(count):
            await self.turn()
            if self.is_over():
                break
            if number % 2:
                self.site.exchange.stop()
                self.stops["exchange"] += 1
                await self._noticed()
                self.site.exchange.wake()
                await self.turn()
            await self.site.kill_exchange()
            self.kills["exchange"] += 1


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def arms(chance: random.Random, points: dict[str, int], count: int) -> Iterator[tuple[str, str, int]]:
    """So many kills, at every point as often as at any other, in any order; and a stop after every second."""
    names: list[str] = []
    for number in range(count + count // 2):
        names = names or chance.sample(sorted(points), len(points))
        point = names.pop()
        yield point, "stop" if number % 3 == 2 else "kill", chance.randint(1, points[point])


async def torment_all(torment: Torment, kills: int) -> None:
    """All of it at once; together so many kills."""
    chance = torment.chance
    counts = {name: max(1, kills * share // 100) for name, share in SHARES.items()}
    counts["postgres"] += max(0, kills - sum(counts.values()))
    start_api, start_reconciler = torment.site.start_api, torment.site.start_reconciler
    api_arms = arms(chance, API_POINTS, counts["api failpoint"])
    reconcile_arms = arms(chance, RECONCILE_POINTS, counts["reconcile failpoint"])
    async with asyncio.TaskGroup() as group:
        group.create_task(torment.at_failpoints("reconcile", start_reconciler, reconcile_arms))
        group.create_task(torment.anywhere("reconcile", start_reconciler, counts["reconcile"]))
        for _ in range(2):
            group.create_task(torment.at_failpoints("api", start_api, api_arms))
        group.create_task(torment.anywhere("api", start_api, counts["api"]))
        group.create_task(torment.workers(counts["worker"]))
        group.create_task(torment.postgres(counts["postgres"], counts["backend"]))
        group.create_task(torment.exchange(counts["exchange"]))


async def until_settled(torment: Torment) -> Evidence:
    """The load ends once enough is placed and all is answered for good; then everything must heal by itself."""
    site, load = torment.site, torment.load
    await until(lambda: load.placed >= ENOUGH_PLACED * load.begun, timeout_seconds=DEADLINE_SECONDS)
    load.is_ending = True
    await load.until_finished(timeout_seconds=DEADLINE_SECONDS)
    # Whoever slept through all of this wakes only now, in the middle of what it was doing.
    for sleeper in torment.sleepers:
        sleeper.wake()
    site.end_exchange_faults()
    for door in [door for door in site.doors() if door.is_open]:
        await load.until_it_places(door, orders((PLAIN,), prefix=f"last-{door.url}"), LAST_ORDERS)
    await site.settle()
    await load.repeat_all()
    await site.settle()
    return await site.evidence()


def by_count(load: Load, chance: random.Random) -> Callable[[], Awaitable[None]]:
    """The next blow comes after some more orders were placed, or when nothing has been for so long."""

    async def turn() -> None:
        target = load.placed + chance.randint(1, 12)
        with contextlib.suppress(TimeoutError):
            await until(lambda: load.placed >= target, timeout_seconds=WAIT_SECONDS_MAX)

    return turn


def by_time(chance: random.Random) -> Callable[[], Awaitable[None]]:
    """One blow at a time, with a pause before each."""
    one = asyncio.Lock()

    async def turn() -> None:
        async with one:
            await asyncio.sleep(chance.uniform(*SOAK_SECONDS))

    return turn


@pytest.mark.kills
@pytest.mark.timeout(5 * DEADLINE_SECONDS)
@pytest.mark.parametrize("journey", range(JOURNEYS))
async def test_everything_killed_while_orders_are_placed(journey: int, tmp_path: Path, counted: Count) -> None:
    chance = random.Random(journey)
    kills = KILLS // JOURNEYS + (journey < KILLS % JOURNEYS)
    profile = DURABLE if journey % 3 == 2 else FORGIVES_NOTHING
    with site(tmp_path, profile=profile, faults=FAULTS) as place:
        async with session(timeout_seconds=CLIENT_SECONDS) as client, asyncio.TaskGroup() as group:
            load = Load(client, orders(INSTRUMENTS, prefix="load"), place.doors, chance, clients=CLIENTS)
            torment = Torment(place, load, chance, by_count(load, chance), is_over=lambda: False)
            placing = group.create_task(load.run())
            await torment_all(torment, kills)
            evidence = await until_settled(torment)
            await placing

    assert torment.kills.total() >= kills
    judge(torment, evidence, counted)


@pytest.mark.skipif(not SOAK_ORDERS, reason="ORDERTRAIL_SOAK_ORDERS says how many orders")
@pytest.mark.kills
@pytest.mark.timeout(SOAK_SECONDS_MAX)
async def test_soak(tmp_path: Path, counted: Count) -> None:
    chance = random.Random()
    with site(tmp_path, faults=FAULTS) as place:
        async with session(timeout_seconds=CLIENT_SECONDS) as client, asyncio.TaskGroup() as group:
            load = Load(client, orders(INSTRUMENTS, prefix="soak"), place.doors, chance, clients=SOAK_CLIENTS)
            torment = Torment(place, load, chance, by_time(chance), is_over=lambda: load.begun >= SOAK_ORDERS)
            placing = group.create_task(load.run())
            await torment_all(torment, SOAK_SECONDS_MAX)
            evidence = await until_settled(torment)
            await placing

    judge(torment, evidence, counted)


def judge(torment: Torment, evidence: Evidence, counted: Count) -> None:
    """Both halves of the checker, and that what was meant to happen did."""
    report = torment.site.report(evidence, torment.load.answers)
    reasons = Counter((row.reason or "").partition(":")[0] for row in evidence.rows if row.status != "COMPLETED")
    happened = {
        **{f"killed {name}": count for name, count in torment.kills.items()},
        **{f"stopped {name}": count for name, count in torment.stops.items()},
        "unknown answers": reasons["unknown"],
        "orders not sent": reasons["not_sent"],
        "orders sent again": len({order_id for order_id, _ in evidence.attempts}),
        "orders found by asking": sum(row.reason == "verified" for row in evidence.rows),
    }
    counted(
        {
            "kills": torment.kills.total(),
            "kills of postgres": torment.kills["postgres"],
            "stops": torment.stops.total(),
            **happened,
            **report.counts,
        }
    )
    planned = {f"killed {name}": 0 for name in ("postgres", "backend", "exchange", "api", "worker", "reconcile")}
    report.assert_safe(hits=planned | happened)
