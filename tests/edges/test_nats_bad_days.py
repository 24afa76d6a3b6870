"""NATS on a bad day, the real one: its disk full, its limit too low, TLS, and credentials that nobody is to read."""

import asyncio
import datetime as dt
import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ordertrail.queues.nats import NatsQueue
from ordertrail.queues.queue import Frame, Position, QueueUnavailable
from ordertrail.queues.registry import queue_title
from ordertrail.server.queue_depth import BrokerDepth
from ordertrail.up import embedded_nats
from ordertrail.up.embedded_nats import EmbeddedNats
from tests.support.queues import frame
from tests.support.small_disks import fill, small_disk

pytestmark = pytest.mark.brokers

MEGABYTE = 1024 * 1024
CALL_SECONDS = 0.5
DISK_MEGABYTES = 6
FRAMES_BEFORE = 5
SECRET = "s3cret/word,@"
VENUE = "simulated"


def queue_at(url: str, *, bytes_max: int = 64 * MEGABYTE, timeout_seconds: float = 5.0) -> NatsQueue:
    return NatsQueue(url, venue=VENUE, bytes_max=bytes_max, timeout_seconds=timeout_seconds)


@asynccontextmanager
async def running(server: EmbeddedNats) -> AsyncIterator[EmbeddedNats]:
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop_now)


async def delivered(queue: NatsQueue, *, count: int) -> list[Frame]:
    """So many, and what else is there; the server may need a moment until it gives out what it has just taken."""
    frames: list[Frame] = []
    while (delivery := await queue.take(reports_max=1_000, wait_seconds=30 if len(frames) < count else 0)) is not None:
        frames += delivery.frames
        await delivery.acknowledge()
    return frames


async def test_nothing_is_lost_where_its_disk_is_full_and_it_goes_on_once_it_is_started_anew(tmp_path: Path) -> None:
    """NATS 2.15 does not answer then, and takes nothing from there on, also where there is room again."""
    with small_disk(tmp_path / "disk", f"{DISK_MEGABYTES}m") as disk:
        async with running(EmbeddedNats(disk / "nats", log=tmp_path / "nats.log")) as server:
            queue = queue_at(server.url, timeout_seconds=CALL_SECONDS)
            taken: list[Frame] = []
            ballast = None
            with suppress(QueueUnavailable):
                for seq in range(1, 10 * DISK_MEGABYTES):
                    following = frame(seq, seq, filler="x" * 200_000)
                    await queue.publish(following, after=Position("e1", seq - 1))
                    taken.append(following)
                    ballast = ballast or (fill(disk) if seq == FRAMES_BEFORE else None)
            assert ballast is not None
            following = frame(len(taken) + 1, len(taken) + 1)
            assert "no space left on device" in server.log.read_text()
            assert await queue.tail() == Position("e1", len(taken))
            assert await queue.depth() == len(taken)
            ballast.unlink()
            with pytest.raises(QueueUnavailable, match="does not answer"):
                await queue.publish(following, after=Position("e1", len(taken)))

            await asyncio.to_thread(server.stop_now)
            await asyncio.to_thread(server.start)

            assert await queue.tail() == Position("e1", len(taken))
            await queue.publish(following, after=Position("e1", len(taken)))
            assert await delivered(queue, count=len(taken) + 1) == [*taken, following]
            await queue.close()


async def test_a_server_that_may_keep_less_than_the_stream_wants_says_so(tmp_path: Path) -> None:
    async with running(EmbeddedNats(tmp_path, bytes_max=MEGABYTE)) as server:
        queue = queue_at(server.url)
        with pytest.raises(QueueUnavailable, match="insufficient storage"):
            await queue.publish(frame(1, 1), after=Position("e1", 0))
        await queue.close()


# TLS and credentials


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def configure(text: str) -> None:
        escaped = text.replace("{", "{{").replace("}", "}}")
        monkeypatch.setattr(embedded_nats, "_CONFIGURATION", embedded_nats._CONFIGURATION + escaped)

    return configure


@pytest.fixture
def certificate(tmp_path: Path, configured: Callable[[str], None]) -> Path:
    """The server's own, signed by nobody else; the server asks for TLS."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nats")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )
    files = f"cert_file: {json.dumps(str(path))}\n key_file: {json.dumps(str(tmp_path / 'key.pem'))}"
    configured(f"tls {{\n {files}\n}}\n")
    return path


async def test_tls_from_the_url_with_a_certificate_that_is_trusted(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with running(EmbeddedNats(tmp_path / "nats")) as server:
        queue = queue_at(server.url.replace("nats://", "tls://"))
        await queue.publish(frame(1, 1), after=Position("e1", 0))
        assert await delivered(queue, count=1) == [frame(1, 1)]
        await queue.close()


@pytest.mark.usefixtures("certificate")
async def test_a_certificate_that_nobody_trusts_is_refused_and_said(tmp_path: Path) -> None:
    async with running(EmbeddedNats(tmp_path / "nats")) as server:
        queue = queue_at(server.url.replace("nats://", "tls://"))
        with pytest.raises(QueueUnavailable, match="certificate"):
            await queue.tail()
        await queue.close()


@pytest.mark.parametrize("password", [SECRET, f"{SECRET}-wrong"])
async def test_credentials_of_the_url_are_used_and_never_shown(
    tmp_path: Path, configured: Callable[[str], None], capfd: pytest.CaptureFixture[str], password: str
) -> None:
    configured(f'authorization {{ user: ada, password: "{SECRET}" }}\n')
    async with running(EmbeddedNats(tmp_path)) as server:
        url = server.url.replace("nats://", f"nats://ada:{quote(password, safe='')}@")
        queue = queue_at(url)
        said = ""
        try:
            await queue.publish(frame(1, 1), after=Position("e1", 0))
        except QueueUnavailable as error:
            said = f"{error} {error.__cause__}"
        await queue.close()
        shown = await BrokerDepth(queue_title(url), lambda: queue_at(url)).read()

    assert (said == "") == (password == SECRET) == (shown.frames == 1)
    written = f"{said} {shown} {server.log.read_text()} {''.join(capfd.readouterr())}"
    assert not any(secret in written for secret in (SECRET, quote(SECRET, safe="")))
