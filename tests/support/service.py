"""The real service over real HTTP and a real PostgreSQL, in the test's own event loop.

Nothing happens in it by the clock: housekeeping looks when a test says `run_once`, and reconciliation does not run.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import asyncpg
from pydantic import SecretStr

from ordertrail.api.app import create_app
from ordertrail.api.parts import ApiParts
from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.order import Order
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAccepted,
    CancelAnswer,
    Found,
    NoAnswer,
    PlaceAnswer,
    Unknown,
    Verification,
)
from ordertrail.runtime.settings import Settings
from ordertrail.server.server import Server
from ordertrail.server.service import Service
from ordertrail.venues.venue import ExecutionPage, OpenOrders, Venue
from tests.support.clocks import PatientClock
from tests.support.orders import SEED_ORDER, venue_order
from tests.support.postgres import allow_connections, execute, refuse_connections

WAIT_SECONDS = 60
# A machine that stands still for seconds must not look like a database or an exchange that does not answer.
# So that a slow machine finds the same: the send window bounds from above how late an order may be told of its failure.
PATIENT = {"database_timeout_seconds": 20, "exchange_timeout_seconds": 20, "send_window_seconds": 3600}


class ScriptedVenue:
    """An exchange that answers what a test has put in its mouth, and remembers what it was sent.

    `answer` may be a function of the order; `knows` is what it says when it is asked, None: nothing of the order.
    """

    name = "scripted"

    def __init__(self) -> None:
        self.answer: PlaceAnswer | Callable[[Order], PlaceAnswer] = Accepted("X-1")
        self.verification: Verification | Callable[[Order], Verification] = Absent()
        self.sent: list[Order] = []
        self.queried: list[str] = []
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def capabilities(self, *, timeout_seconds: float) -> Capabilities | NoAnswer:
        return Capabilities()

    async def place(
        self, order: Order, *, send_by: float, timeout_seconds: float, accept_by: datetime | None
    ) -> PlaceAnswer:
        self.sent.append(order)
        self.arrived.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.may_answer.wait()
        except TimeoutError:
            return Unknown("timeout")
        return self.answer(order) if callable(self.answer) else self.answer

    async def query(self, order_id: str, *, timeout_seconds: float) -> Verification:
        self.queried.append(order_id)
        if callable(self.verification):
            return self.verification(next(order for order in self.sent if order.id == order_id))
        return self.verification

    async def cancel(self, order_id: str, *, timeout_seconds: float) -> CancelAnswer:
        return CancelAccepted()

    async def open_orders(self, *, timeout_seconds: float) -> OpenOrders | NoAnswer:
        return NoAnswer("not_scripted")

    async def executions(self, *, after: int, limit: int, timeout_seconds: float) -> ExecutionPage | NoAnswer:
        return NoAnswer("not_scripted")

    async def follow(self, *, after: int, epoch: str | None, timeout_seconds: float) -> NoAnswer:
        return NoAnswer("not_scripted")

    async def report_page(self, *, after: int, limit: int, epoch: str, timeout_seconds: float) -> NoAnswer:
        return NoAnswer("not_scripted")


def found(order: Order, **changes: Any) -> Found:
    """The exchange has it, as it was sent but for the changes; its id there is not the scripted answer's."""
    return Found(venue_order(order, **{"exchange_order_id": "X-9", **changes}))


@dataclass
class Reply:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    text: bytes
    body: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.body = json.loads(self.text) if "json" in self.headers.get("content-type", "") else {}


Row = tuple[str, str | None, str | None]


@dataclass
class Running:
    """A service that is running, and a client for it."""

    service: Service
    url: str
    client: aiohttp.ClientSession
    database_url: str

    @property
    def clock(self) -> PatientClock:
        assert isinstance(self.service.clock, PatientClock)
        return self.service.clock

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def call(self, method: str, path: str, **request: Any) -> Reply:
        async with self.client.request(method, self.url + path, **request) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, headers, await response.read())

    async def post(self, body: bytes, **headers: str) -> Reply:
        """Post these bytes as an order."""
        return await self.call("POST", "/orders", data=body, headers={"Content-Type": "application/json"} | {**headers})

    async def place(self, *, key: str | None = None, without: tuple[str, ...] = (), **changes: Any) -> Reply:
        """Place the seed's order, with changes."""
        fields = {name: value for name, value in (SEED_ORDER | changes).items() if name not in without}
        return await self.post(json.dumps(fields).encode(), **({} if key is None else {"Idempotency-Key": key}))

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Look into the database, past the service."""
        connection = await asyncpg.connect(self.database_url)
        try:
            records: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return records
        finally:
            await connection.close()

    async def trail(self, order_id: str) -> list[Row]:
        """(status, reason, exchange_order_id) of an order's rows, oldest first."""
        records = await self.fetch(
            "SELECT status::text, reason, exchange_order_id FROM orders WHERE id = $1 ORDER BY created_at, status",
            order_id,
        )
        return [(record[0], record[1], record[2]) for record in records]

    async def rows(self) -> int:
        """How many rows there are of all orders together."""
        [record] = await self.fetch("SELECT count(*) FROM orders")
        return int(record[0])

    async def until(self, is_so: Callable[[], Any], *, every_seconds: float = 0.02) -> Any:
        """Wait until an awaited condition is true."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (value := await is_so()):  # noqa: ASYNC110 - a database sets no event
                await asyncio.sleep(every_seconds)
        return value

    def take_database_away(self, *, for_good: bool = True) -> None:
        """Refuse connections to it, and cut those there are; may be called from within the service's event loop.

        Where it is for good, the service soon gives up hope, though no single answer has to be quick.
        """
        refuse_connections(self.database_url)
        if for_good:
            self.clock.hurry()

    def bring_database_back(self) -> None:
        allow_connections(self.database_url)
        self.clock.take_time()

    def refuse_rows(
        self,
        status: str,
        instrument: str = "AAPL12345678",
        *,
        first: int | None = None,
        error: str = "check_violation",
    ) -> None:
        """Make the database refuse such rows: all of them, or only the first so many tries."""
        name = f"refuse_{status}_{instrument}".lower()
        # A sequence, for it counts on when what it counted is rolled back.
        counts = "true" if first is None else f"nextval('{name}') <= {first}"
        execute(
            self.database_url,
            f"""
            CREATE SEQUENCE {name};
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF {counts} THEN RAISE EXCEPTION 'refused by a test' USING ERRCODE = '{error}'; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER {name} BEFORE INSERT ON orders FOR EACH ROW
                WHEN (NEW.status = '{status}' AND NEW.instrument = '{instrument}') EXECUTE FUNCTION {name}();
            """,
        )


@asynccontextmanager
async def running(
    database_url: str, data_dir: Path, venue: Venue | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """A service until the end of the block, where it drains."""
    made: list[Service] = []
    chosen = Settings(
        _env_file=None,
        **{
            "database_url": SecretStr(database_url),
            "data_dir": data_dir,
            "reconcile_in_api": False,
            "log_level": "error",
            **PATIENT,
            **settings,
        },
    )

    def open_parts() -> AbstractAsyncContextManager[ApiParts]:
        made.append(Service(chosen, clock=PatientClock(), venue=venue))
        return made[0].open_for_api()

    listening = socket.create_server(("127.0.0.1", 0))
    ready = asyncio.Event()
    server = Server(chosen, on_ready=ready.set, application=cast("str", create_app(open_parts)))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    starting = asyncio.create_task(ready.wait())
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        starting.cancel()
        serving.result()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_SECONDS)) as client:
            yield Running(made[0], url, client, database_url)
    finally:
        server.stop()
        await serving
