"""`/metrics` of a process that serves nothing else."""

import asyncio
import socket

import pytest

from ordertrail.server.metrics_port import HEAD_BYTES_MAX, serving_metrics


async def answer(port: int | None, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        writer.write(request)
        read = await reader.read()
    writer.close()
    return read


async def test_it_answers_for_metrics_and_nothing_else() -> None:
    async with serving_metrics("127.0.0.1", 0) as port:
        found = await answer(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        other = await answer(port, b"GET /orders HTTP/1.1\r\nHost: x\r\n\r\n")

    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"ordertrail_execution_reports_total" in body
    assert other.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("request_bytes", [b"", b"x" * (3 * HEAD_BYTES_MAX), b"\xff\r\n\r\n"])
async def test_garbage_harms_nobody(request_bytes: bytes) -> None:
    async with serving_metrics("127.0.0.1", 0) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        writer.close()

        found = await answer(port, b"GET /metrics HTTP/1.1\r\n\r\n")

    assert found.startswith(b"HTTP/1.1 200 OK")


async def test_without_a_port_there_is_none() -> None:
    async with serving_metrics("127.0.0.1", None) as port:
        assert port is None


async def test_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with serving_metrics("127.0.0.1", taken.getsockname()[1]):
            pass
