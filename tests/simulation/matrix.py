"""Every single fault, and pairs of them, at every step of a few short stories.

A story is told once without faults, which numbers its crossings: each request to the database or the exchange, and
each failpoint. Then it is told again and again, each time with one fault at one crossing, or two.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from ordertrail.runtime.telemetry import metrics
from ordertrail.venues.venue import Reports
from simulated_exchange.faults import Faults, PlaceWeights, SocketFaults
from simulated_exchange.occurrences import Amendment
from tests.simulation.chaos import ALL_PROFILES, EXCHANGE_FAULTS, SOCKET_FAULTS, Chaos, Plan, may_hold_long
from tests.simulation.clients import Clients
from tests.simulation.evidence import evidence_of, unfounded_claims
from tests.simulation.execution_evidence import check_way, reports
from tests.simulation.loop import NothingLeft
from tests.simulation.network import Passage, with_fault
from tests.simulation.occurrences import occur
from tests.simulation.run import invariants_broken, settle, silence
from tests.simulation.site import EXECUTION_FAILPOINTS, SETTINGS, Site
from tests.simulation.sockets import SocketFrame
from tests.support.checker import check, check_settled

STORY_SECONDS = 30.0
CROSSINGS_MAX = 80

DATABASE_KINDS = (
    "refused", "lost_request", "lost_answer", "error", "hangs", "away", "killed before", "killed after", "stopped",
)  # fmt: skip
EXCHANGE_KINDS = (
    "refused", "lost_request", "lost_answer", "silent_request", "silent_answer", "held", "away", "exchange killed",
    "killed before", "killed after", "stopped",
)  # fmt: skip
FAILPOINT_KINDS = ("killed here", "stopped")
SOCKET_KINDS = ("cut", "silent", "slow", "exchange killed", *SOCKET_FAULTS)
BROKER_KINDS = (
    "refused", "lost_request", "lost_answer", "away", "wiped", "killed before", "killed after", "stopped",
)  # fmt: skip
# In stories that are about execution reports, only these are crossings, and each is one so many times: the rest is told
# in the other stories, or comes again and again with nothing to do.
WAY = frozenset(
    {
        "put_at_tail", "put_in_inbox", "apply_inbox", "apply_reports", "begin_epoch", "newest_epoch", "tail", "publish",
        "acknowledge", "frame", "follow", "report_page", *EXECUTION_FAILPOINTS,
    }
)  # fmt: skip
IDLE = frozenset({"before_apply_reports", "apply_inbox", "after_apply_reports"})
PASSES_MAX = 4


@dataclass(frozen=True)
class Crossing:
    """Where something may go wrong: its number, `database`, `exchange` or `failpoint`, and what is done."""

    number: int
    where: str
    what: str

    def kinds(self) -> tuple[str, ...]:
        """What may go wrong here."""
        if self.where == "database":
            return (*DATABASE_KINDS, "wiped") if self.what.startswith("put_") else DATABASE_KINDS
        if self.where == "failpoint":
            return FAILPOINT_KINDS
        if self.where == "socket":
            return SOCKET_KINDS
        if self.where == "broker":
            return BROKER_KINDS
        return EXCHANGE_KINDS + (EXCHANGE_FAULTS if self.what == "place" else ())


class Script:
    """Fates without dice: at the numbered crossings what was ordered happens, everywhere else nothing does."""

    def __init__(self, site: Site, faults: Mapping[int, str], *, holds_long: bool) -> None:
        self._site = site
        self._faults = faults
        self._holds_long = holds_long
        self.crossings: list[Crossing] = []
        self.hits: Counter[str] = Counter()
        self._passes: Counter[str] = Counter()
        self._has_work = False
        self.is_healed = False
        self.is_database_away = False
        self.is_broker_away = False

    def database(self, operation: str) -> Passage:
        kind = self._cross("database", operation)
        if self.is_database_away:
            return Passage(refused=True, back_seconds=0.01)
        passage = Passage(0.004, 0.004)
        match kind:
            case None:
                return passage
            case "hangs":
                return Passage(3 * SETTINGS.database_timeout_seconds, 0.004, starts_before=0.5)
            case "away":
                self._for_a_while("is_database_away")
                return with_fault(passage, "lost_answer")
            case "wiped":
                self._site.loop.call_later(0.005, self._site.wipe_queue, context=self._site.world)
                return passage
            case "killed before" | "killed after" | "stopped":
                self._process_fault(kind, 0.002, 0.006)
                return passage
            case _:
                return with_fault(passage, kind)

    def exchange(self, call: str) -> Passage:
        kind = self._cross("exchange", call)
        if not self._site.exchange.takes(call):
            return Passage(refused=True, back_seconds=0.002)
        passage = Passage(0.01, 0.01)
        match kind:
            case None:
                return passage
            case "held":
                seconds = 30.0 if self._holds_long else 0.9 * SETTINGS.exchange_timeout_seconds
                return Passage(self._site.hold(seconds), 0.01)
            case "away" | "exchange killed":
                self._site.loop.call_later(0.012, self._exchange_leaves, kind, context=self._site.world)
                return passage
            case "killed before" | "killed after" | "stopped":
                self._process_fault(kind, 0.005, 0.015)
                return passage
            case str() if kind in EXCHANGE_FAULTS:
                self._next_place(kind)
                return passage
            case _:
                return with_fault(passage, kind)

    def frame(self, frame: SocketFrame) -> float | str:
        kind = self._cross("socket", "frame") if isinstance(frame, Reports) else None
        if not self._site.exchange.is_up:
            return "silent"
        match kind:
            case "cut" | "silent":
                return kind
            case "slow":
                return 5.0
            case "exchange killed":
                self._site.loop.call_soon(self._exchange_leaves, kind, context=self._site.world)
            case str():
                self._next_frame(kind)
            case None:
                pass
        return 0.01

    def broker(self, call: str) -> Passage:
        kind = self._cross("broker", call)
        if self.is_broker_away:
            return Passage(refused=True, back_seconds=0.01)
        passage = Passage(0.004, 0.004)
        match kind:
            case None:
                return passage
            case "away":
                self._for_a_while("is_broker_away")
                return with_fault(passage, "lost_answer")
            case "wiped":
                assert self._site.broker is not None
                self._site.loop.call_later(0.01, self._site.broker.wipe, context=self._site.world)
                return passage
            case "killed before" | "killed after" | "stopped":
                self._process_fault(kind, 0.002, 0.006)
                return passage
            case _:
                return with_fault(passage, kind)

    def at_failpoint(self, name: str) -> bool:
        kind = self._cross("failpoint", name)
        if kind == "stopped":
            self._process_fault(kind, 0.0, 0.0)
        return kind == "killed here"

    def _cross(self, where: str, what: str) -> str | None:
        if self.is_healed or not self._counts(what):
            return None
        number = len(self.crossings)
        self.crossings.append(Crossing(number, where, what))
        kind = self._faults.get(number)
        if kind is not None:
            self.hits[f"{where}: {kind}"] += 1
            self._site.note("fault", f"{number} {where} {what} {kind}")
        return kind

    def _counts(self, what: str) -> bool:
        """Whether a passage is a crossing, in a story about execution reports."""
        site = self._site
        if site.queue is None:
            return True
        if what == "before_apply_reports":
            self._has_work = site.queue != "inbox" or bool(site.database.tables.reports.inbox)
        if what not in WAY or (what in IDLE and not self._has_work):
            return False
        self._passes[what] += 1
        return self._passes[what] <= PASSES_MAX

    def _process_fault(self, kind: str, before: float, after: float) -> None:
        """The process that crosses dies or stands still: before its request has effect, or after, untold."""
        site = self._site
        member = site.current_member()
        if member is None:
            return
        if kind == "stopped":
            site.loop.call_soon(site.loop.stop_process, member.process, context=site.world)
            site.loop.call_later(25.0, site.loop.continue_process, member.process, context=site.world)
        else:
            seconds = before if kind == "killed before" else after
            site.loop.call_later(seconds, site.kill, member, context=site.world)

    def _for_a_while(self, name: str) -> None:
        setattr(self, name, True)
        self._site.loop.call_later(5.0, setattr, self, name, False, context=self._site.world)

    def _exchange_leaves(self, kind: str) -> None:
        exchange, loop = self._site.exchange, self._site.loop
        if kind == "away":
            exchange.is_out_of_reach = True
            loop.call_later(5.0, setattr, exchange, "is_out_of_reach", False, context=self._site.world)
        else:
            exchange.kill()
            loop.call_later(5.0, exchange.start, context=self._site.world)

    def _next_place(self, kind: str) -> None:
        """The request that is on its way meets this fault, and no other does."""
        exchange, loop = self._site.exchange.exchange, self._site.loop
        weights = PlaceWeights(**{kind: 1.0})
        before = exchange.faults
        faulty = Faults(place=weights, late_seconds=4.0)
        loop.call_later(0.009, exchange.set_faults, faulty, context=self._site.world)
        loop.call_later(0.011, exchange.set_faults, before, context=self._site.world)

    def _next_frame(self, kind: str) -> None:
        """The next frame of reports meets this fault of the exchange's, and no other does."""
        exchange, loop = self._site.exchange.exchange, self._site.loop
        exchange.set_faults(Faults(socket=SocketFaults(**{kind: 1.0})))
        loop.call_later(3.0, exchange.set_faults, Faults(), context=self._site.world)


