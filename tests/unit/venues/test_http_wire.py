"""What a reply over HTTP proves, and what it does not."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordertrail.domain.capabilities import PROMISES_NOTHING, UNBOUNDED, Capabilities
from ordertrail.domain.order import OrderType, Side
from ordertrail.domain.venue_answer import (
    Absent,
    Accepted,
    CancelAccepted,
    CancelTooLate,
    Found,
    NoAnswer,
    NotSent,
    Refused,
    Scope,
    Unknown,
    judge_found,
)
from ordertrail.venues.http import wire
from ordertrail.venues.http.json_list import Slices
from ordertrail.venues.http.wire import Reply
from ordertrail.venues.venue import ExecutionPage, OpenOrders
from tests.support.payloads import RECORDED_ORDER, payload

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ORDER = RECORDED_ORDER
PLACED = payload("placed")
VIEW = payload("order")
[EXECUTION] = payload("executions")["executions"]
Body = dict[str, Any]
Read = TypeVar("Read")


def reply(status: int, body: object, retry_after: str | None = None) -> Reply:
    return Reply(status, body if isinstance(body, bytes) else json.dumps(body).encode(), retry_after)


def in_whole(slices: Slices[Read]) -> Read:
    """What was read, once all slices were."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            read: Read = end.value
            return read


def open_orders_of(reply: Reply) -> OpenOrders | NoAnswer:
    return in_whole(wire.read_open_orders(reply))


def executions_of(reply: Reply, *, after: int, limit: int) -> ExecutionPage | NoAnswer:
    return in_whole(wire.read_executions(reply, after=after, limit=limit))


def duplicate(**changes: object) -> Body:
    return payload("duplicate") | {"order": VIEW | changes}


def without(body: Body, name: str) -> Body:
    return {key: value for key, value in body.items() if key != name}


def test_order_is_written_as_the_protocol_has_it() -> None:
    body = wire.write_order(ORDER, datetime(2026, 1, 1, 12, 0, 5, 250_000, tzinfo=UTC))

    assert json.loads(body) == payload("new_order") | {"accept_by": "2026-01-01T12:00:05.250000Z"}


def test_market_order_has_no_price_and_needs_no_accept_by() -> None:
    market = replace(ORDER, type=OrderType.MARKET, side=Side.SELL, limit_price=None)

    body = json.loads(wire.write_order(market, None))

    assert body == payload("new_order") | {"type": "market", "side": "sell", "limit_price": None}


@pytest.mark.parametrize(("price", "text"), [("1E+3", "1000"), ("0.01", "0.01"), ("7E-2", "0.07"), ("10.5", "10.5")])
def test_price_is_written_without_an_exponent(price: str, text: str) -> None:
    order = replace(ORDER, limit_price=Decimal(price))

    assert json.loads(wire.write_order(order, None))["limit_price"] == text


