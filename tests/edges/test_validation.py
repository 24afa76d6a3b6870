"""Input validation over real HTTP: what is no order is refused with its field and its reason, and leaves no row."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ordertrail.api.problems import PROBLEMS
from tests.support.invalid_orders import INVALID
from tests.support.orders import body_with, request_body
from tests.support.service import Running, ScriptedVenue, running

BODY_BYTES_MAX = 65_536


@pytest.fixture
async def service(database_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(database_url, tmp_path, ScriptedVenue()) as service:
        yield service


async def test_every_invalid_order_is_refused_with_field_and_reason_and_leaves_no_row(service: Running) -> None:
    for case in INVALID:
        reply = await service.post(case.body)

        assert reply.status == 422, case
        assert reply.headers["content-type"] == "application/problem+json", case
        assert reply.body["type"] == "/problems/invalid-request", case
        reported = [error["detail"] for error in reply.body["errors"] if error["pointer"] == case.pointer]
        assert any(case.detail in detail for detail in reported), (case, reply.body["errors"])
        assert len(reply.text) < 10_000, case

    assert await service.rows() == 0
    assert (await service.place()).status == 201


@pytest.mark.parametrize(
    ("field", "literal", "value"),
    [
        ("quantity", "10.0", 10),
        ("quantity", "1e1", 10),
        ("quantity", "2147483647", 2147483647),
        ("limit_price", '"150.00"', 150.0),
        ("limit_price", "150", 150.0),
        ("limit_price", "150.010", 150.01),
        ("limit_price", "0.01", 0.01),
        ("limit_price", "9999999999999.99", 9999999999999.99),
        ("limit_price", "150." + "0" * 60_000, 150.0),
        ("client_order_id", '"' + "~" * 255 + '"', "~" * 255),
        ("place_by", '"9999-12-31T23:59:59.999999Z"', "9999-12-31T23:59:59.999999Z"),
        ("place_by", '"2099-01-01T01:00:00+01:00"', "2099-01-01T00:00:00.000000Z"),
    ],
)
async def test_values_at_the_edge_are_taken_and_reported_again_as_they_came(
    service: Running, field: str, literal: str, value: object
) -> None:
    reply = await service.post(body_with(field, literal))
    read = await service.call("GET", f"/orders/{reply.body['id']}")

    assert reply.status == 201
    assert reply.body[field] == read.body[field] == value


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "application/x-www-form-urlencoded", "application/xml", "application/json; charset=latin-1"),
        *("application/jsonp", "application/problem+json", "", ";", "json"),
    ],
)
async def test_another_content_type_is_415(service: Running, content_type: str) -> None:
    reply = await service.post(request_body(), **{"Content-Type": content_type})

    assert reply.status == 415
    assert reply.body["type"] == "/problems/unsupported-media-type"
    assert await service.rows() == 0


async def test_no_content_type_is_415(service: Running) -> None:
    reply = await service.call("POST", "/orders", data=request_body(), skip_auto_headers=["Content-Type"])

    assert reply.status == 415


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json "],
)
async def test_json_by_any_of_its_names_is_taken(service: Running, content_type: str) -> None:
    assert (await service.post(request_body(), **{"Content-Type": content_type})).status == 201


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "chunked"])
async def test_a_body_is_taken_up_to_64_kib_and_413_beyond(service: Running, is_chunked: bool) -> None:
    largest = request_body().ljust(BODY_BYTES_MAX)

    taken = await service.call("POST", "/orders", **sent(largest, is_chunked=is_chunked))
    refused = await service.call("POST", "/orders", **sent(largest + b" ", is_chunked=is_chunked))

    assert taken.status == 201
    assert refused.status == 413
    assert refused.body["type"] == "/problems/payload-too-large"
    assert await service.rows() == 2


@pytest.mark.parametrize("key", ["a b", "", "a" * 256, "caf\xe9"])
async def test_a_key_outside_its_bounds_is_refused(service: Running, key: str) -> None:
    reply = await service.place(key=key)

    assert reply.status == 422
    assert [error["pointer"] for error in reply.body["errors"]] == ["/headers/Idempotency-Key"]
    assert await service.rows() == 0


async def test_two_keys_that_differ_are_refused(service: Running) -> None:
    reply = await service.place(key="one", client_order_id="two")

    assert reply.status == 422
    assert [error["pointer"] for error in reply.body["errors"]] == ["/client_order_id"]
    assert await service.rows() == 0


async def test_every_problem_has_its_page(service: Running) -> None:
    for name, problem in PROBLEMS.items():
        page = await service.call("GET", f"/problems/{name}")
        assert page.status == 200, name
        assert problem.title.replace("'", "&#x27;") in page.text.decode(), name


def sent(body: bytes, *, is_chunked: bool) -> dict[str, object]:
    async def in_chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 5000):
            yield body[start : start + 5000]

    return {"data": in_chunks() if is_chunked else body, "headers": {"Content-Type": "application/json"}}
