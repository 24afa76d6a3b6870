"""Every field of every reply of the protocol, spoiled in every way: nothing raises, nothing is proved by it.

The fields are those of the wire's own structs, so that one that comes to the protocol comes to these cases by itself.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ordertrail.domain.capabilities import Capabilities
from ordertrail.domain.venue_answer import Absent, Accepted, Found, NoAnswer, NotSent, Refused, Unknown
from ordertrail.venues.http import wire
from ordertrail.venues.http.wire import Reply
from ordertrail.venues.venue import RAW_BYTES_MAX, ExecutionPage, OpenOrders
from tests.support.counts import Count
from tests.support.hostile_values import HOSTILE, spoiled
from tests.support.payloads import RECORDED_ORDER, payload

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
CASES_MIN = 1000
DETAIL_LENGTH_MAX = 300


@dataclass(frozen=True, eq=False)
class ReplyKind:
    """A reply, the struct that reads it, and where in its document that struct stands."""

    name: str
    struct: type[msgspec.Struct]
    status: int
    document: dict[str, Any]
    inside: str | None = None

    def bodies(self) -> Iterator[tuple[str, str, bytes]]:
        """The document with one field spoiled, by the field and what is wrong with it."""
        holder = self.document if self.inside is None else self.document[self.inside]
        fields = {name: json.dumps(value).encode() for name, value in holder.items()}
        for name in self.struct.__struct_fields__:
            # One that the document leaves out is there only where it is the one that is spoiled.
            for what, body in spoiled({name: b"null"} | fields, name):
                yield name, what, body if self.inside is None else self._around(body)

    def _around(self, inner: bytes) -> bytes:
        outer = dict(self.document) | {self.inside: "HERE"}
        return json.dumps(outer).encode().replace(b'"HERE"', inner)


PLACED = ReplyKind("placed", wire._Placed, 201, payload("placed"))
DUPLICATE = ReplyKind("duplicate", wire._OrderView, 409, payload("duplicate"), "order")
DUPLICATE_ITSELF = ReplyKind("duplicate itself", wire._Duplicate, 409, payload("duplicate"))
REJECTED = ReplyKind("rejected", wire._Rejected, 422, payload("rejected"))
THROTTLED = ReplyKind("throttled", wire._NotExecuted, 429, payload("throttled"))
CLOSED = ReplyKind("closed", wire._NotExecuted, 503, payload("closed"))
ORDER = ReplyKind("order", wire._OrderView, 200, payload("order"))
UNKNOWN_ORDER = ReplyKind("unknown order", wire._UnknownOrder, 404, payload("unknown_order"))
CAPABILITIES = ReplyKind("capabilities", wire._Capabilities, 200, payload("capabilities"))
OPEN_ORDER = ReplyKind("open order", wire._OrderView, 200, payload("open_orders")["orders"][0])
OPEN_ORDERS = ReplyKind("open orders", wire._OpenOrders, 200, payload("open_orders"))
EXECUTION = ReplyKind("execution", wire._Execution, 200, payload("executions")["executions"][0])
EXECUTIONS = ReplyKind("executions", wire._Executions, 200, payload("executions"))
KINDS = (
    PLACED, DUPLICATE, DUPLICATE_ITSELF, REJECTED, THROTTLED, CLOSED, ORDER, UNKNOWN_ORDER, CAPABILITIES, OPEN_ORDER,
    OPEN_ORDERS, EXECUTION, EXECUTIONS,
)  # fmt: skip
CASES = [(kind, field, what, body) for kind in KINDS for field, what, body in kind.bodies()]


def in_whole(slices: Any) -> Any:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value


def texts_of(value: object) -> Iterator[str | bytes]:
    """Every text in an answer, however deep it stands."""
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, Sequence):
        for each in value:
            yield from texts_of(each)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from texts_of(getattr(value, name))


def is_bounded(answer: object) -> bool:
    """Whether all of it can stand in a row and in a log."""
    return all(
        len(text) <= RAW_BYTES_MAX if isinstance(text, bytes) else len(text) <= 512 and "\x00" not in text
        for text in texts_of(answer)
    )


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= CASES_MIN
    assert {field for kind, field, _, _ in CASES if kind is ORDER} == set(wire._OrderView.__struct_fields__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_not_spoiled_can_be_read(kind: ReplyKind) -> None:
    """Or a case would be unreadable whatever its one field is."""
    document = json.dumps(kind.document).encode()
    assert reads_as(kind, document.replace(ELEMENTS.get(kind, b"\0"), b"[]"))


def reads_as(kind: ReplyKind, body: bytes) -> bool:
    """Whether each field that the struct has can be read, each once: by a way of its own, over Python's reader."""
    try:
        msgspec.json.decode(body)
        document = json.loads(body, object_pairs_hook=_once)
        if kind.inside is not None:
            document = document[kind.inside]
        msgspec.convert(
            {name: document[name] for name in document if name in kind.struct.__struct_fields__}, kind.struct
        )
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(document, dict)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def place(kind: ReplyKind, body: bytes) -> Any:
    return wire.read_placed(Reply(kind.status, body), RECORDED_ORDER, now=NOW)