@pytest.mark.parametrize("ord_status", ["new", "partially_filled", "filled", "canceled", "expired"])
def test_readable_created_is_accepted(ord_status: str) -> None:
    assert wire.read_placed(reply(201, PLACED | {"ord_status": ord_status}), ORDER, now=NOW) == Accepted("X-1")


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (201, b"", "unreadable"),
        (201, b"<html>", "unreadable"),
        (201, b"[" * 100_000, "unreadable"),
        (201, b'{"exchange_order_id": "\xff"}', "unreadable"),
        (201, [PLACED], "unreadable"),
        (201, without(PLACED, "exchange_order_id"), "unreadable"),
        (201, without(PLACED, "client_order_id"), "unreadable"),
        (201, without(PLACED, "ord_status"), "unreadable"),
        (201, PLACED | {"exchange_order_id": ""}, "unreadable"),
        (201, PLACED | {"exchange_order_id": None}, "unreadable"),
        (201, PLACED | {"exchange_order_id": 7}, "unreadable"),
        (201, PLACED | {"exchange_order_id": "X-1\n"}, "unreadable"),
        (201, PLACED | {"exchange_order_id": "\x00"}, "unreadable"),
        (201, PLACED | {"exchange_order_id": "X" * 256}, "unreadable"),
        (201, PLACED | {"ord_status": "rejected"}, "unreadable"),
        (201, PLACED | {"ord_status": "pending_new"}, "unreadable"),
        (201, PLACED | {"client_order_id": "order-2"}, "another_order"),
        (200, PLACED, "http_200"),
        (202, PLACED, "http_202"),
        (301, b"", "redirect"),
        (307, PLACED, "redirect"),
        (400, {"error": "rejected", "reject_reason": "no"}, "http_400"),
        (401, b"", "http_401"),
        (404, {"error": "unknown_order"}, "http_404"),
        (409, b"", "http_409"),
        (409, {"error": "duplicate_client_order_id"}, "http_409"),
        (409, {"error": "something_else", "order": VIEW}, "http_409"),
        (409, duplicate(ord_status="suspended"), "http_409"),
        (409, duplicate(client_order_id="order-2"), "differs_at_exchange"),
        (409, duplicate(quantity=11), "differs_at_exchange"),
        (422, b"", "http_422"),
        (422, {"error": "invalid_query", "text": "?"}, "http_422"),
        (422, {"error": "rejected"}, "http_422"),
        (429, b"", "http_429"),
        (429, {"executed": "unknown"}, "http_429"),
        (429, {"executed": True}, "http_429"),
        (500, {"executed": "no"}, "http_500"),
        (502, b"<html>Bad Gateway</html>", "http_502"),
        (503, {"error": "no_answer"}, "http_503"),
    ],
)
def test_what_proves_nothing_is_unknown(status: int, body: object, cause: str) -> None:
    assert wire.read_placed(reply(status, body), ORDER, now=NOW) == Unknown(cause)


def test_equal_duplicate_is_the_same_order() -> None:
    assert wire.read_placed(reply(409, duplicate(limit_price="10.5")), ORDER, now=NOW) == Accepted("X-1")


@pytest.mark.parametrize("exchange_order_id", ["X-1", None])
def test_rejected_duplicate_is_refused(exchange_order_id: str | None) -> None:
    changes = {"ord_status": "rejected", "reject_reason": "no_funds", "leaves_qty": 0}
    body = duplicate(**changes, exchange_order_id=exchange_order_id)

    assert wire.read_placed(reply(409, body), ORDER, now=NOW) == Refused("no_funds")


@pytest.mark.parametrize(
    ("reason", "code"),
    [("no_funds", "no_funds"), ("", "unspecified"), ("a b", "unspecified"), ("x" * 65, "unspecified")],
)
def test_rejected_is_refused_with_a_word_that_fits_a_row(reason: str, code: str) -> None:
    body = {"error": "rejected", "reject_reason": reason, "text": "No\x00 funds.\n" + "!" * 1000}

    answer = wire.read_placed(reply(422, body), ORDER, now=NOW)

    assert isinstance(answer, Refused)
    assert answer.code == code
    assert answer.text.startswith("No funds.!!") and len(answer.text) <= wire.REFUSAL_TEXT_LENGTH_MAX


def test_rejected_may_come_without_a_text() -> None:
    body = {"error": "rejected", "reject_reason": "no_funds"}

    assert wire.read_placed(reply(422, body), ORDER, now=NOW) == Refused("no_funds", "")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        ("9" * 400, None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("٣", None),
        ("Thu, 01 Jan 2026 14:00:30 +0200", 30.0),
        ("", None),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0),
        ("Fri, 01 Jan 2027 12:00:00 GMT", 3600.0),
        ("Thu, 99 Jan 2026 12:00:30 GMT", None),
        ("Fri, 31 Dec 99999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3600.0),
        ("Thu, 01 Jan 2026 12:00:30 +9999999", None),
        ("9" * 64, 3600.0),
    ],
)
@pytest.mark.parametrize(("status", "cause"), [(429, "throttled"), (503, "closed")])
def test_not_executed_is_not_sent_with_when_to_come_back(
    status: int, cause: str, header: str | None, seconds: float | None
) -> None:
    answer = wire.read_placed(reply(status, payload(cause), header), ORDER, now=NOW)

    assert answer == NotSent(cause, seconds)


@pytest.mark.parametrize(("status", "cause"), [(429, "throttled"), (503, "closed")])
def test_not_executed_may_be_for_the_instrument_alone(status: int, cause: str) -> None:
    answer = wire.read_placed(reply(status, payload(f"instrument_{cause}")), ORDER, now=NOW)

    assert answer == NotSent(cause, None, Scope.INSTRUMENT)


