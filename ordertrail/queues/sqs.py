"""The queue at Amazon SQS, FIFO or standard: no chain, so two feeds may both write, and no tail.

SQS gives up a message after 14 days, or where its owner has set a dead-letter queue. What is lost so is a gap in what
was applied, and the feed fetches it again from the venue.
"""

import asyncio
import base64
import contextlib
import functools
import re
import urllib.parse
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ordertrail.queues.envelope import HEADER, frame_of, header_of
from ordertrail.queues.queue import Frame, Position, QueueUnavailable
from ordertrail.queues.splitting import ReportTooLarge, split
from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.telemetry.logs import get_logger

try:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import AioSession, get_session
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
except ModuleNotFoundError as error:
    raise CannotStart(
        "ORDERTRAIL_QUEUE_URL names SQS, for which the package aiobotocore is missing: "
        'pip install "ordertrail[sqs]", or pip install aiobotocore.'
    ) from error

# While a message of a group is being worked on, SQS gives out no other of it: so many processors can work at once.
GROUPS = 16
# How long frames may be worked on before they are offered to others; extended by a processor that takes longer.
HOLD_SECONDS = 30
KEEP_SECONDS = 14 * 24 * 3600
# The limit of SQS for body and attributes together; we cut at half of it, for a quote takes two bytes on its way.
MESSAGE_BYTES_MAX = 1024 * 1024
BODY_BYTES_MAX = 512 * 1024
# Of one call.
BATCH_MAX = 10
TAKE_FRAMES_MAX = 100
WAIT_SECONDS_MAX = 20

_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
_ENCODING, _BASE64 = "Ordertrail-Encoding", "base64"
# What SQS refuses in a body (docs.aws.amazon.com, SendMessage): all control characters but three, and two others.
_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_log = get_logger()


@dataclass(frozen=True, slots=True)
class SqsDelivery:
    """Frames, with the receipts by which SQS knows this delivery of them."""

    frames: Sequence[Frame]
    _queue: "SqsQueue"
    _receipts: Sequence[str]

    async def acknowledge(self) -> None:
        await self._queue.forget(self._receipts)

    async def give_back(self) -> None:
        await self._hold(0)

    async def extend(self) -> None:
        await self._hold(self._queue.hold_seconds)

    async def _hold(self, seconds: int) -> None:
        try:
            await self._queue.hold(self._receipts, seconds)
        except QueueUnavailable as error:
            _log.info("a queue does not hear what becomes of its frames", error=str(error))


@dataclass(frozen=True, slots=True)
class SqsAddress:
    """Where a queue is. `endpoint` and the keys: None: as the AWS libraries find them."""

    name: str
    region: str | None
    account: str | None
    endpoint: str | None
    access_key: str | None
    secret_key: str | None

    @property
    def is_fifo(self) -> bool:
        return self.name.endswith(".fifo")


def read_address(url: str) -> SqsAddress:
    """What a URL says; ValueError.

    `sqs://region/[account/]queue[.fifo]`, or for a server that is not Amazon's `sqs+http://[key:secret@]host:port/…`
    and `sqs+https://…`, with `?region=…` behind it.
    """
    parts = urllib.parse.urlsplit(url)
    *accounts, name = parts.path.strip("/").split("/")
    if not name or len(accounts) > 1:
        raise ValueError("after the host stands /queue or /account/queue")
    account = accounts[0] if accounts else None
    if parts.scheme == "sqs":
        return SqsAddress(name, parts.hostname, account, None, None, None)
    place = parts.netloc.rpartition("@")[2]
    region = urllib.parse.parse_qs(parts.query).get("region", ["us-east-1"])[0]
    key, secret = (None if text is None else urllib.parse.unquote(text) for text in (parts.username, parts.password))
    return SqsAddress(name, region, account, f"{parts.scheme.removeprefix('sqs+')}://{place}", key, secret)


