"""`ordertrail halt` and `resume`: the operator's switch.

A halt is committed before anything is asked or waited for. A resume ends the halt that stood when the command
began, and no newer one. Exit codes: 0 done, 1 somebody has turned the switch meanwhile, 2 usage or connection error,
130 interrupted (a halt stands).
"""

# ruff: noqa: T201 - it talks to a person

import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ordertrail.cli.at_database import DONE, REFUSED, plain, print_json, say, user, with_database
from ordertrail.cli.exchange_orders import open_at_exchange
from ordertrail.cli.output import INTERRUPTED, Json, print_result
from ordertrail.cli.person_settings import load_settings_of_person
from ordertrail.domain.operator_action import Operator, Origin
from ordertrail.domain.switch import Switch, as_line
from ordertrail.placement.halting import Halting
from ordertrail.runtime import notices
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.settings import Settings
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.doubts import PostgresDoubts
from ordertrail.storage.postgres.switch import PostgresSwitch
from ordertrail.storage.switch_rows import Turned, UnderWay

INSTRUMENTS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Live:
    """Orders open at the exchange by its own list, by instrument.

    `unreadable`: so many more cannot be understood; `why_unknown`: there was no list.
    """

    by_instrument: Counter[str]
    unreadable: int = 0
    why_unknown: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """What a halt has left; `under_way` is None where that could not be read."""

    halt: Turned
    under_way: UnderWay | None
    live: Live
    in_doubt: int
    switch: Switch
    has_waited: bool


def halt(*, reason: str | None = None, wait: bool = True, json: Json = False) -> int:
    """Place nothing any more, resends included; returns when nothing leaves any more. Cancelling and querying go on.

    Parameters
    ----------
    reason
        Why, in a line, for the next operator and for clients; in a terminal it is asked for.
    wait
        --no-wait: return at once; what was recorded before may still leave within its send window.
    json
        For programs: print one JSON document.
    """
    settings = load_settings_of_person()
    operator = Operator(user(), Origin.CLI)
    halts: list[Turned] = []

    async def commit(_rows: PostgresDoubts, database: Database) -> int:
        halts.append(await _halting(database, settings).halt(operator, reason and as_line(reason)))
        return DONE

    async def see_it_through(rows: PostgresDoubts, database: Database) -> int:
        switch, halting = PostgresSwitch(database), _halting(database, settings)
        # Somebody may have resumed while the reason was being written.
        if why is not None and (await switch.read()).is_halted:
            await halting.halt(operator, why)
        if wait:
            under_way = (await halting.wait(halts[0], on_wait=lambda: _say_waiting(halts[0], settings))).under_way
        else:
            under_way = await switch.under_way(halts[0])
        live = await _live_at_exchange(settings)
        found = _Found(halts[0], under_way, live, (await rows.counts()).count, await switch.read(), has_waited=wait)
        if json:
            print_json(_document(found))
        else:
            print_result("\n".join(_sentences(found)))
        return DONE if found.switch.is_halted else say(f"{found.switch.sentence} Orders are placed again.", REFUSED)

    code = with_database(commit)
    if code != DONE:
        return code
    try:
        notices.say("Placing is halted: nothing is placed that is recorded from now on.")
        # Not in an event loop, which would not let an interrupt through.
        why = _reason_from_terminal() if reason is None else None
        return with_database(see_it_through)
    except KeyboardInterrupt:
        return say("Placing is halted; what was begun before may still leave.", INTERRUPTED)


