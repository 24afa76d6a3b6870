"""The simulated exchange as a process of its own, over real sockets."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.payloads import as_recorded, payload

READY = "simulated exchange listening on "
Body = dict[str, Any]


class Running:
    """A running exchange and a client to it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, client: aiohttp.ClientSession) -> None:
        self.process = process
        self.url = url
        self.client = client

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self.client.request(method, self.url + path, json=body) as response:
            return response.status, await response.json()

    async def place(self, client_order_id: str, **changes: object) -> tuple[int, Any]:
        return await self.call("POST", "/v1/orders", order(client_order_id, **changes))

    async def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)


def order(client_order_id: str, **changes: object) -> Body:
    return payload("new_order") | {"client_order_id": client_order_id} | changes


async def spawn(*arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulated_exchange",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Running] = []

    async def begin(*arguments: object) -> Running:
        process = await spawn("--data-dir", tmp_path / "exchange", *arguments)
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert line.startswith(READY), (await process.communicate())[1]
        timeout = aiohttp.ClientTimeout(total=30)
        client = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        running = Running(process, line.removeprefix(READY).strip(), client)
        started.append(running)
        return running

    yield begin
    for running in started:
        await running.client.close()
        if running.process.returncode is None:
            running.process.kill()
        await running.process.communicate()


async def test_life_of_an_order_in_the_documents_that_are_recorded(start: Start) -> None:
    exchange = await start()
    calls: dict[str, tuple[str, str, object]] = {
        "placed": ("POST", "/v1/orders", payload("new_order")),
        "duplicate": ("POST", "/v1/orders", payload("new_order")),
        "order": ("GET", "/v1/orders/order-1", None),
        "open_orders": ("GET", "/v1/orders?open=true", None),
        "executions": ("GET", "/v1/executions?after=0&limit=10", None),
        "canceled": ("DELETE", "/v1/orders/order-1", None),
        "too_late_to_cancel": ("DELETE", "/v1/orders/order-1", None),
        "unknown_order": ("GET", "/v1/orders/nobody", None),
    }

    answers = {name: await exchange.call(*call) for name, call in calls.items()}

    assert [status for status, _ in answers.values()] == [201, 409, 200, 200, 200, 202, 409, 404]
    assert {name: as_recorded(document) for name, (_, document) in answers.items()} == {
        name: payload(name) for name in calls
    }
    # Whatever the order's id at the exchange is, all of them tell the same.
    reported = [answers[name][1]["exchange_order_id"] for name in ("placed", "order", "canceled")]
    assert reported == [answers["duplicate"][1]["order"]["exchange_order_id"]] * 3


async def test_ids_with_unusual_characters_are_found(start: Start) -> None:
    exchange = await start()
    await exchange.place("a/b%c?d=e")

    status, queried = await exchange.call("GET", "/v1/orders/a%2Fb%25c%3Fd=e")

    assert (status, queried["client_order_id"]) == (200, "a/b%c?d=e")


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (("GET", "/v1/orders/a", None), 404, "unknown_order"),
        (("DELETE", "/v1/orders/a", None), 404, "unknown_order"),
        (("GET", "/v1/nothing", None), 404, "not_found"),
        (("GET", "/v1/orders/", None), 404, "not_found"),
        (("PATCH", "/v1/orders", None), 405, "method_not_allowed"),
        (("GET", "/v1/orders", None), 422, "invalid_query"),
        (("GET", "/v1/executions?after=-1", None), 422, "invalid_query"),
        (("GET", "/v1/executions?limit=0", None), 422, "invalid_query"),
        (("PUT", "/v1/faults", {"place": {"lost": -1}}), 422, "invalid_faults"),
        (("PUT", "/v1/capabilities", {"epoch": "other"}), 422, "invalid_capabilities"),
        (("PUT", "/v1/capabilities", []), 422, "invalid_capabilities"),
        (("POST", "/v1/orders", []), 422, "rejected"),
        (("POST", "/v1/orders", order("a", limit_price=10.555)), 422, "rejected"),
        (("POST", "/v1/orders", {"padding": "x" * 20_000}), 413, "body_too_large"),
    ],
)
async def test_errors_have_a_word(start: Start, request_: tuple[str, str, object], status: int, error: str) -> None:
    exchange = await start()

    answer = await exchange.call(*request_)

    assert (answer[0], answer[1]["error"]) == (status, error)


async def test_capabilities_are_reported_and_set(start: Start) -> None:
    exchange = await start("--profile", "while_open")
    _, before = await exchange.call("GET", "/v1/capabilities")

    status, after = await exchange.call("PUT", "/v1/capabilities", before | {"client_order_id_unique": "never"})

    assert as_recorded(before) == payload("capabilities") | {"client_order_id_unique": "while_open"}
    assert (status, after) == (200, before | {"client_order_id_unique": "never"})
    assert [(await exchange.place("a"))[0] for _ in range(2)] == [201, 201]


async def test_faults_that_answer(start: Start) -> None:
    exchange = await start()
    answers: dict[str, tuple[int, Body, str | None]] = {}
    for name in ("FAULTREFUSE0", "FAULTTHROTTL", "FAULTCLOSED0", "FAULTERROR00"):
        body = order(name, instrument=name)
        async with exchange.client.post(f"{exchange.url}/v1/orders", json=body) as response:
            answers[name] = (response.status, await response.json(), response.headers.get("Retry-After"))

    async with exchange.client.post(
        f"{exchange.url}/v1/orders", json=order("garbage", instrument="FAULTGARBAGE")
    ) as response:
        garbage = await response.read()

    assert answers["FAULTREFUSE0"][:2] == (422, payload("rejected"))
    assert answers["FAULTTHROTTL"] == (429, payload("instrument_throttled"), "1")
    assert answers["FAULTCLOSED0"] == (503, payload("instrument_closed"), None)
    assert answers["FAULTERROR00"][:2] == (500, payload("internal_error"))
    with pytest.raises(ValueError):  # noqa: PT011  # which of the ways not to be JSON it is does not matter
        json.loads(garbage)
    assert (await exchange.call("GET", "/v1/orders/garbage"))[0] == 200


