"""One run: a seed becomes a plan, clients place orders while it goes wrong, all is healed, all is checked."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import structlog

from ordertrail.reconciliation.sweep import LEASE_SECONDS
from ordertrail.runtime.telemetry import metrics
from tests.simulation.chaos import ALL_PROFILES, Chaos, Plan, draw_plan
from tests.simulation.clients import LARGE_PRICES, PRICES, Clients
from tests.simulation.event_reader import check_events, has_all
from tests.simulation.evidence import evidence_of, is_settled, sent_while_halted, unclaimed_sends, unfounded_claims
from tests.simulation.execution_evidence import check_way, is_all_applied, is_all_tried, wrongly_compared
from tests.simulation.execution_members import compare
from tests.simulation.followers import Followers, check_advice
from tests.simulation.loop import NothingLeft
from tests.simulation.site import SETTINGS, Site
from tests.support.checker import ClientAnswer, check, check_settled

TROUBLE_SECONDS = 40.0
# Every deadline there is, the longest promise of a venue and some pauses of the reconciler, added up generously.
SETTLE_SECONDS_MAX = 600.0
CHECK_SECONDS = 5.0
# A reader that is cut off again and again comes forward by some events a second.
READ_SECONDS_MAX = 300.0
INTENTS = 3
TAIL_REPEATS_MAX = 40


@dataclass
class Result:
    """What came of a run; `violations` in words."""

    seed: int
    plan: Plan
    violations: list[str]
    counts: Counter[str]
    trace_hash: str
    trace: list[str] = field(default_factory=list)


def run_seed(seed: int, *, focus: Mapping[str, Any] | None = None, keep_trace: bool = False) -> Result:
    """The whole of it; the same for the same seed. `focus` replaces parts of the plan that is drawn."""
    return run_plan(seed, replace(plan_of(seed), **focus or {}), keep_trace=keep_trace)


def plan_of(seed: int) -> Plan:
    """What is drawn for a seed."""
    return draw_plan(Random(f"plan {seed}"))


def run_kept(path: Path) -> Result:
    """A run that once failed; its plan is kept with it, for what a seed draws may change."""
    kept = json.loads(path.read_text())
    plan = Plan(**{**kept["plan"], "events": tuple(kept["plan"]["events"])})
    return run_plan(kept["seed"], plan, keep_trace=True)


def run_plan(seed: int, plan: Plan, *, keep_trace: bool = False) -> Result:
    """A run with these faults."""
    silence()
    random = Random(seed)
    site = Site(
        random,
        profile=msgspec.structs.replace(ALL_PROFILES[plan.profile], exec_id_unique=plan.exec_ids),
        faults=plan.faults,
        exchange_skew_us=plan.exchange_skew_us,
        unreadable=plan.unreadable,
        queue=plan.queue,
    )
    if keep_trace:
        site.trace = []
    chaos, clients = (
        Chaos(site, plan),
        Clients(
            site,
            cancels=plan.cancels,
            keyless=plan.keyless,
            queued=plan.queued,
            prices=LARGE_PRICES if plan.has_large_prices else PRICES,
        ),
    )
    followers = Followers(site, clients)
    broken_before = invariants_broken()
    violations: list[str] = []
    with site.in_place():
        try:
            site.loop.run_until_complete(_story(site, chaos, clients, followers, random))
        except NothingLeft:
            violations.append("everybody waits for something that cannot come")
        violations += _check(site, clients.answers)
        if plan.readers:
            violations += check_events(site.database.tables, chaos.read)
            site.counts["events read"] += len(chaos.read.events)
        violations += check_advice(followers.intents, site.exchange.lines())
        violations += [f"raised: {context}" for context in site.loop.exceptions if "exception" in context]
        if invariants_broken() != broken_before:
            violations.append("the service counted a broken invariant of its own")
    site.counts["parked"] += len(site.database.tables.parked)
    site.counts["runs"] += 1
    site.counts["calm runs"] += plan.is_calm
    return Result(seed, plan, violations, site.counts, site.trace_hash, site.trace or [])


async def _story(site: Site, chaos: Chaos, clients: Clients, followers: Followers, random: Random) -> None:
    chaos.start_all()
    chaos.begin()
    placing = asyncio.create_task(clients.run(clients=random.randint(1, 5), orders=random.randint(1, 5)))
    following = asyncio.create_task(followers.run(chaos.plan.followers, INTENTS))
    await asyncio.sleep(TROUBLE_SECONDS)
    await chaos.heal()
    followers.heal()
    await placing
    await following
    await _tail(site, clients)
    await settle(site)
    await _read_on(site, chaos)
    if site.queue is not None:
        site.compared = await compare(site, chaos.dice)


async def settle(site: Site) -> None:
    """Until nothing is left to be done, or for as long as it may take; what arrives late must have been swept up."""
    deadline = site.loop.time() + SETTLE_SECONDS_MAX
    # Somebody may have died in the turn that would have found it.
    sweeps_lease = LEASE_SECONDS + 3 * SETTINGS.sweep_interval_seconds
    swept = site.held_until + sweeps_lease if site.held_until else 0.0
    while site.loop.time() < deadline and (site.loop.time() < swept or not _is_over(site)):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(CHECK_SECONDS)


async def _read_on(site: Site, chaos: Chaos) -> None:
    """Until the reader has all, or should have."""
    deadline = site.loop.time() + READ_SECONDS_MAX
    while chaos.plan.readers and site.loop.time() < deadline and not has_all(site.database.tables, chaos.read):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(CHECK_SECONDS)


def _is_over(site: Site) -> bool:
    return is_settled(site) and (site.queue is None or (is_all_applied(site) and is_all_tried(site)))


async def _tail(site: Site, clients: Clients) -> None:
    """Once all is healed, every process places orders again."""
    order = {"type": "limit", "side": "buy", "instrument": "TAIL00000000", "limit_price": 1, "quantity": 1}
    for member in site.serving:
        for _ in range(TAIL_REPEATS_MAX):
            answer = await clients.post_to(member, order)
            if answer.status == 201:
                break
            await asyncio.sleep(2)
        else:
            site.counts["tail never placed"] += 1


def _check(site: Site, answers: list[ClientAnswer]) -> list[str]:
    evidence = evidence_of(site)
    report = check(evidence, answers)
    site.counts.update(report.counts)
    settled = check_settled(evidence, answers)
    violations = list(
        dict.fromkeys(
            [
                *report.violations,
                *settled.violations,
                *unfounded_claims(site),
                *sent_while_halted(site),
                *unclaimed_sends(site),
            ]
        )
    )
    if site.queue is not None:
        wrong, counts = check_way(site)
        violations += [*wrong, *wrongly_compared(site, site.compared)]
        site.counts.update(counts)
        site.counts[f"queue: {site.queue}"] += 1
    if site.counts["event: spool lost"]:
        # Records of failures may go with it, and nothing else may: such an order is at no exchange.
        known = site.database.tables.orders.keys() | site.exchange.exchange.orders.newest_by_id.keys()
        violations = [text for text in violations if text.startswith("key ") or text.partition(":")[0] in known]
        # That it was accepted, or never sent, was in the spool alone; the exchange does not show what has ended, nor
        # what was before its new epoch. That it is not there where a client was told so is checked all the same.
        shows_open_ones_alone = site.exchange.exchange.capabilities().ask_covers == "open_only"
        violations = [
            text
            for text in violations
            if not text.endswith(
                (
                    ": a client was told placed, and it settled as unresolved",
                    ": a client was told not_placed, and it settled as unresolved",
                )
            )
            or not (shows_open_ones_alone or _is_forgotten(site, text.partition(":")[0]))
        ]
    if site.counts["tail never placed"]:
        violations.append("a healed process places no orders")
    return violations


def _is_forgotten(site: Site, order_id: str) -> bool:
    """Whether all that its rows say is that it was begun, and that the exchange has forgotten what was then."""
    reasons = {status: row["reason"] for status, row in site.database.tables.orders[order_id].items()}
    return reasons == {"INITIATED": None, "UNRESOLVED": "exchange_forgot"}


def invariants_broken() -> float:
    """How often the service has found a mistake of its own."""
    return sum(
        sample.value
        for family in metrics.INVARIANTS_BROKEN.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


def silence() -> None:
    """Nothing is logged: what a run needs to tell is in its trace."""
    structlog.configure(
        processors=[],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