@pytest.mark.parametrize("scope", ["all", "market", "INSTRUMENT", "", None, 7, ["instrument"], {"instrument": True}])
def test_scope_that_is_not_the_instrument_is_all_and_takes_nothing_from_the_proof(scope: object) -> None:
    answer = wire.read_placed(reply(503, payload("closed") | {"scope": scope}), ORDER, now=NOW)

    assert answer == NotSent("closed", None, Scope.ALL)


@given(st.integers(100, 599), st.binary(max_size=40) | st.builds(lambda v: json.dumps(v).encode(), st.text()))
def test_no_reply_makes_us_raise(status: int, body: bytes) -> None:
    answer = Reply(status, body, "\x85")

    assert isinstance(wire.read_placed(answer, ORDER, now=NOW), Unknown)
    assert isinstance(wire.read_order(answer, "order-1"), NoAnswer)
    assert isinstance(open_orders_of(answer), NoAnswer)
    assert isinstance(executions_of(answer, after=0, limit=1), NoAnswer)
    wire.read_canceled(answer)
    wire.read_capabilities(answer)


def test_order_is_found_with_all_its_fields() -> None:
    body = VIEW | {"ord_status": "partially_filled", "cum_qty": 4, "leaves_qty": 6, "avg_px": "10.12345678"}

    found = wire.read_order(reply(200, body), "order-1")

    assert isinstance(found, Found)
    assert found.order.equals(ORDER)
    assert (found.order.cum_qty, found.order.leaves_qty, found.order.avg_px) == (4, 6, Decimal("10.12345678"))


@pytest.mark.parametrize("ord_status", ["new", "partially_filled", "filled", "canceled", "expired", "rejected"])
def test_every_status_of_the_protocol_is_readable(ord_status: str) -> None:
    found = wire.read_order(reply(200, VIEW | {"ord_status": ord_status}), "order-1")

    assert isinstance(found, Found)
    assert found.order.ord_status == ord_status


def test_rejected_order_need_have_no_id_at_the_exchange() -> None:
    body = VIEW | {"ord_status": "rejected", "exchange_order_id": None, "reject_reason": "no_funds"}

    found = wire.read_order(reply(200, body), "order-1")
    listed = open_orders_of(reply(200, payload("open_orders") | {"orders": [body]}))

    assert isinstance(found, Found) and isinstance(listed, OpenOrders)
    assert judge_found(found.order, ORDER) == Refused("no_funds")
    assert listed.is_complete


@pytest.mark.parametrize("ord_status", ["new", "partially_filled", "filled", "canceled", "expired"])
def test_order_that_was_accepted_has_an_id_at_the_exchange(ord_status: str) -> None:
    body = VIEW | {"ord_status": ord_status, "exchange_order_id": None}

    answer = wire.read_order(reply(200, body), "order-1")

    assert answer == NoAnswer("unreadable")
    assert isinstance(answer, NoAnswer) and answer.text == "unreadable: exchange_order_id: is missing"


def test_market_order_is_found_without_a_price_and_a_large_one_whole() -> None:
    body = VIEW | {"type": "market", "limit_price": None, "quantity": 2**31 - 1, "leaves_qty": 2**31 - 1}

    found = wire.read_order(reply(200, body), "order-1")

    assert isinstance(found, Found)
    assert (found.order.type, found.order.limit_price) == (OrderType.MARKET, None)
    assert (found.order.quantity, found.order.leaves_qty) == (2**31 - 1, 2**31 - 1)


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, b"", "unreadable"),
        (200, VIEW | {"client_order_id": "order-2"}, "another_order"),
        (200, VIEW | {"type": "stop"}, "unreadable"),
        (200, VIEW | {"side": "short"}, "unreadable"),
        (200, VIEW | {"ord_status": "suspended"}, "unreadable"),
        (200, VIEW | {"limit_price": "NaN"}, "unreadable"),
        (200, VIEW | {"limit_price": "1e3"}, "unreadable"),
        (200, VIEW | {"limit_price": 10.5}, "unreadable"),
        (200, VIEW | {"quantity": 10.5}, "unreadable"),
        (200, VIEW | {"quantity": -1}, "unreadable"),
        (200, VIEW | {"cum_qty": 2**70}, "unreadable"),
        (200, without(VIEW, "leaves_qty"), "unreadable"),
        (201, VIEW, "http_201"),
        (404, b"", "http_404"),
        (404, b"<html>Not Found</html>", "http_404"),
        (404, {"error": "not_found"}, "http_404"),
        (300, b"", "redirect"),
        (302, b"", "redirect"),
        (500, {"error": "unknown_order"}, "http_500"),
    ],
)
def test_question_whose_reply_cannot_be_relied_on_has_no_answer(status: int, body: object, cause: str) -> None:
    assert wire.read_order(reply(status, body), "order-1") == NoAnswer(cause)


