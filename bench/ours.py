"""Ordertrail as the benchmark runs it: as shipped, but for an exchange that is the rivals' own, a sleep in process.

The simulated exchange matches orders and keeps books, which is not Ordertrail's work and which no rival pays for.
"""

import argparse
import asyncio
import itertools
import os
import random
import sys
from collections.abc import Sequence
from datetime import datetime

from bench.rivals.order import EXCHANGE_SECONDS
from ordertrail.api.app import create_app
from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAnswer,
    NoAnswer,
    PlaceAnswer,
    Refused,
    Verification,
)
from ordertrail.runtime.settings import load_settings
from ordertrail.server.asgi import make_service
from ordertrail.server.serve import serve
from ordertrail.venues.venue import ExecutionPage, OpenOrders

SECONDS = "BENCH_EXCHANGE_SECONDS"
REFUSED_SHARE = "BENCH_EXCHANGE_REFUSED_SHARE"


class SleepingVenue:
    """Takes its time and says yes, or now and then no."""

    name = "sleeping"

    def __init__(self) -> None:
        self._seconds = float(os.environ.get(SECONDS, str(EXCHANGE_SECONDS)))
        self._refused_share = float(os.environ.get(REFUSED_SHARE, "0"))
        self._numbers = itertools.count(1)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def capabilities(self, *, timeout_seconds: float) -> Capabilities:  # noqa: ARG002
        return Capabilities()

    async def place(
        self,
        order: Order,  # noqa: ARG002
        *,
        send_by: float,  # noqa: ARG002
        timeout_seconds: float,  # noqa: ARG002
        accept_by: datetime | None,  # noqa: ARG002
    ) -> PlaceAnswer:
        await asyncio.sleep(self._seconds)
        if self._refused_share and random.random() < self._refused_share:
            return Refused("on_purpose")
        return Accepted(f"x-{next(self._numbers)}")

    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:  # noqa: ARG002
        return Absent()

    async def cancel(self, order_id: str, *, timeout_seconds: float) -> CancelAnswer:  # noqa: ARG002
        return Absent()

    async def open_orders(self, *, timeout_seconds: float) -> OpenOrders:  # noqa: ARG002
        return OpenOrders((), None)

    async def executions(self, *, after: int, limit: int, timeout_seconds: float) -> ExecutionPage:  # noqa: ARG002
        return ExecutionPage("bench", (), after)

    async def follow(self, *, after: int, epoch: str | None, timeout_seconds: float) -> NoAnswer:  # noqa: ARG002
        return NoAnswer(Cause.CLOSED)

    async def report_page(self, *, after: int, limit: int, epoch: str, timeout_seconds: float) -> NoAnswer:  # noqa: ARG002
        return NoAnswer(Cause.CLOSED)


app = create_app(lambda: make_service(SleepingVenue()).open_for_api())


def main(arguments: Sequence[str]) -> int:
    """What `ordertrail api` does, with that application."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours api")
    parser.add_argument("command", choices=["api"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parsed = parser.parse_args(arguments)
    return serve(
        load_settings(), host=parsed.host, port=parsed.port, workers=parsed.workers, application="bench.ours:app"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
