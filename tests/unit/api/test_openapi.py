"""What the OpenAPI says is true: examples fit their schemas, and every problem is explained."""

from typing import Any

import jsonschema_rs
import pytest

from ordertrail.api.app import create_app
from ordertrail.api.cancel_order import cancel_router
from ordertrail.api.events import events_router
from ordertrail.api.health import health_router
from ordertrail.api.openapi import OUTCOMES, STATUSES
from ordertrail.api.problems import PROBLEMS
from ordertrail.api.read_orders import read_router
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
            found += [(f"{where} {name}", media.get("schema"), example) for name, example in examples.items()]
    return found


def openapi() -> dict[str, Any]:
    def never(*_: Any) -> Any:
        raise AssertionError("the documentation needs no service")

    app = create_app(never)
    nothing: Any = None
    app.include_router(read_router(nothing, nothing, nothing, venue=""))
    app.include_router(events_router(nothing))
    app.include_router(cancel_router(nothing))
    app.include_router(health_router(never, never, never, venue=""))
    return app.openapi()


DOCUMENT = openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
PLACE = OPERATIONS["POST /orders"]
EXAMPLES = [
    (f"{name}: {where}", schema, example)
    for name, operation in OPERATIONS.items()
    for where, schema, example in documented(operation)
]


@pytest.mark.parametrize(("where", "schema", "example"), EXAMPLES, ids=[where for where, _, _ in EXAMPLES])
def test_every_example_fits_its_own_schema(where: str, schema: Any, example: Any) -> None:
    errors = [error.message for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(example)]

    assert errors == []


def test_there_are_examples_of_every_answer() -> None:
    assert {where.split()[0] for where, _, _ in documented(PLACE)} == {"request", *PLACE["responses"]}
    assert set(PLACE["responses"]) == {
        *("201", "202", "400", "408", "409", "413", "415", "422", "431", "500", "503"),
    }


def test_an_example_keeps_its_nulls() -> None:
    trail = OPERATIONS["GET /orders/{order_id}/trail"]["responses"]["200"]["content"]["application/json"]["example"]

    assert trail["trail"][0]["reason"] is None


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_what_its_connection_may_answer(name: str) -> None:
    responses = OPERATIONS[name]["responses"]

    for status, problem in [
        *(("400", "malformed-request"), ("408", "request-timeout"), ("413", "payload-too-large")),
        *(("431", "headers-too-large"), ("500", "internal-error")),
        *(("503", "overloaded"), ("503", "shutting-down")),
    ]:
        assert problem in responses[status]["content"]["application/problem+json"]["examples"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_problem_that_can_be_answered_is_of_our_own_shape(name: str) -> None:
    for status, response in OPERATIONS[name]["responses"].items():
        if int(status) >= 400:
            assert "application/problem+json" in response["content"], status


def test_links_lead_to_operations() -> None:
    names = {operation["operationId"] for operation in OPERATIONS.values()}
    links = [
        link["operationId"]
        for operation in OPERATIONS.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]

    assert links and set(links) <= names


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


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_problem_in_the_documentation_exists_under_its_status(operation: str) -> None:
    for status, response in OPERATIONS[operation]["responses"].items():
        for name in response["content"].get("application/problem+json", {}).get("examples", {}):
            assert str(PROBLEMS[name].status) == status