Story = Callable[[Site, Clients], Awaitable[None]]
LIMIT: dict[str, Any] = {
    "type": "limit", "side": "buy", "instrument": "AAPL12345678", "limit_price": 100, "quantity": 2,
}  # fmt: skip


async def _repeat(clients: Clients, order: dict[str, Any], key: str, times: int = 4) -> Any:
    answer = await clients.post_to(clients.some_member(), order, key)
    for _ in range(times):
        if answer.status == 201 or (answer.status == 500 and not answer.body.get("retryable")):
            break
        await asyncio.sleep(3)
        answer = await clients.post_to(clients.some_member(), order, key)
    return answer


async def happy(site: Site, clients: Clients) -> None:
    """An order with a key, repeated until it has an end."""
    await _repeat(clients, LIMIT, "k")


async def closed_at_first(site: Site, clients: Clients) -> None:
    """An order that the exchange does not take at first, and that is sent again."""
    site.exchange.exchange.set_faults(Faults(place=PlaceWeights(closed=1.0)))
    site.loop.call_later(2.0, site.exchange.exchange.set_faults, Faults(), context=site.world)
    await _repeat(clients, LIMIT, "k")


async def in_doubt(site: Site, clients: Clients) -> None:
    """An order whose answer is lost, as is the one to the question after it."""
    site.exchange.exchange.set_faults(Faults(place=PlaceWeights(reset=1.0)))
    site.loop.call_later(1.0, site.exchange.exchange.set_faults, Faults(), context=site.world)
    await _repeat(clients, LIMIT, "k")


