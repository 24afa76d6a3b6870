"""The simulated exchange's socket of execution reports, by a client of another make."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from simulated_exchange.server import ExchangeServer
from simulated_exchange.service import ExchangeService, open_exchange
from tests.conformance.subjects import listening_socket, port_of
from tests.unit.simulated_exchange.making import limit


@dataclass
class Served:
    """An exchange behind a real socket, in this process."""

    service: ExchangeService
    url: str
    client: aiohttp.ClientSession
    readers: list[aiohttp.ClientWebSocketResponse] = field(default_factory=list)

    @property
    def epoch(self) -> str:
        return self.service.exchange.epoch

    async def socket(self, **query: object) -> aiohttp.ClientWebSocketResponse:
        parameters = {name: str(value) for name, value in query.items()}
        reader = await self.client.ws_connect(f"{self.url}/v1/executions", params=parameters)
        self.readers.append(reader)
        return reader

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self.client.request(method, self.url + path, json=body) as response:
            return response.status, await response.json()


@contextlib.asynccontextmanager
async def serving(service: ExchangeService) -> AsyncIterator[Served]:
    is_ready = asyncio.Event()
    server = ExchangeServer(service, on_ready=is_ready.set)
    with listening_socket() as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait_for(is_ready.wait(), 20)
        try:
            connector = aiohttp.TCPConnector(socket_factory=_socket_that_takes_little)
            async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as client:
                served = Served(service, f"http://127.0.0.1:{port_of(listener)}", client)
                yield served
                for reader in served.readers:
                    await reader.close()
        finally:
            server.should_exit = True
            await task
            await service.close()


def _socket_that_takes_little(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    return made


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(open_exchange(None)) as running:
        yield running


async def test_reports_come_over_the_socket_as_they_come_over_http(served: Served) -> None:
    await served.service.place(limit("a", "sell"))
    reader = await served.socket(after=0, epoch=served.epoch)
    frames = [await reader.receive_json(), await reader.receive_json()]

    await served.service.place(limit("b", "buy"))
    frames.append(await reader.receive_json())

    _, page = await served.call("GET", "/v1/executions")
    assert frames[0] == {"epoch": served.epoch, "head": 1}
    assert frames[1] + frames[2] == page["executions"]
    assert [report["exec_type"] for report in page["executions"]] == ["new", "new", "trade", "trade"]


async def test_socket_goes_on_where_it_was(served: Served) -> None:
    for name in "abc":
        await served.service.place(limit(name))
    reader = await served.socket(after=2)

    frames = [await reader.receive_json(), await reader.receive_json()]

    assert [report["seq"] for report in frames[1]] == [3]


@pytest.mark.parametrize(
    ("query", "status", "document"),
    [
        ("after=0&epoch=another", 409, {"error": "epoch", "epoch": "E", "head": 10}),
        ("after=1", 410, {"error": "compacted", "oldest": 7}),
    ],
)
async def test_errors_come_before_the_upgrade_and_are_those_of_http(
    query: str, status: int, document: dict[str, object]
) -> None:
    async with serving(open_exchange(None, reports_kept=4)) as served:
        for number in range(10):
            await served.service.place(limit(str(number)))
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="

        answers = []
        for headers in (upgrade, {}):
            async with served.client.get(f"{served.url}/v1/executions?{query}", headers=headers) as response:
                answers.append((response.status, json.loads(await response.read())))

        expected = {name: served.epoch if value == "E" else value for name, value in document.items()}
        assert answers == [(status, expected)] * len(answers)


@pytest.mark.parametrize(
    ("path", "status"), [("executions?after=-1", 422), ("executions?after=x", 422), ("orders", 404)]
)
async def test_socket_that_there_cannot_be(
    served: Served, path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await served.client.ws_connect(f"{served.url}/v1/{path}")

    assert caught.value.status == status
    assert caplog.records == []


async def test_stopped_exchange_says_that_it_restarts(served: Served) -> None:
    reader = await served.socket()
    await reader.receive_json()

    served.service.stop()

    end = await reader.receive()
    assert (end.type, reader.close_code) == (aiohttp.WSMsgType.CLOSE, 1012)


async def test_slow_reader_is_held_back_and_gets_all(served: Served) -> None:
    for number in range(30_000):
        served.service.exchange.place(limit(str(number)))
    reader = await served.socket()
    await reader.receive_json()
    [following] = served.service._publisher._followers
    for _ in range(500):
        await asyncio.sleep(0)
    assert following.position < 30_000

    seqs: list[int] = []
    while len(seqs) < 30_000:
        got = await reader.receive_json()
        if isinstance(got, list):
            seqs += [report["seq"] for report in got]

    assert seqs == list(range(1, 30_001))


async def test_reader_that_has_gone_is_forgotten(served: Served) -> None:
    reader = await served.socket()
    await reader.receive_json()

    await reader.close()

    await served.service.place(limit("a"))
    async with asyncio.timeout(10):
        while served.service._publisher._followers:  # noqa: ASYNC110 - what it waits for has no signal
            await asyncio.sleep(0.001)


async def test_cut_connection_is_reset(served: Served) -> None:
    await served.call("PUT", "/v1/faults", {"socket": {"cut": 1}})
    reader = await served.socket()
    await reader.receive_json()

    await served.service.place(limit("a"))

    end = await reader.receive()
    assert end.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
    assert reader.close_code == 1006


async def test_new_epoch_ends_the_connection_and_is_found_by_the_next(served: Served) -> None:
    old = served.epoch
    await served.service.place(limit("a", "sell"))
    reader = await served.socket(after=1, epoch=old)
    await reader.receive_json()

    status, document = await served.call("POST", "/v1/faults/epoch")

    end = await reader.receive()
    assert (end.type, reader.close_code) == (aiohttp.WSMsgType.CLOSE, 1012)
    assert (status, document) == (202, {"epoch": served.epoch, "head": 0, "executions": []})
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await served.socket(after=1, epoch=old)
    assert caught.value.status == 409
    reader = await served.socket(after=0, epoch=served.epoch)
    assert await reader.receive_json() == {"epoch": served.epoch, "head": 0}


async def test_what_happens_on_demand_is_answered_and_reported(served: Served) -> None:
    await served.service.place(limit("a", "sell"))
    await served.service.place(limit("b", "buy", quantity=4))
    reader = await served.socket(after=4)
    await reader.receive_json()
    demands: list[tuple[str, dict[str, object]]] = [
        ("executions", {"exec_id": "E4", "exec_type": "trade_correct", "last_qty": 3}),
        ("executions", {"exec_id": "E5", "exec_type": "trade_cancel", "reinstate": True}),
        ("trade", {"client_order_id": "b", "last_qty": 1, "last_px": "10.00"}),
        ("expire", {"client_order_id": "a"}),
    ]

    answers = [await served.call("POST", f"/v1/faults/{name}", body) for name, body in demands]

    assert [status for status, _ in answers] == [202] * 4
    reported: list[Any] = []
    while len(reported) < 4:
        reported += await reader.receive_json()
    assert reported == [report for _, document in answers for report in document["executions"]]
    assert [report["exec_type"] for report in reported] == ["trade_correct", "trade_cancel", "trade", "expired"]


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [("late", 202, None), ("refuse", 409, "cancel_refused"), ("error_after", 500, "internal_error")],
)
async def test_cancel_that_goes_wrong(served: Served, fault: str, status: int, error: str | None) -> None:
    await served.service.place(limit("a"))
    await served.call("PUT", "/v1/faults", {"cancel": {fault: 1}})

    answer = await served.call("DELETE", "/v1/orders/a")

    assert (answer[0], answer[1].get("error")) == (status, error)


async def test_cancel_that_is_lost_is_never_answered(served: Served) -> None:
    await served.service.place(limit("a"))
    await served.call("PUT", "/v1/faults", {"cancel": {"lost": 1}})
    canceling = asyncio.create_task(served.call("DELETE", "/v1/orders/a"))
    done, _ = await asyncio.wait((canceling,), timeout=0.05)

    served.service.stop()

    assert done == set()
    with pytest.raises(aiohttp.ClientError):
        await canceling


async def test_flood_over_many_orders_comes_over_the_socket(served: Served) -> None:
    reader = await served.socket()
    await reader.receive_json()
    ids = [f"01989f4c-aaaa-7bbb-8ccc-{number:012d}" for number in range(1000)]
    body = {"reports_per_second": 1_000_000, "seconds": 30, "frame": 500, "reports": 5000, "client_order_ids": ids}

    status, _ = await served.call("POST", "/v1/faults/load", body)

    reported: list[Any] = []
    while len(reported) < 5000:
        got = await reader.receive_json()
        reported += got if isinstance(got, list) else []
    assert status == 202
    assert [report["seq"] for report in reported] == list(range(1, 5001))
    assert {report["client_order_id"] for report in reported} == set(ids)


async def test_slow_flood_of_large_frames_has_them(served: Served) -> None:
    reader = await served.socket()
    await reader.receive_json()
    body = {"reports_per_second": 50, "seconds": 30, "frame": 20, "reports": 40}

    await served.call("POST", "/v1/faults/load", body)

    frames: list[list[Any]] = []
    while sum(map(len, frames)) < 40:
        got = await reader.receive_json()
        frames += [got] if isinstance(got, list) else []
    assert [len(frame) for frame in frames] == [20, 20]


@pytest.mark.parametrize(
    ("name", "body", "status", "error"),
    [
        ("load", {"reports_per_second": 0, "seconds": 1}, 422, "invalid_occurrence"),
        ("executions", {"exec_id": "E9", "exec_type": "trade_cancel"}, 404, "unknown_execution"),
        ("executions", {"exec_id": "E1", "exec_type": "trade_cancel"}, 409, "no_trade"),
        ("executions", {"exec_id": "E1"}, 422, "invalid_occurrence"),
        ("expire", {"client_order_id": "nobody"}, 404, "unknown_order"),
        ("epoch", {"head": 7}, 409, "no_such_head"),
    ],
)
async def test_what_cannot_happen_has_a_word(
    served: Served, name: str, body: dict[str, object], status: int, error: str
) -> None:
    await served.service.place(limit("a"))

    answer = await served.call("POST", f"/v1/faults/{name}", body)

    assert (answer[0], answer[1]["error"]) == (status, error)
