"""The type of problem that a trail amounts to: which it is follows from the fold, and the words are the contract."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import pytest

from ordertrail.api.problems import PROBLEMS, TYPE_OF
from ordertrail.domain.trail import PLACED_STATUSES, OrderStatus, TrailRow, WhyNotPlaced, fold

S = OrderStatus
INITIATED = TrailRow(S.INITIATED)
# One reason of each sort that may stand beside a status, and what another program may have written.
REASONS: dict[OrderStatus, Sequence[str | None]] = {
    S.EXCHANGE_CREATION_FAILED: (
        "refused:x", "not_sent:closed", "not_sent:throttled", "not_sent:circuit_open", "their own", None,
    ),
    S.DATABASE_PERSISTENCE_FAILED: (
        "accepted", "refused:x", "not_sent:closed", "not_sent:not_recorded", "unknown:timeout", "their own", None,
    ),
    S.EXCHANGE_OUTCOME_UNKNOWN: ("unknown:timeout", None),
    S.UNRESOLVED: ("exchange_forgot",),
    S.NOT_PLACED: (
        "proved:refused:x", "proved:absent", "presumed:absent", "proved:not_sent:closed", "proved:not_sent:throttled",
        "proved:not_sent:circuit_open", "proved:not_sent:never", "operator:joe: not there", "their own", None,
    ),
}  # fmt: skip


def trails(statuses: Sequence[OrderStatus]) -> Iterator[list[TrailRow]]:
    """Every set of rows with INITIATED and some of these statuses."""
    for size in range(len(statuses) + 1):
        for chosen in combinations(statuses, size):
            for reasons in product(*(REASONS.get(status, ("verified",)) for status in chosen)):
                yield [INITIATED, *map(TrailRow, chosen, reasons)]


def type_by_prefixes(rows: Sequence[TrailRow]) -> str:
    """The types, searched for in the text of reasons: the same by another way."""
    by_status = {row.status: row.reason or "" for row in rows}
    if S.DATABASE_PERSISTENCE_FAILED in by_status and len(by_status) == 2:
        return "not-recorded"
    if by_status.keys() & {S.EXCHANGE_OUTCOME_UNKNOWN, S.UNRESOLVED} and S.NOT_PLACED not in by_status:
        return "outcome-unknown"
    for status in (S.NOT_PLACED, S.EXCHANGE_CREATION_FAILED):
        if status in by_status:
            reason = by_status[status]
            if "refused:" in reason:
                return "exchange-refused"
            if status is S.NOT_PLACED:
                return "not-placed"
            if "not_sent:throttled" in reason:
                return "exchange-throttled"
            return "circuit-open" if "not_sent:circuit_open" in reason else "exchange-unavailable"
    return "outcome-unknown"


def test_type_is_the_same_by_another_way_for_every_trail_of_an_order_that_is_not_placed() -> None:
    types: list[str] = []

    for rows in trails([*REASONS]):
        why = fold(rows).why
        assert why is not None
        assert TYPE_OF[why] == type_by_prefixes(rows), rows
        types.append(TYPE_OF[why])

    assert len(types) == 7 * 8 * 3 * 2 * 11
    assert set(types) == set(TYPE_OF.values())


@pytest.mark.parametrize("status", sorted(PLACED_STATUSES))
def test_order_that_is_placed_amounts_to_no_problem(status: OrderStatus) -> None:
    assert all(fold([*rows, TrailRow(status, "verified")]).why is None for rows in trails([*REASONS]))


def test_evidence_of_a_person_is_not_searched_for_reasons() -> None:
    note = TrailRow(S.NOT_PLACED, "operator:joe: the desk says refused: no money")

    assert fold([INITIATED, note]).why is WhyNotPlaced.SETTLED


def test_every_why_has_a_type_that_is_documented() -> None:
    assert TYPE_OF == {
        WhyNotPlaced.REFUSED: "exchange-refused",
        WhyNotPlaced.NOT_SENT: "exchange-unavailable",
        WhyNotPlaced.SETTLED: "not-placed",
        WhyNotPlaced.THROTTLED: "exchange-throttled",
        WhyNotPlaced.CIRCUIT_OPEN: "circuit-open",
        WhyNotPlaced.HALTED: "circuit-open",
        WhyNotPlaced.IN_DOUBT: "outcome-unknown",
        WhyNotPlaced.NOT_RECORDED: "not-recorded",
    }
    assert TYPE_OF.keys() == {*WhyNotPlaced}
    assert {*TYPE_OF.values()} <= PROBLEMS.keys()
