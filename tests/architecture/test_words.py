"""One word for one thing: names that the glossary has replaced do not come back.

A name is judged by its parts, so `a_look_at` is found by `look`. What stays, says why.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("app", "ordertrail", "simulated_exchange", "tests", "bench", "ops")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations/versions" not in path.as_posix()  # applied migrations stay as they are
)

# A part of a name: the word that the glossary has instead.
REPLACED = {
    "ask": "query",
    "asked": "queried",
    "asking": "querying",
    "conclude": "apply",
    "concluded": "applied",
    "concludes": "applies",
    "deaf": "reading_stopped",
    "forgetful": "in_memory",
    "lane": "batcher, or call budget",
    "lanes": "batchers, or call budgets",
    "leftover": "stale process",
    "leftovers": "stale processes",
    "look": "review",
    "looked": "reviewed",
    "looks": "reviews",
    "nudge": "wake_up",
    "pace": "pass limits",
    "patience": "stop sequence, or a bound with a unit",
    "refuge": "fallback root",
    "seen": "observation, or what was seen",
    "sighted": "observed",
    "sighting": "observation",
    "sightings": "observations",
    "sign": "health signal",
    "signs": "health signals",
    "tally": "buffered counter or histogram",
    "tell": "report, respond, print",
    "tells": "reports",
    "told": "recorded, reported, signalled",
    "unsent": "never sent, or not sent",
}
# Whole names: of classes and functions that had them.
REPLACED_NAMES = {
    "Closed": "Denied",
    "Counts": "PassReport",
    "DatabaseAnswered": "StatementFailed",
    "DatabaseLost": "StatementOutcomeUnknown",
    "Doubt": "OrderInDoubt",
    "HELD": "THROTTLED",
    "Pace": "PassLimits",
    "Rules": "VerificationLimits",
    "Sender": "Gateway",
    "SharedCommits": "Batcher",
    "Spread": "BufferedHistogram",
    "StepRow": "NewTrailRow",
    "Taken": "Lease",
    "Windows": "Deadlines",
    "begin_to_stop": "start_draining",
    "even_if_full": "bypass_limit",
    "insert_both": "insert_initiated_and_completed",
    "last_resort": "kill_after",
    "on_call": "operator",
    "take_in": "enqueue_due_batches",
    "taken_in": "enqueued",
    "turn_away": "shed",
}
# Path (or its beginning): {name: why it stays}.
KEPT: dict[str, dict[str, str]] = {
    "simulated_exchange/order_book.py": {"_asks": "the price at which somebody sells: the field's own word"},
    "simulated_exchange/": {
        "ask": "a field of the exchange's protocol, PUT /v1/faults",
        "ask_covers": "a field of the exchange's protocol, GET /v1/capabilities",
        "Closed": "the market is closed; the gate's word is Denied",
    },
    "ordertrail/venues/": {
        "ask_covers": "a field of the exchange's protocol, GET /v1/capabilities",
        "Closed": "the exchange's result: the market is closed",
    },
    "tests/": {
        "ask": "a field of the exchange's protocol, PUT /v1/faults",
        "ask_covers": "a field of the exchange's protocol, GET /v1/capabilities",
        "Closed": "the exchange's result: the market is closed",
        "last_seen": "a column of the table doubts",
        "sightings": "a table",
        "sign": "a certificate is signed: the library's own word",
    },
    "bench/": {"Spread": "how far rates lie apart: statistics, and no metric"},
}

PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def names(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def word_instead(name: str) -> str | None:
    parts = {part.lower() for part in PART.findall(name)}
    return REPLACED_NAMES.get(name) or next((REPLACED[part] for part in sorted(parts) if part in REPLACED), None)


def is_kept(path: str, name: str) -> bool:
    return any(path.startswith(beginning) and name in kept for beginning, kept in KEPT.items())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_are_the_glossarys(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()

    found = [
        f"{where}:{line}: {name} → {instead}"
        for line, name in names(path)
        if (instead := word_instead(name)) is not None and not is_kept(where, name)
    ]

    assert found == []


def test_a_replaced_word_is_found_in_any_spelling() -> None:
    assert word_instead("_look_at_all") == "review"
    assert word_instead("AskFaults") == "query"
    assert word_instead("LANES") == "batchers, or call budgets"
    assert word_instead("lookup") is None
    assert word_instead("signal") is None