def test_unknown_order_is_absent() -> None:
    assert wire.read_order(reply(404, payload("unknown_order")), "order-1") == Absent()


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (202, payload("canceled"), CancelAccepted()),
        (409, payload("too_late_to_cancel"), CancelTooLate()),
        (404, payload("unknown_order"), Absent()),
        (404, b"", NoAnswer("http_404")),
        (200, VIEW, NoAnswer("http_200")),
        (500, b"", NoAnswer("http_500")),
        (303, b"", NoAnswer("redirect")),
    ],
)
def test_cancel_answers(status: int, body: object, answer: object) -> None:
    assert wire.read_canceled(reply(status, body)) == answer


def test_open_order_that_cannot_be_understood_is_set_aside_and_spoils_no_other() -> None:
    open_orders = payload("open_orders")
    good = open_orders_of(reply(200, open_orders | {"as_of": "2026-01-01T12:00:00.5Z"}))
    bad = open_orders_of(reply(200, open_orders | {"orders": [VIEW, VIEW | {"side": "?"}]}))

    assert isinstance(good, OpenOrders)
    assert good.orders[0].equals(ORDER)
    assert good.as_of == datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
    assert good.is_complete
    assert isinstance(bad, OpenOrders)
    assert list(bad.orders) == list(good.orders) and not bad.is_complete
    [unreadable] = bad.unreadable
    assert (unreadable.kind, unreadable.field, unreadable.why) == ("open_order", "side", "unknown word '?'")
    assert (unreadable.client_order_id, unreadable.exchange_order_id) == ("order-1", "X-1")
    assert json.loads(unreadable.raw)["side"] == "?"


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, {"as_of": "2026-01-01T12:00:00Z"}, "unreadable"),
        (200, {"orders": [], "as_of": "2026-01-01T12:00:00"}, "unreadable"),
        (206, {"orders": [], "as_of": "2026-01-01T12:00:00Z"}, "http_206"),
    ],
)
def test_open_orders_without_an_answer(status: int, body: object, cause: str) -> None:
    assert open_orders_of(reply(status, body)) == NoAnswer(cause)


def executions(*seqs: int, head: int = 9) -> Body:
    return payload("executions") | {"executions": [EXECUTION | {"seq": seq} for seq in seqs], "head": head}


def test_executions_are_read_in_order() -> None:
    answer = executions_of(reply(200, executions(4, 5)), after=3, limit=2)

    assert isinstance(answer, ExecutionPage)
    assert [execution.seq for execution in answer.executions] == [4, 5]
    assert (answer.epoch, answer.head) == ("e", 9)


@pytest.mark.parametrize("exec_type", ["new", "trade", "canceled", "expired", "rejected"])
def test_every_kind_of_execution_of_the_protocol_is_readable(exec_type: str) -> None:
    body = executions(head=4) | {"executions": [EXECUTION | {"seq": 4, "exec_type": exec_type}]}

    answer = executions_of(reply(200, body), after=3, limit=2)

    assert isinstance(answer, ExecutionPage)
    assert [execution.exec_type for execution in answer.executions] == [exec_type]


def page_of(*changes: dict[str, object], after: int = 3, head: int = 9) -> ExecutionPage | NoAnswer:
    body = payload("executions") | {"executions": [EXECUTION | some for some in changes], "head": head}
    return executions_of(reply(200, body), after=after, limit=10)