async def canceled(site: Site, clients: Clients) -> None:
    """An order that never arrived and is canceled while it waits, and one that is live and is canceled."""
    site.exchange.exchange.set_faults(Faults(place=PlaceWeights(error_before=1.0)))
    site.loop.call_later(1.0, site.exchange.exchange.set_faults, Faults(), context=site.world)
    answer = await clients.post_to(clients.some_member(), LIMIT, "k")
    if answer.order_id is not None:
        await clients.cancel(answer.order_id)
    answer = await _repeat(clients, LIMIT, "live")
    if answer.order_id is not None:
        await clients.cancel(answer.order_id)


async def market_and_twins(site: Site, clients: Clients) -> None:
    """A market order without a key, and one key twice at once."""
    market = {name: LIMIT[name] for name in ("side", "instrument", "quantity")} | {"type": "market"}
    await asyncio.gather(
        clients.post_to(clients.some_member(), market),
        _repeat(clients, LIMIT, "twin"),
        _repeat(clients, LIMIT, "twin"),
    )


async def traded(site: Site, clients: Clients) -> None:
    """An order that is traded with in parts, busted, and canceled; one whose request learns nothing of its fill."""
    exchange = site.exchange
    sell = LIMIT | {"side": "sell", "quantity": 1}
    answer = await _repeat(clients, LIMIT, "buy")
    await _repeat(clients, sell, "sell")
    trade = next((each for each in reports(site) if each.exec_type == "trade"), None)
    if trade is not None and exchange.process.is_alive:
        occur(site, Amendment(exec_id=trade.exec_id, exec_type="trade_cancel"))
    exchange.exchange.set_faults(Faults(place=PlaceWeights(lost=1.0)))
    site.loop.call_later(1.0, exchange.exchange.set_faults, Faults(), context=site.world)
    await _repeat(clients, sell | {"limit_price": 99}, "lost", times=1)
    if answer.order_id is not None:
        await clients.cancel(answer.order_id)