@pytest.mark.parametrize(("weight", "status", "name"), [("throttle", 429, "throttled"), ("closed", 503, "closed")])
async def test_what_weights_throttle_and_close_is_the_whole_exchange(
    start: Start, weight: str, status: int, name: str
) -> None:
    exchange = await start()

    await exchange.call("PUT", "/v1/faults", {"place": {weight: 1}})

    assert await exchange.call("POST", "/v1/orders", order("a")) == (status, payload(name))


async def test_reset_is_a_reset(start: Start) -> None:
    exchange = await start()
    reader, writer = await post(exchange.url, order("a", instrument="FAULTRESET00"))

    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)

    writer.close()
    assert (await exchange.call("GET", "/v1/orders/a"))[0] == 200


async def test_lost_answer_never_comes_and_stopping_lets_it_go(start: Start) -> None:
    exchange = await start()
    reader, writer = await post(exchange.url, order("a", instrument="FAULTLOST000"))
    while (await exchange.call("GET", "/v1/orders/a"))[0] == 404:
        pass  # until the exchange has it

    returncode = await exchange.stop(signal.SIGTERM)

    assert returncode == 0
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert exchange.process.stderr is not None
    assert await exchange.process.stderr.read() == b""


async def test_client_that_gives_up_on_a_lost_answer_leaves_no_trace(start: Start) -> None:
    exchange = await start()
    _, writer = await post(exchange.url, order("a", instrument="FAULTLOST000"))
    while (await exchange.call("GET", "/v1/orders/a"))[0] == 404:
        pass

    writer.close()
    await writer.wait_closed()

    assert await exchange.stop(signal.SIGTERM) == 0
    assert exchange.process.stderr is not None
    assert await exchange.process.stderr.read() == b""


async def test_what_is_in_flight_is_finished_before_stopping(start: Start) -> None:
    exchange = await start("--faults", '{"latency_ms": 500}')
    placing = asyncio.create_task(exchange.place("a"))
    while not (await exchange.call("GET", "/v1/executions"))[1]["head"]:
        pass

    returncode = await exchange.stop(signal.SIGTERM)

    assert returncode == 0
    assert (await placing)[0] == 201


async def test_killed_exchange_remembers_every_order_it_answered_for(start: Start) -> None:
    exchange = await start()
    answered: dict[str, str] = {}
    enough = asyncio.Event()

    async def place_until_killed(worker: int) -> None:
        for number in range(10_000):
            try:
                status, body = await exchange.place(f"{worker}-{number}", side="buy" if worker % 2 else "sell")
            except (aiohttp.ClientError, ConnectionError):
                return
            assert status == 201
            answered[body["client_order_id"]] = body["exchange_order_id"]
            if len(answered) >= 500:
                enough.set()

    workers = [asyncio.create_task(place_until_killed(worker)) for worker in range(32)]
    await asyncio.wait_for(enough.wait(), 60)
    await exchange.stop(signal.SIGKILL)
    await asyncio.gather(*workers)

    restarted = await start()
    reports: list[Body] = []
    while True:
        _, page = await restarted.call("GET", f"/v1/executions?after={len(reports)}&limit=10000")
        reports += page["executions"]
        if len(reports) == page["head"]:
            break
    assert [report["seq"] for report in reports] == list(range(1, len(reports) + 1))
    accepted = [(r["client_order_id"], r["exchange_order_id"]) for r in reports if r["exec_type"] == "new"]
    assert len({client_order_id for client_order_id, _ in accepted}) == len(accepted)
    assert answered.items() <= dict(accepted).items()
    assert (await restarted.place(next(iter(answered))))[0] == 409


async def test_second_exchange_on_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    await start()

    second = await spawn("--data-dir", tmp_path / "exchange")
    _, stderr = await asyncio.wait_for(second.communicate(), 20)

    assert second.returncode == 2
    assert stderr.decode() == f"{tmp_path / 'exchange' / 'exchange.log'} is in use by another process.\n"


async def test_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await spawn("--data-dir", tmp_path, "--port", port)
        _, stderr = await asyncio.wait_for(process.communicate(), 20)

    assert process.returncode == 2
    assert stderr.decode() == f"Cannot listen on 127.0.0.1, port {port}: Address already in use.\n"


async def post(url: str, body: Body) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request on a bare connection, to see what becomes of the connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    content = json.dumps(body).encode()
    head = f"POST /v1/orders HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


async def test_killed_in_the_middle_of_a_flood_it_has_all_that_it_showed(start: Start) -> None:
    exchange = await start("--reports-kept", "50000")
    async with exchange.client.ws_connect(exchange.url + "/v1/executions") as reader:
        await exchange.call(
            "POST", "/v1/faults/load", {"reports_per_second": 1_000_000, "seconds": 60, "orders": 50, "quantity": 7}
        )
        shown: list[Body] = []
        while len(shown) < 3000:
            got = await reader.receive_json()
            shown += got if isinstance(got, list) else []
        await exchange.stop(signal.SIGKILL)

    again = await start("--reports-kept", "50000")
    _, page = await again.call("GET", f"/v1/executions?limit={len(shown)}")
    _, after = await again.call("GET", f"/v1/executions?after={page['head']}")

    assert page["executions"] == shown
    assert after == {"epoch": page["epoch"], "head": page["head"], "executions": []}