def check_placed(kind: ReplyKind, field: str, body: bytes) -> None:
    answer = place(kind, body)

    assert is_bounded(answer)
    is_ours = reads_as(kind, body) and field != "client_order_id"
    assert isinstance(answer, Accepted if is_ours else Unknown)


def check_duplicate(kind: ReplyKind, field: str, body: bytes) -> None:
    answer = place(kind, body)

    assert is_bounded(answer)
    assert isinstance(answer, Accepted | Unknown)
    if not reads_as(DUPLICATE, body) or not reads_as(DUPLICATE_ITSELF, body):
        assert isinstance(answer, Unknown)


def check_rejected(kind: ReplyKind, field: str, body: bytes) -> None:
    answer = place(kind, body)

    assert is_bounded(answer)
    assert isinstance(answer, Refused if reads_as(kind, body) else Unknown)


def check_not_executed(kind: ReplyKind, field: str, body: bytes) -> None:
    answer = place(kind, body)

    assert is_bounded(answer)
    assert isinstance(answer, NotSent if reads_as(kind, body) else Unknown)


def check_order(kind: ReplyKind, field: str, body: bytes) -> None:
    answer = wire.read_order(Reply(200, body), RECORDED_ORDER.id)

    assert is_bounded(answer)
    assert isinstance(answer, Found if reads_as(kind, body) and field != "client_order_id" else NoAnswer)
    assert (
        isinstance(answer, Found)
        or (answer.detail and len(answer.detail) <= DETAIL_LENGTH_MAX)
        or field == "client_order_id"
    )


def check_unknown_order(kind: ReplyKind, field: str, body: bytes) -> None:
    queried = wire.read_order(Reply(404, body), RECORDED_ORDER.id)
    canceled = wire.read_canceled(Reply(404, body))

    assert is_bounded((queried, canceled))
    for answer in (queried, canceled):
        assert isinstance(answer, Absent if reads_as(kind, body) else NoAnswer)


def check_capabilities(kind: ReplyKind, field: str, body: bytes) -> None:
    answer = wire.read_capabilities(Reply(200, body))

    assert is_bounded(answer)
    assert isinstance(answer, Capabilities if reads_as(kind, body) else NoAnswer)


def check_open_order(kind: ReplyKind, field: str, body: bytes) -> None:
    """It stands among others, and they are read whatever it is."""
    before, after = (json.dumps(kind.document | {"client_order_id": name}).encode() for name in ("a", "b"))

    answer = in_whole(wire.read_open_orders(Reply(200, b'{"orders": [%b, %b, %b]}' % (before, body, after))))

    assert isinstance(answer, OpenOrders)
    assert is_bounded((answer.unreadable, answer.orders))
    assert {"a", "b"} <= {order.client_order_id for order in answer.orders}
    is_read = reads_as(kind, body)
    assert (len(answer.orders), len(answer.unreadable)) == ((3, 0) if is_read else (2, 1))
    assert answer.is_complete == is_read


