"""Which errors of the database a client may wait out, and which are bugs."""

import pytest

from ordertrail.api.database_problems import database_errors_as_problems
from ordertrail.api.problems import ProblemError
from ordertrail.domain.errors import OrdertrailError
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.order_reads import TooSlow

DEADLOCK, READ_ONLY, NO_MEMORY, LOCKED = "40P01", "25006", "53200", "55P03"
NO_TABLE, NO_COLUMN, NO_TYPE = "42P01", "42703", "42704"
SYNTAX, NOT_UNIQUE, DIVISION_BY_ZERO, NO_FUNCTION = "42601", "23505", "22012", "42883"


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (TooSlow("no answer within 1500 ms"), "too-slow"),
        (StatementOutcomeUnknown("cut", may_have_happened=True), "database-unavailable"),
        *(
            (StatementFailed(code, "not now"), "database-unavailable")
            for code in (DEADLOCK, READ_ONLY, NO_MEMORY, LOCKED, NO_TABLE, NO_COLUMN, NO_TYPE)
        ),
    ],
    ids=str,
)
def test_database_that_cannot_serve_is_a_problem_to_come_back_after(error: OrdertrailError, problem: str) -> None:
    with pytest.raises(ProblemError) as raised, database_errors_as_problems():
        raise error

    assert raised.value.type == problem
    assert raised.value.headers == {"Retry-After": "1"}


@pytest.mark.parametrize("code", [SYNTAX, NOT_UNIQUE, DIVISION_BY_ZERO, NO_FUNCTION])
def test_mistake_of_ours_is_no_problem_of_the_database(code: str) -> None:
    with pytest.raises(StatementFailed), database_errors_as_problems():
        raise StatementFailed(code, "this statement is wrong")