@pytest.mark.parametrize(
    ("changes", "seqs", "reached"),
    [
        ([{"seq": 4, "exec_type": "bust"}, {"seq": 5}], [5], 5),
        ([{"seq": 4}, {"seq": 5, "exec_type": "bust"}], [4], 5),
        ([{"seq": 4, "exec_type": "bust"}], [], 4),
        # Of these nobody can say which position they have: at the least the next one.
        ([{"seq": "4"}, {"seq": 5}], [5], 5),
        ([{"seq": 4}, {"seq": None}, {"seq": 10**30}], [4], 6),
        ([{"seq": None}], [], 4),
        ([{"seq": 4}, {"seq": None}, {"seq": 9}, {"seq": -1}], [4, 9], 9),
        # One that is wrong does not make those after it wrong.
        ([{"seq": 4}, {"seq": 8}, {"seq": 5}, {"seq": 6}], [4, 5, 6], 6),
        ([{"seq": 4}, {"seq": 2**62}, {"seq": 5}], [4, 5], 5),
        ([{"seq": 5}, {"seq": 4}], [4], 4),
        ([{"seq": 4}, {"seq": 4}, {"seq": 5}], [4, 5], 5),
        ([{"seq": 4}, {"seq": 1}, {"seq": 5}], [4, 5], 5),
    ],
)
def test_execution_that_cannot_be_understood_is_passed_and_no_other_is(
    changes: list[dict[str, object]], seqs: list[int], reached: int
) -> None:
    page = page_of(*changes)

    assert isinstance(page, ExecutionPage)
    assert [execution.seq for execution in page.executions] == seqs
    assert page.position_after(3) == reached
    assert len(page.unreadable) == len(changes) - len(seqs)


def test_execution_of_an_unknown_type_is_set_aside_with_all_that_can_be_read() -> None:
    page = page_of({"seq": 4, "exec_type": "bust\x00\n" + "!" * 1000, "exec_id": "E" * 255})

    assert isinstance(page, ExecutionPage)
    [unreadable] = page.unreadable
    assert (unreadable.kind, unreadable.field, unreadable.seq) == ("execution_report", "exec_type", 4)
    assert unreadable.why.startswith("unknown word 'bust\\x00\\n!!!") and len(unreadable.why) < 80
    assert (unreadable.client_order_id, unreadable.exchange_order_id) == ("order-1", "X-1")
    assert len(unreadable.raw) <= 8192


def test_exchange_that_begins_anew_has_none_after_our_position() -> None:
    assert executions_of(reply(200, executions(head=1)), after=3, limit=2) == ExecutionPage("e", (), 1)


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, executions(3), "unreadable"),
        (200, executions(4, 5, 6), "unreadable"),
        (200, executions(4, head=3), "unreadable"),
        (200, without(executions(4), "epoch"), "unreadable"),
        (404, b"", "http_404"),
    ],
)
def test_executions_that_cannot_be_relied_on_are_no_answer(status: int, body: object, cause: str) -> None:
    assert executions_of(reply(status, body), after=3, limit=2) == NoAnswer(cause)


@pytest.mark.parametrize(
    ("body", "promised"),
    [
        (payload("capabilities"), Capabilities("e", "forever", 0, 10, honours_accept_by=True)),
        ({"client_order_id_unique": 600}, Capabilities("", 600, UNBOUNDED, UNBOUNDED)),
        ({"visible_within_seconds": 5, "ask_covers": "open_only"}, PROMISES_NOTHING),
        ({"visible_within_seconds": None, "accepts_within_seconds": None}, PROMISES_NOTHING),
        ({}, PROMISES_NOTHING),
    ],
)
def test_capabilities_are_what_is_promised_and_no_more(body: Body, promised: Capabilities) -> None:
    assert wire.read_capabilities(reply(200, body)) == promised


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (404, b"", PROMISES_NOTHING),
        (200, b"<html>", NoAnswer("unreadable")),
        (200, {"client_order_id_unique": "daily"}, NoAnswer("unreadable")),
        (200, {"visible_within_seconds": -1}, NoAnswer("unreadable")),
        (200, {"honours_accept_by": "yes"}, NoAnswer("unreadable")),
        (500, b"", NoAnswer("http_500")),
        (302, b"", NoAnswer("redirect")),
    ],
)
def test_capabilities_page_that_is_absent_or_unreadable(status: int, body: object, answer: object) -> None:
    assert wire.read_capabilities(reply(status, body)) == answer
