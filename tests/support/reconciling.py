"""An installation whose reconciliation a test drives by hand, with an exchange in the same process and time that moves.

Time passes by setting back every moment that PostgreSQL and the exchange have kept: to both, that is the same as
their clocks having gone on.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import uuid_utils
from pydantic import SecretStr

from ordertrail.domain.order import Order, OrderType, Side
from ordertrail.placement.place_order import Placement
from ordertrail.reconciliation.pass_report import PassReport
from ordertrail.runtime.clock import SystemClock
from ordertrail.runtime.settings import Settings
from ordertrail.server.service import Service
from ordertrail.venues.gate.report import GateReport
from ordertrail.venues.simulated.client import SimulatedVenue
from ordertrail.venues.simulated.opening import Durable
from ordertrail.venues.simulated.translation import new_order
from ordertrail.venues.venue import Venue
from simulated_exchange.capabilities import PROFILES, Profile
from simulated_exchange.exchange import Exchange
from simulated_exchange.faults import Faults, PlaceWeights, QueryFaults
from tests.support.gateway import service_gate

TIMES = {
    "orders": ("created_at", "place_by", "send_by", "accept_by"),
    "attempts": ("claimed_at", "send_by", "accept_by"),
    "doubts": ("since", "next_at", "leased_until"),
    "order_batches": ("due_at",),
    "sweep_positions": ("leased_until",),
    "venue_epochs": ("begun_at",),
}
APPEND_ONLY = ("orders", "attempts", "venue_epochs")
# Longer than the first placing of an order takes, shorter than the window for its retries.
REVIEW = 28.0
AFTER_PLACE_BY = 70.0
SHORT_SECONDS = 0.5


@dataclass
class Installation:
    """`service` is one process of it; `exchange` the other side."""

    service: Service
    exchange: Exchange
    connection: "asyncpg.Connection[asyncpg.Record]"

    def fail(self, place: str | None = None, *, no_answer: bool = False) -> None:
        """What becomes of orders and of questions from now on; the gate has forgotten what was before."""
        service = self.service
        service.gate = service.gateway._gate = service_gate(
            service.clock, settings=service.settings, metrics=GateReport(venue=service.venue.name)
        )
        weights = PlaceWeights(**{place or "accept": 1.0})
        self.exchange.set_faults(Faults(place=weights, ask=QueryFaults(no_answer=float(no_answer)), late_seconds=0.01))

    async def place(self, order: Order) -> Placement:
        return await self.service.placing.place(order)

    def arrives(self, order: Order, accept_by: datetime | None = None) -> None:
        """A request that was held on its way reaches the exchange now."""
        self.exchange.place(new_order(order, accept_by))

    async def reconcile(self) -> PassReport:
        return await self.service.schedule.run_once()

    async def due(self) -> PassReport:
        """Everything that waits is due now, then a pass."""
        await self.connection.execute("UPDATE doubts SET next_at = clock_timestamp()")
        await self.connection.execute("UPDATE order_batches SET due_at = clock_timestamp()")
        await self.connection.execute("UPDATE sweep_positions SET leased_until = NULL")
        return await self.reconcile()

    @contextlib.asynccontextmanager
    async def history_can_change(self) -> AsyncIterator[None]:
        async with self.connection.transaction():
            for table in APPEND_ONLY:
                await self.connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
            yield
            for table in APPEND_ONLY:
                await self.connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER append_only")

    async def pass_time(self, seconds: float) -> None:
        async with self.history_can_change():
            for table, columns in TIMES.items():
                back = ", ".join(f"{column} = {column} - $1 * interval '1 second'" for column in columns)
                await self.connection.execute(f"UPDATE {table} SET {back}", seconds)
        for order in self.exchange.orders.newest_by_id.values():
            order.transacted_at_us -= int(seconds * 1_000_000)

    async def rows(self, order_id: str) -> list[tuple[str, str | None]]:
        """The trail, in the order of its statuses' precedence."""
        records = await self.connection.fetch(
            "SELECT status::text, reason FROM orders WHERE id = $1 ORDER BY orders.status", order_id
        )
        return [(record["status"], record["reason"]) for record in records]

    async def attempts(self, order_id: str) -> list[tuple[int, str | None, str | None]]:
        records = await self.connection.fetch(
            "SELECT number, answer, reason FROM attempts LEFT JOIN attempt_answers USING (order_id, number)"
            " WHERE order_id = $1 ORDER BY number",
            order_id,
        )
        return [(record["number"], record["answer"], record["reason"]) for record in records]

    async def is_settled(self, order_id: str) -> bool:
        settled = await self.connection.fetchval(
            "SELECT settled_at IS NOT NULL FROM doubts WHERE order_id = $1", order_id
        )
        return bool(settled)

    async def outcome(self, order_id: str) -> str:
        stored = await self.service.rows.read(order_id)
        assert stored is not None
        return stored.outcome

    def at_exchange(self, order: Order) -> list[str]:
        """Every exchange order that was ever accepted under the order's id."""
        executions = self.exchange.executions(0, 10_000).executions
        return [e.exchange_order_id or "" for e in executions if e.client_order_id == order.id and e.exec_type == "new"]


def limit_order(**changes: Any) -> Order:
    order = Order(str(uuid_utils.uuid7()), OrderType.LIMIT, Side.BUY, "AAPL12345678", Decimal("150.25"), 10)
    return replace(order, **changes)


def market_order(**changes: Any) -> Order:
    return limit_order(type=OrderType.MARKET, limit_price=None, **changes)


def settings_for(database_url: str, folder: Path, **changes: Any) -> Settings:
    values = {
        "database_url": SecretStr(database_url),
        "data_dir": folder,
        "reconcile_in_api": False,
        "exchange_timeout_seconds": SHORT_SECONDS,
        "send_window_seconds": 5,
        "database_timeout_seconds": 7,
        **changes,
    }
    return Settings(_env_file=None, **values)


@contextlib.asynccontextmanager
async def replica(database_url: str, folder: Path, venue: Venue, **changes: Any) -> AsyncIterator[Service]:
    """One more process of the installation, as far as its database is concerned."""
    service = Service(settings_for(database_url, folder, **changes), venue=venue)
    await service.database.open()
    await service.spool.open()
    try:
        yield service
    finally:
        await service.journal.close()
        await service.spool.close()
        await service.database.close()


@contextlib.asynccontextmanager
async def installation(
    database_url: str, folder: Path, profile: Profile | str = "durable", **changes: Any
) -> AsyncIterator[Installation]:
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    venue = SimulatedVenue(Durable(folder, profile=profile), clock=SystemClock())
    await venue.open()
    try:
        async with replica(database_url, folder, venue, **changes) as service:
            connection = await asyncpg.connect(database_url)
            try:
                yield Installation(service, venue.exchange.exchange, connection)
            finally:
                await connection.close()
    finally:
        await venue.close()