STORIES: dict[str, Story] = {
    story.__name__: story for story in (happy, closed_at_first, in_doubt, canceled, market_and_twins)
}
# These have a feed and processors.
EXECUTION_STORIES: dict[str, Story] = {story.__name__: story for story in (traded,)}


@dataclass(frozen=True)
class Case:
    """A story on a venue with these promises, with these faults at these crossings."""

    story: str
    profile: str
    faults: tuple[tuple[int, str], ...]
    queue: str | None = None


@dataclass
class Played:
    """What came of a case."""

    violations: list[str]
    crossings: list[Crossing]
    hits: Counter[str]
    trace: list[str]
    placed: int


def play(case: Case, *, keep_trace: bool = False) -> Played:
    """Tell the story once."""
    silence()
    profile = ALL_PROFILES[case.profile]
    random = Random(7)
    site = Site(random, profile=profile, faults=Faults(), queue=case.queue)
    if keep_trace:
        site.trace = []
    clients = Clients(site)
    script = Script(site, dict(case.faults), holds_long=may_hold_long(profile))
    chaos = Chaos(site, Plan(case.profile, queue=case.queue), fates=script)
    before = invariants_broken()
    violations: list[str] = []

    async def story() -> None:
        chaos.start_all()
        chaos.begin()
        await asyncio.sleep(0.5)
        await {**STORIES, **EXECUTION_STORIES}[case.story](site, clients)
        await asyncio.sleep(max(0.0, STORY_SECONDS - site.loop.time()))
        await chaos.heal()
        await settle(site)

    with site.in_place():
        try:
            site.loop.run_until_complete(story())
        except NothingLeft:
            violations.append("everybody waits for something that cannot come")
        evidence = evidence_of(site)
        report, settled = check(evidence, clients.answers), check_settled(evidence, clients.answers)
        violations += dict.fromkeys([*report.violations, *settled.violations, *unfounded_claims(site)])
        if site.queue is not None:
            violations += check_way(site)[0]
        if invariants_broken() != before:
            violations.append("the service counted a broken invariant of its own")
    return Played(violations, script.crossings, script.hits, site.trace or [], report.counts["placed"])


def singles(story: str, profile: str, *, queue: str | None = None) -> Iterator[Case]:
    """Every single fault at every crossing of a story."""
    calm = play(Case(story, profile, (), queue))
    assert not calm.violations, calm.violations
    for crossing in calm.crossings[:CROSSINGS_MAX]:
        for kind in crossing.kinds():
            yield Case(story, profile, ((crossing.number, kind),), queue)


def pairs(story: str, profile: str, *, share: int, of: int, queue: str | None = None) -> Iterator[Case]:
    """Pairs of faults; share number `share` of `of`, so that all of them are told in so many runs.

    The second fault is at a crossing of the story as the first has changed it.
    """
    number = 0
    for first in singles(story, profile, queue=queue):
        (at, _), *_ = first.faults
        changed: list[Crossing] | None = None
        for ahead in range(1, CROSSINGS_MAX):
            number += 1
            if number % of != share:
                continue
            if changed is None:
                changed = play(first).crossings
            if at + ahead >= len(changed):
                break
            crossing = changed[at + ahead]
            for kind in crossing.kinds():
                yield Case(story, profile, (*first.faults, (crossing.number, kind)), queue)


def all_shares(names: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every story on every kind of venue."""
    return product(STORIES, names)


__all__ = ["STORIES", "Case", "Played", "all_shares", "metrics", "pairs", "play", "singles"]
