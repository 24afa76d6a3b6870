"""The endpoint itself, where what is behind it does what it never should."""

from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from ordertrail.api.place import PlaceOrder
from ordertrail.clock import SystemClock
from ordertrail.placement.place_order import Placing
from tests.support.orders import SEED_ORDER


async def call(endpoint: PlaceOrder) -> tuple[int, dict[str, Any]]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": msgspec.json.encode(SEED_ORDER)}

    async def send(message: Any) -> None:
        sent.append(message)

    await endpoint({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive, send)
    return sent[0]["status"], msgspec.json.decode(sent[1]["body"])


async def test_mistake_of_ours_before_there_is_an_order_is_a_problem_too() -> None:
    def turn_away(_: int) -> str | None:
        raise ZeroDivisionError("a secret")

    endpoint = PlaceOrder(
        cast("Placing", None),
        SystemClock(),
        turn_away=turn_away,
        body_bytes_max=1000,
        seconds_after_send_by=1,
        place_by_of=lambda *_: datetime.now(UTC),
    )

    status, body = await call(endpoint)

    assert (status, body["type"]) == (500, "/problems/internal-error")
    assert "secret" not in str(body)
