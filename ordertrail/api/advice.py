"""What a client may do after a problem of `POST /orders`: to the letter, it never makes two orders of one intent."""

from collections.abc import Mapping
from enum import StrEnum

from ordertrail.api.problems import PROBLEMS
from ordertrail.domain.trail import Certainty, Outcome


class Advice(StrEnum):
    """The value of `advice`."""

    WAIT_THEN_REPEAT_SAME_KEY = "wait_then_repeat_same_key"
    REPEAT_REQUEST = "repeat_request"
    NEW_KEY_IS_SAFE = "new_key_is_safe"
    CORRECT_AND_REPEAT = "correct_and_repeat"
    NEVER_REPEAT = "never_repeat"


MEANINGS: Mapping[Advice, str] = {
    Advice.WAIT_THEN_REPEAT_SAME_KEY: (
        "Wait `Retry-After` seconds and send the same request with the same key: by then the answer may be another, "
        "and a second order never comes of it."
    ),
    Advice.REPEAT_REQUEST: "Nothing was recorded: send the same request again, with its key if it has one.",
    Advice.NEW_KEY_IS_SAFE: (
        "It is proved that the exchange has not got the order and never will: if it is still wanted, send it under a "
        "new key."
    ),
    Advice.CORRECT_AND_REPEAT: "Nothing was recorded: correct the request and send it again, with the same key.",
    Advice.NEVER_REPEAT: (
        "Do not send it again: under another key that may make a second order, and under this one it changes nothing. "
        "Read the order at `Location`."
    ),
}


def advice_of(
    problem: str, *, has_key: bool, outcome: Outcome | None = None, certainty: Certainty | None = None
) -> Advice:
    """The advice that goes with this type of problem.

    `outcome`: of the order that the problem speaks of; None: it speaks of no order, for none was recorded. `certainty`
    stands beside not_placed.
    """
    if outcome is not None:
        return _advice_about(outcome, certainty, has_key=has_key)
    match PROBLEMS[problem].status:
        case 409:
            return Advice.WAIT_THEN_REPEAT_SAME_KEY
        case 410:
            return Advice.NEVER_REPEAT
        case 422 if problem == "key-reused":
            return Advice.NEVER_REPEAT
        case 408:
            return Advice.REPEAT_REQUEST
        case status if status < 500:
            return Advice.CORRECT_AND_REPEAT
        case _:
            return Advice.WAIT_THEN_REPEAT_SAME_KEY if has_key else Advice.REPEAT_REQUEST


def _advice_about(outcome: Outcome, certainty: Certainty | None, *, has_key: bool) -> Advice:
    if outcome is Outcome.NOT_PLACED:
        return Advice.NEW_KEY_IS_SAFE if certainty is Certainty.PROVED else Advice.NEVER_REPEAT
    return Advice.WAIT_THEN_REPEAT_SAME_KEY if has_key else Advice.NEVER_REPEAT
