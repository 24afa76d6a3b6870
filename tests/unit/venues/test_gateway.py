"""What the question after an unknown answer may conclude."""

from typing import Any

import pytest

from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    Found,
    NoAnswer,
    PlaceAnswer,
    Refused,
    Unknown,
    Verification,
)
from tests.support.clocks import PatientClock
from tests.support.gateway import gateway_to
from tests.support.orders import an_order, venue_order
from tests.support.service import ScriptedVenue

ORDER = an_order()
TIMEOUT = Unknown("timeout")


def shown(ord_status: str = "new", of: Order = ORDER, **changes: Any) -> Found:
    reason = "no_funds" if ord_status == "rejected" else None
    return Found(venue_order(of, ord_status=ord_status, reject_reason=reason, **changes))


@pytest.mark.parametrize("is_only_send", [True, False])
@pytest.mark.parametrize(
    ("answer", "verification", "judged_alone", "judged_among_others"),
    [
        (Accepted("X-0"), shown("rejected"), Accepted("X-0"), Accepted("X-0")),
        (Refused("late"), shown("new"), Refused("late"), Refused("late")),
        (TIMEOUT, Absent(), TIMEOUT, TIMEOUT),
        (TIMEOUT, NoAnswer("timeout"), TIMEOUT, TIMEOUT),
        (TIMEOUT, shown("new"), Accepted("X-1"), Accepted("X-1")),
        (TIMEOUT, shown("filled"), Accepted("X-1"), Accepted("X-1")),
        # Of several sends, one may be rejected and another accepted.
        (TIMEOUT, shown("rejected"), Refused("no_funds"), TIMEOUT),
        (TIMEOUT, shown(quantity=11), Unknown("differs_at_exchange"), Unknown("differs_at_exchange")),
    ],
    ids=[
        "accepted",
        "refused",
        "absent",
        "no answer",
        "found new",
        "found filled",
        "found rejected",
        "found different",
    ],
)
async def test_question_after_an_unknown_answer(
    answer: PlaceAnswer,
    verification: Verification,
    judged_alone: PlaceAnswer,
    judged_among_others: PlaceAnswer,
    is_only_send: bool,
) -> None:
    clock, venue = PatientClock(), ScriptedVenue()
    venue.answer, venue.verification = answer, verification
    gateway = gateway_to(venue, clock)

    judged = await gateway.send_and_query(
        ORDER, send_by=clock.monotonic() + 60, accept_by=None, is_only_send=is_only_send
    )

    assert judged == (judged_alone if is_only_send else judged_among_others)
    assert venue.queried == ([ORDER.id] if answer is TIMEOUT else [])