def resume(*, reason: str | None = None) -> int:
    """Place orders again.

    Parameters
    ----------
    reason
        Why, in a line, for the next operator; in a terminal it is asked for.
    """
    settings = load_settings_of_person()
    switches: list[Switch] = []

    async def read(_rows: PostgresDoubts, database: Database) -> int:
        switches.append(await PostgresSwitch(database).read())
        return DONE

    async def turn(_rows: PostgresDoubts, database: Database) -> int:
        [before] = switches
        operator = Operator(user(), Origin.CLI)
        newer = await _halting(database, settings).resume(operator, why or None, before=before)
        if newer is not None:
            return say(f"{newer.sentence} That is a newer halt: nothing was changed.", REFUSED)
        print_result(
            f"{before.sentence} " * before.is_halted + "Placing is resumed; every process obeys within seconds."
        )
        return DONE

    # Before the question, so that whoever halts while it is being answered is not overruled.
    code = with_database(read)
    if code != DONE:
        return code
    try:
        why = _reason_from_terminal() if reason is None else as_line(reason)
    except KeyboardInterrupt:
        return say("Nothing was changed.", INTERRUPTED)
    return with_database(turn)


def _say_waiting(halt: Turned, settings: Settings) -> None:
    until = halt.at + timedelta(seconds=settings.send_window_seconds)
    notices.say(f"Waiting for what was begun before, until about {until:%H:%M:%S} UTC.")


def _halting(database: Database, settings: Settings) -> Halting:
    return Halting(PostgresSwitch(database), SystemClock(), send_seconds=settings.send_window_seconds)


def _sentences(found: _Found) -> list[str]:
    under_way, live = found.under_way, found.live
    if under_way is None:
        lines = ["Placing is halted, and nothing leaves any more; what is on its way could not be read."]
    elif under_way.startable and not found.has_waited:
        lines = [f"Placing is halted; {_count(under_way.startable, 'send')} may still leave within the send window."]
    elif not found.has_waited:
        lines = ["Placing is halted; what was begun in this moment may still leave within the send window."]
    else:
        lines = ["Placing is halted, and nothing leaves any more."]
    if under_way is not None and under_way.unanswered:
        lines.append(
            f"Still on their way: {_count(under_way.unanswered, 'order')} that left, or may have, and have no answer "
            "yet. They may yet be accepted; their requests and reconciliation find out."
        )
    if found.in_doubt:
        lines.append(f"In doubt: {_count(found.in_doubt, 'order')}; `ordertrail doubts` lists them.")
    if live.why_unknown is not None:
        lines.append(f"What is live at the exchange is not known: {live.why_unknown}")
    elif not live.by_instrument:
        lines.append("Live at the exchange, by its own list of open orders: none.")
    else:
        most = live.by_instrument.most_common(INSTRUMENTS_SHOWN_MAX)
        names = ", ".join(f"{as_line(instrument)} {count}" for instrument, count in most)
        more = len(live.by_instrument) - len(most)
        lines.append(
            f"Live at the exchange, by its own list of open orders: {live.by_instrument.total()} ({names}"
            f"{f', and {more} instruments more' if more else ''}). "
            "`ordertrail order cancel --all` cancels those that were placed through Ordertrail."
        )
    if live.unreadable:
        lines.append(f"{live.unreadable} more open orders of the exchange's cannot be understood.")
    return lines


def _document(found: _Found) -> dict[str, Any]:
    under_way, live = found.under_way, found.live
    known = live.why_unknown is None
    return {
        "is_halted": found.switch.is_halted,
        "halted_at": plain(found.halt.at),
        "waited": found.has_waited,
        "startable": None if under_way is None else under_way.startable,
        "unanswered": None if under_way is None else under_way.unanswered,
        "in_doubt": found.in_doubt,
        "live": live.by_instrument.total() if known else None,
        "live_by_instrument": dict(live.by_instrument) if known else None,
        "live_unreadable": live.unreadable if known else None,
        "live_unknown_because": live.why_unknown,
    }


async def _live_at_exchange(settings: Settings) -> Live:
    found = await open_at_exchange(settings)
    if isinstance(found, str):
        return Live(Counter(), why_unknown=found)
    return Live(Counter(order.instrument for order in found.orders), len(found.unreadable) + found.dropped)


def _reason_from_terminal() -> str | None:
    """Why, from a person at a terminal; None where there is none, or no answer."""
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()):
        return None
    with suppress(OSError):
        print("Why, in a line (Enter: no reason): ", end="", file=sys.stderr, flush=True)
        return as_line(sys.stdin.readline()) or None
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