class SqsQueue:
    """One venue's queue; a name that ends with `.fifo` is a FIFO queue. It is made where it is missing."""

    is_chained = False

    def __init__(self, url: str, *, venue: str, timeout_seconds: float = 5.0, hold_seconds: int = HOLD_SECONDS) -> None:
        self._venue = venue
        self._address = read_address(url)
        self._timeout_seconds = timeout_seconds
        self.hold_seconds = hold_seconds
        self._opened = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None
        self._queue_url: str | None = None
        self._reports_a_frame = 1.0

    async def open(self) -> None:
        """Nothing yet: the first use connects."""

    async def close(self) -> None:
        async with self._opening:
            self._client = self._queue_url = None
            await self._opened.aclose()

    async def tail(self) -> Position | None:
        await self._call("get_queue_attributes", AttributeNames=["QueueArn"])
        return None

    async def publish(self, frame: Frame, *, after: Position | None) -> None:  # noqa: ARG002 - it has no chain
        try:
            parts = split(frame, bytes_max=BODY_BYTES_MAX)
        except ReportTooLarge as error:
            raise QueueUnavailable(str(error)) from error
        for part in parts:
            await self._publish(part)

    async def take(self, *, reports_max: int, wait_seconds: float) -> SqsDelivery | None:
        messages = await self._receive(self._wanted(reports_max), wait_seconds=min(int(wait_seconds), WAIT_SECONDS_MAX))
        while messages and len(messages) < TAKE_FRAMES_MAX:
            missing = reports_max - sum(self._frame_of(message).count for message in messages)
            more = await self._receive_more(self._wanted(missing)) if missing > 0 else []
            if not more:
                break
            messages += more
        if not messages:
            return None
        frames = [self._frame_of(message) for message in messages]
        average = sum(frame.count for frame in frames) / len(frames)
        self._reports_a_frame = max(1.0, (self._reports_a_frame + average) / 2)
        receipts = [message["ReceiptHandle"] for message in messages]
        return SqsDelivery(frames, self, receipts)

    async def depth(self) -> int | None:
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = await self._call("get_queue_attributes", AttributeNames=names)
        return sum(int(answer.get("Attributes", {}).get(name, 0)) for name in names)

    @property
    def is_depth_exact(self) -> bool:
        return False  # SQS says so itself: it may take a minute to follow

    async def frames_waiting(self) -> int | None:
        """As `depth`, but nothing is declared; None: it is in reach, and nothing has been declared there yet."""
        async with self._opening:
            if self._client is None:
                self._client = await self._make_client()
        try:
            async with self._bounded():
                await self._client.get_queue_url(QueueName=self._address.name, **self._owner)
        except _NoQueueError:
            return None
        return await self.depth()

    async def forget(self, receipts: Sequence[str]) -> None:
        """Delete what was delivered under these receipts; what SQS refuses for its age is delivered again."""
        for entries in _batches(receipts):
            answer = await self._call("delete_message_batch", Entries=entries)
            failed = answer.get("Failed", [])
            if any(not each.get("SenderFault", True) for each in failed):
                raise QueueUnavailable(f"SQS could not delete: {failed[0].get('Message') or failed[0].get('Code')}")
            if failed:
                _log.info(
                    "an acknowledgement came too late for the queue", frames=len(failed), code=failed[0].get("Code")
                )

    async def hold(self, receipts: Sequence[str], seconds: int) -> None:
        """Offer what was delivered under these receipts to no other for so long."""
        for entries in _batches(receipts):
            held = [{**entry, "VisibilityTimeout": seconds} for entry in entries]
            await self._call("change_message_visibility_batch", Entries=held)

    async def _publish(self, frame: Frame) -> None:
        is_sendable = _is_sendable(frame.body)
        attributes = {HEADER: header_of(frame)}
        if not is_sendable:
            attributes[_ENCODING] = _BASE64
        message: dict[str, Any] = {
            "MessageBody": (frame.body if is_sendable else base64.b64encode(frame.body)).decode(),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        }
        if self._address.is_fifo:
            message["MessageGroupId"] = str(zlib.crc32(frame.id.encode()) % GROUPS)
            # Another for each call: a filling whose like was sent a minute ago must not be dropped for its name.
            message["MessageDeduplicationId"] = uuid.uuid4().hex
        await self._call("send_message", **message)

    def _frame_of(self, message: dict[str, Any]) -> Frame:
        attributes = message.get("MessageAttributes", {})
        header = attributes.get(HEADER, {}).get("StringValue")
        body = message.get("Body", "").encode()
        if attributes.get(_ENCODING, {}).get("StringValue") == _BASE64:
            body = base64.b64decode(body)
        return frame_of(header, body, venue=self._venue)

    def _wanted(self, reports: int) -> int:
        return max(1, min(BATCH_MAX, int(reports / self._reports_a_frame)))

    async def _receive(self, frames_max: int, *, wait_seconds: int = 0) -> list[dict[str, Any]]:
        answer = await self._call(
            "receive_message",
            wait_seconds=wait_seconds,
            MaxNumberOfMessages=frames_max,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=self.hold_seconds,
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    async def _receive_more(self, frames_max: int) -> list[dict[str, Any]]:
        """What is there beside what this call has already; without it, where that fails."""
        try:
            return await self._receive(frames_max)
        except QueueUnavailable:
            return []

    async def _call(self, operation: str, *, wait_seconds: float = 0, **arguments: Any) -> dict[str, Any]:
        """What SQS answers; a queue that is missing is made, once."""
        for is_last in (False, True):
            try:
                client, queue_url = await self._connected()
                async with self._bounded(wait_seconds):
                    return cast("dict[str, Any]", await getattr(client, operation)(QueueUrl=queue_url, **arguments))
            except _NoQueueError as error:
                self._queue_url = None
                if is_last:
                    raise QueueUnavailable(str(error)) from error
        raise AssertionError("the last attempt returns or raises")

    async def _connected(self) -> tuple[Any, str]:
        async with self._opening:
            if self._client is None:
                self._client = await self._make_client()
            if self._queue_url is None:
                async with self._bounded():
                    self._queue_url = await self._find_or_make()
            return self._client, self._queue_url

    @contextlib.asynccontextmanager
    async def _bounded(self, wait_seconds: float = 0) -> AsyncIterator[None]:
        with _named_failures():
            async with asyncio.timeout(self._timeout_seconds + wait_seconds):
                yield

    async def _make_client(self) -> Any:
        address = self._address
        config = AioConfig(
            connect_timeout=self._timeout_seconds,
            read_timeout=self._timeout_seconds + WAIT_SECONDS_MAX,
            retries={"mode": "standard", "total_max_attempts": 1},
        )
        with _named_failures():
            return await self._opened.enter_async_context(
                _session().create_client(
                    "sqs",
                    region_name=address.region,
                    endpoint_url=address.endpoint,
                    aws_access_key_id=address.access_key,
                    aws_secret_access_key=address.secret_key,
                    config=config,
                )
            )

    @property
    def _owner(self) -> dict[str, str]:
        account = self._address.account
        return {} if account is None else {"QueueOwnerAWSAccountId": account}

    async def _find_or_make(self) -> str:
        try:
            found = await self._client.get_queue_url(QueueName=self._address.name, **self._owner)
        except ClientError as error:
            if _code(error) not in _NO_QUEUE:
                raise
            found = await self._make_queue()
        return str(found["QueueUrl"])

    async def _make_queue(self) -> dict[str, Any]:
        attributes = {
            "VisibilityTimeout": str(self.hold_seconds),
            "MessageRetentionPeriod": str(KEEP_SECONDS),
            "MaximumMessageSize": str(MESSAGE_BYTES_MAX),
        }
        if self._address.is_fifo:
            attributes |= {
                "FifoQueue": "true",
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            }
        made = await self._client.create_queue(QueueName=self._address.name, Attributes=attributes)
        _log.info("a queue is made", queue=self._address.name)
        return cast("dict[str, Any]", made)


@functools.cache
def _session() -> AioSession:
    """One for the process: it keeps the description of the service, which takes long to read."""
    return get_session()


class _NoQueueError(Exception):
    """The queue has been deleted."""


@contextlib.contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _code(error) in _NO_QUEUE:
            raise _NoQueueError(str(error)) from error
        raise QueueUnavailable(f"SQS refuses: {error}") from error
    except (BotoCoreError, HTTPClientError, OSError, TimeoutError) as error:
        raise QueueUnavailable(f"SQS does not answer: {str(error) or type(error).__name__}") from error


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_sendable(body: bytes) -> bool:
    try:
        return bool(body) and _REFUSED.search(body.decode()) is None
    except UnicodeDecodeError:
        return False


def _batches(receipts: Sequence[str]) -> Sequence[list[dict[str, Any]]]:
    return [
        [
            {"Id": str(index), "ReceiptHandle": receipt}
            for index, receipt in enumerate(receipts[begin : begin + BATCH_MAX])
        ]
        for begin in range(0, len(receipts), BATCH_MAX)
    ]
