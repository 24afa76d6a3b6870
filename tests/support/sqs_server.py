"""A small SQS that is as strict as Amazon's where moto is not: late receipts, characters, groups in flight.

By Amazon's API reference: SendMessage, ReceiveMessage, DeleteMessageBatch, ChangeMessageVisibilityBatch.
"""

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BYTES_MAX = 1024 * 1024
BATCH_MAX = 10
DEDUPLICATION_SECONDS = 300

Json = dict[str, Any]


class Refused(Exception):
    """An answer of status 400."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Message:
    body: str
    attributes: Json
    group: str | None
    receipt: str | None = None
    hidden_until: float = 0.0


@dataclass
class Kept:
    is_fifo: bool
    hold_seconds: float
    messages: list[Message] = field(default_factory=list)
    deduplication: dict[str, float] = field(default_factory=dict)


class SqsServer:
    """Queues in memory. `skip` moves its clock."""

    def __init__(self) -> None:
        self.queues: dict[str, Kept] = {}
        self.url = ""
        self._skipped = 0.0
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()

    def skip(self, seconds: float) -> None:
        self._skipped += seconds
        self.change()

    def now(self) -> float:
        return time.monotonic() + self._skipped

    async def answer(self, request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        wanted = await request.json()
        if operation == "ReceiveMessage":
            await self.something_to_receive(wanted)
        calls: dict[str, Callable[[Json], Json]] = {
            "CreateQueue": self.create,
            "GetQueueUrl": self.find,
            "GetQueueAttributes": self.count,
            "SendMessage": self.send,
            "ReceiveMessage": self.receive,
            "DeleteMessageBatch": lambda wanted: self.each(wanted, self.delete),
            "ChangeMessageVisibilityBatch": lambda wanted: self.each(wanted, self.hold),
        }
        try:
            self.change()
            return web.json_response(calls[operation](wanted), content_type="application/x-amz-json-1.0")
        except Refused as error:
            return web.Response(
                status=400,
                text=json.dumps({"__type": f"com.amazonaws.sqs#{error.code}", "message": str(error)}),
                headers={"x-amzn-query-error": f"{error.code};Sender"},
                content_type="application/x-amz-json-1.0",
            )

    def create(self, wanted: Json) -> Json:
        attributes = wanted.get("Attributes", {})
        name = wanted["QueueName"]
        if (attributes.get("FifoQueue") == "true") != name.endswith(".fifo"):
            raise Refused("InvalidParameterValue", "a FIFO queue's name ends with .fifo, and no other's")
        self.queues.setdefault(name, Kept(name.endswith(".fifo"), float(attributes.get("VisibilityTimeout", 30))))
        return {"QueueUrl": f"{self.url}/1/{name}"}

    def find(self, wanted: Json) -> Json:
        if wanted["QueueName"] not in self.queues:
            raise Refused("QueueDoesNotExist")
        return {"QueueUrl": f"{self.url}/1/{wanted['QueueName']}"}

    def count(self, wanted: Json) -> Json:
        kept = self._queue(wanted)
        hidden = sum(message.hidden_until > self.now() for message in kept.messages)
        counts = {
            "ApproximateNumberOfMessages": len(kept.messages) - hidden,
            "ApproximateNumberOfMessagesNotVisible": hidden,
            "ApproximateNumberOfMessagesDelayed": 0,
        }
        return {"Attributes": {name: str(counts[name]) for name in wanted["AttributeNames"] if name in counts}}

    def send(self, wanted: Json) -> Json:
        kept = self._queue(wanted)
        texts = [wanted["MessageBody"], *(each["StringValue"] for each in wanted["MessageAttributes"].values())]
        if any(REFUSED.search(text) for text in texts) or not wanted["MessageBody"]:
            raise Refused("InvalidMessageContents")
        if sum(len(text.encode()) for text in texts) > BYTES_MAX:
            raise Refused("InvalidParameterValue", "too long")
        if kept.is_fifo != ("MessageGroupId" in wanted):
            raise Refused("InvalidParameterValue", "a group is for FIFO queues")
        if kept.is_fifo:
            sent_at = kept.deduplication.get(wanted["MessageDeduplicationId"], float("-inf"))
            if self.now() - sent_at < DEDUPLICATION_SECONDS:
                return {"MessageId": "repeated"}
            kept.deduplication[wanted["MessageDeduplicationId"]] = self.now()
        kept.messages.append(Message(wanted["MessageBody"], wanted["MessageAttributes"], wanted.get("MessageGroupId")))
        return {"MessageId": str(next(self._numbers))}

    async def something_to_receive(self, wanted: Json) -> None:
        deadline = self.now() + wanted.get("WaitTimeSeconds", 0)
        while (kept := self.queues.get(wanted["QueueUrl"].rpartition("/")[2])) and not self._free(kept):
            ends = [deadline, *(each.hidden_until for each in kept.messages)]
            left = min(end for end in ends if end > self.now() or end is deadline) - self.now()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def _free(self, kept: Kept) -> list[Message]:
        now = self.now()
        busy = {each.group for each in kept.messages if each.hidden_until > now} if kept.is_fifo else set()
        return [each for each in kept.messages if each.hidden_until <= now and each.group not in busy]

    def change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def receive(self, wanted: Json) -> Json:
        kept = self._queue(wanted)
        answer = []
        for message in self._free(kept)[: min(wanted["MaxNumberOfMessages"], BATCH_MAX)]:
            message.receipt = f"receipt-{next(self._numbers)}"
            message.hidden_until = self.now() + wanted["VisibilityTimeout"]
            answer.append(
                {
                    "MessageId": "1",
                    "ReceiptHandle": message.receipt,
                    "Body": message.body,
                    "MessageAttributes": message.attributes,
                }
            )
        return {"Messages": answer} if answer else {}

    def each(self, wanted: Json, call: Callable[[Kept, Json], None]) -> Json:
        kept = self._queue(wanted)
        if not 0 < len(wanted["Entries"]) <= BATCH_MAX:
            raise Refused("TooManyEntriesInBatchRequest")
        answer: Json = {"Successful": [], "Failed": []}
        for entry in wanted["Entries"]:
            try:
                call(kept, entry)
            except Refused as error:
                failure = {"Id": entry["Id"], "SenderFault": True, "Code": error.code, "Message": str(error)}
                answer["Failed"].append(failure)
            else:
                answer["Successful"].append({"Id": entry["Id"]})
        return answer

    def delete(self, kept: Kept, entry: Json) -> None:
        kept.messages.remove(self._held(kept, entry))

    def hold(self, kept: Kept, entry: Json) -> None:
        self._held(kept, entry).hidden_until = self.now() + entry["VisibilityTimeout"]

    def _held(self, kept: Kept, entry: Json) -> Message:
        for message in kept.messages:
            if message.receipt == entry["ReceiptHandle"]:
                if message.hidden_until <= self.now():
                    raise Refused("InvalidParameterValue", "The receipt handle has expired")
                return message
        raise Refused("ReceiptHandleIsInvalid")

    def _queue(self, wanted: Json) -> Kept:
        try:
            return self.queues[wanted["QueueUrl"].rpartition("/")[2]]
        except KeyError:
            raise Refused("QueueDoesNotExist") from None


@contextlib.asynccontextmanager
async def sqs_server() -> AsyncIterator[tuple[SqsServer, Callable[[], Any]]]:
    """The server at a free port, and how to end it before the block does."""
    server = SqsServer()
    application = web.Application(client_max_size=8 * BYTES_MAX)
    application.router.add_post("/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server, runner.cleanup
    finally:
        await runner.cleanup()
