"""What the OpenAPI says of POST /orders is true: examples fit their schemas, and every problem is explained."""

from typing import Any

import jsonschema_rs
import pytest

from ordertrail.api.app import create_app
from ordertrail.api.openapi import OUTCOMES, STATUSES
from ordertrail.api.problems import PROBLEMS
from ordertrail.domain.trail import OrderStatus, Outcome


def documented(operation: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(where, schema, example) of every example."""
    bodies = {"request": operation["requestBody"]} if "requestBody" in operation else {}
    found = []
    for where, body in {**bodies, **operation["responses"]}.items():
        for media in body.get("content", {}).values():
            examples = {name: example["value"] for name, example in media.get("examples", {}).items()}
            if "example" in media:
                examples["example"] = media["example"]
            found += [(f"{where} {name}", media["schema"], example) for name, example in examples.items()]
    return found


def openapi() -> dict[str, Any]:
    def never() -> Any:
        raise AssertionError("the documentation needs no service")

    return create_app(never).openapi()


PLACE = openapi()["paths"]["/orders"]["post"]
EXAMPLES = documented(PLACE)


@pytest.mark.parametrize(("where", "schema", "example"), EXAMPLES, ids=[where for where, _, _ in EXAMPLES])
def test_every_example_fits_its_own_schema(where: str, schema: Any, example: Any) -> None:
    errors = [error.message for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(example)]

    assert errors == []


def test_there_are_examples_of_every_answer() -> None:
    assert {where.split()[0] for where, _, _ in EXAMPLES} == {"request", *PLACE["responses"]}
    assert set(PLACE["responses"]) == {"201", "408", "409", "413", "415", "422", "500", "503"}


def test_statuses_and_outcomes_are_the_domain_s() -> None:
    assert list(OrderStatus) == STATUSES
    assert set(Outcome) == set(OUTCOMES)


def test_problems_of_the_specification_stand_under_their_http_status() -> None:
    for name in (
        *("exchange-refused", "exchange-unavailable", "exchange-throttled", "circuit-open", "outcome-unknown"),
        *("not-recorded", "internal-error"),
    ):
        assert PROBLEMS[name].status == 500
        assert name in PLACE["responses"]["500"]["content"]["application/problem+json"]["examples"]


def test_every_problem_in_the_documentation_exists_under_its_status() -> None:
    for status, response in PLACE["responses"].items():
        for name in response["content"].get("application/problem+json", {}).get("examples", {}):
            assert str(PROBLEMS[name].status) == status