def check_execution(kind: ReplyKind, field: str, body: bytes) -> None:
    """It stands among others; they are read, and the page comes to its end."""
    before, after = (json.dumps(kind.document | {"seq": seq}).encode() for seq in (1, 3))
    middle = body if field == "seq" else body.replace(b'"seq": 1', b'"seq": 2', 1)
    listing = b'{"epoch": "e", "executions": [%b, %b, %b], "head": 4}' % (before, middle, after)

    page = in_whole(wire.read_executions(Reply(200, listing), after=0, limit=10))

    assert isinstance(page, ExecutionPage)
    assert is_bounded((page.unreadable, page.executions))
    assert {1, 3} <= {execution.seq for execution in page.executions}
    assert page.position_after(0) == 3
    assert len(page.executions) + len(page.unreadable) == 3
    if not reads_as(kind, middle):
        assert len(page.unreadable) == 1


def check_beside_a_list(kind: ReplyKind, field: str, body: bytes) -> None:
    orders = in_whole(wire.read_open_orders(Reply(200, body)))
    page = in_whole(wire.read_executions(Reply(200, body), after=0, limit=10))

    assert is_bounded((orders, page))
    answer = orders if kind is OPEN_ORDERS else page
    if field in {"as_of", "epoch", "head"} and not reads_as(kind, body.replace(ELEMENTS[kind], b"[]")):
        assert isinstance(answer, NoAnswer)
    elif field in {"orders", "executions"}:
        assert isinstance(answer, NoAnswer) or not read_by(answer)
    else:
        assert not isinstance(answer, NoAnswer) or field == "head"


def read_by(answer: Any) -> Any:
    return answer.orders if isinstance(answer, OpenOrders) else answer.executions


ELEMENTS = {
    OPEN_ORDERS: json.dumps(payload("open_orders")["orders"]).encode(),
    EXECUTIONS: json.dumps(payload("executions")["executions"]).encode(),
}
CHECKS: dict[ReplyKind, Callable[[ReplyKind, str, bytes], None]] = {
    PLACED: check_placed,
    DUPLICATE: check_duplicate,
    DUPLICATE_ITSELF: check_duplicate,
    REJECTED: check_rejected,
    THROTTLED: check_not_executed,
    CLOSED: check_not_executed,
    ORDER: check_order,
    UNKNOWN_ORDER: check_unknown_order,
    CAPABILITIES: check_capabilities,
    OPEN_ORDER: check_open_order,
    OPEN_ORDERS: check_beside_a_list,
    EXECUTION: check_execution,
    EXECUTIONS: check_beside_a_list,
}


@pytest.mark.parametrize(
    ("kind", "field"),
    [pytest.param(kind, field, id=f"{kind.name}.{field}") for kind in KINDS for field in kind.struct.__struct_fields__],
)
def test_hostile_field_proves_nothing_and_spoils_no_other(kind: ReplyKind, field: str, counted: Count) -> None:
    cases = [(what, body) for each, name, what, body in CASES if each is kind and name == field]

    for what, body in cases:
        try:
            CHECKS[kind](kind, field, body)
        except Exception as error:
            raise AssertionError(f"{kind.name}.{field}: {what}") from error
    counted({"hostile replies": len(cases)})


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_document_at_all(what: str) -> None:
    body = HOSTILE[what]

    for status in (200, 201, 404, 409, 422, 429, 503):
        answers = [
            wire.read_placed(Reply(status, body), RECORDED_ORDER, now=NOW),
            wire.read_order(Reply(status, body), RECORDED_ORDER.id),
            in_whole(wire.read_open_orders(Reply(200, body))),
            in_whole(wire.read_executions(Reply(200, body), after=0, limit=10)),
        ]

        assert is_bounded(answers)
        assert all(isinstance(answer, Unknown | NoAnswer) for answer in answers)
