"""`order watch ID` without a wire: what it prints, each thing once, when it ends, and what it lives through."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from ordertrail.cli import watch_order
from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown
from ordertrail.cli.event_follower import EventFollower, FollowingEnded, ReceivedEvent
from ordertrail.cli.watch_order import (
    INCOMPLETE_SECONDS_MAX,
    PAUSE_SECONDS_MAX,
    PAUSE_SECONDS_MIN,
    WatchedOrder,
)
from ordertrail.storage.execution_reads import NEWEST_EXECUTIONS_MAX

ID = "01980b3e-7c1e-7d0a-9a51-2f5f0c9be001"
INITIATED = {
    "status": "INITIATED",
    "created_at": "2026-11-22T09:30:00.123456Z",
    "recorded_at": None,
    "reason": None,
    "exchange_order_id": None,
}
COMPLETED = INITIATED | {
    "status": "COMPLETED",
    "created_at": "2026-11-22T09:30:00.200000Z",
    "exchange_order_id": "X-1",
}
PARTIALLY_FILLED = INITIATED | {"status": "PARTIALLY_FILLED", "created_at": "2026-11-22T09:30:07.600000Z"}
FILLED_ROW = INITIATED | {"status": "FILLED", "created_at": "2026-11-22T09:30:09.600000Z"}
LIVE: dict[str, Any] = {
    "id": ID,
    "created_at": "2026-11-22T09:30:00.123456Z",
    "type": "limit",
    "side": "buy",
    "instrument": "AAPL12345678",
    "limit_price": 150.25,
    "quantity": 10,
    "status": "COMPLETED",
    "outcome": "placed",
    "client_order_id": None,
    "exchange_order_id": "X-1",
    "cum_qty": 0,
    "leaves_qty": 10,
    "avg_px": None,
    "is_live": True,
    "busted": False,
    "overfilled": False,
    "executions_complete": True,
    "cancel_requested_at": None,
    "trail": [INITIATED, COMPLETED],
    "executions": [],
}
TRADE = {
    "exec_id": "E1",
    "session": 1,
    "exec_type": "trade",
    "ord_status": "partially_filled",
    "last_qty": 4,
    "cum_qty": 4,
    "leaves_qty": 6,
    "transact_time": "2026-11-22T09:30:07.500000Z",
    "last_px": "150.25",
    "exec_ref_id": None,
}
PARTIAL = LIVE | {
    "status": "PARTIALLY_FILLED",
    "cum_qty": 4,
    "leaves_qty": 6,
    "avg_px": "150.25",
    "trail": [INITIATED, COMPLETED, PARTIALLY_FILLED],
    "executions": [TRADE],
}
SECOND = TRADE | {
    "exec_id": "E2",
    "ord_status": "filled",
    "last_qty": 6,
    "transact_time": "2026-11-22T09:30:09.500000Z",
}
FILLED = PARTIAL | {
    "status": "FILLED",
    "cum_qty": 10,
    "leaves_qty": 0,
    "is_live": False,
    "trail": [INITIATED, COMPLETED, PARTIALLY_FILLED, FILLED_ROW],
    "executions": [TRADE, SECOND],
}
NOT_PLACED = LIVE | {"status": "NOT_PLACED", "outcome": "not_placed", "is_live": False, "leaves_qty": 0}


HEARTBEAT = ReceivedEvent("h", "heartbeat", {"head": "h", "horizon_seconds": 0})
NOT_FOUND = ApiReply(404, {"type": "/problems/order-not-found", "title": "There is no such order"})

Answer = dict[str, Any] | ApiReply | Exception


def order_event(row: dict[str, Any], event_id: str = "1") -> ReceivedEvent:
    return ReceivedEvent(event_id, "order", {"order_id": ID, **row})


def execution_event(report: dict[str, Any], event_id: str = "1") -> ReceivedEvent:
    return ReceivedEvent(event_id, "execution", {"order_id": ID, **report})


class Api:
    """What comes, one after the other: events of the stream, and answers to each reading of the order."""

    def __init__(self, script: Iterable[ReceivedEvent | Answer]) -> None:
        self.script = list(script)
        self.pauses: list[float] = []

    def get(self) -> ApiReply:
        answer = self.script.pop(0)
        assert not isinstance(answer, ReceivedEvent), "it reads the order where an event was to come"
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, ApiReply) else ApiReply(200, answer)

    def events(self) -> Iterator[ReceivedEvent]:
        while self.script:
            event = self.script.pop(0)
            assert isinstance(event, ReceivedEvent), "it waits for an event where the order was to be read"
            yield event


def followed(*script: ReceivedEvent | Answer, as_json: bool = False) -> tuple[int, Api]:
    api = Api(script)
    code = WatchedOrder(ID, api.get, pause=api.pauses.append, as_json=as_json).follow(api.events())
    assert api.script == []
    return code, api


LINES_UNTIL_LIVE = [
    f"Order {ID} is placed: COMPLETED, at the exchange X-1. limit buy 10 AAPL12345678 at 150.25.",
    f"2026-11-22T09:30:00.123456Z  {ID}  INITIATED",
    f"2026-11-22T09:30:00.200000Z  {ID}  COMPLETED  at the exchange X-1",
]
LINES_OF_FILLS = [
    f"2026-11-22T09:30:07.500000Z  {ID}  trade 4@150.25  partially_filled  execution E1",
    f"2026-11-22T09:30:07.600000Z  {ID}  PARTIALLY_FILLED",
    f"2026-11-22T09:30:09.500000Z  {ID}  trade 6@150.25  filled  execution E2",
    f"2026-11-22T09:30:09.600000Z  {ID}  FILLED",
    "FILLED: 10 of 10 filled at 150.25 on average, 0 left, not live.",
]


def test_the_trail_comes_first_and_then_each_event_until_the_order_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = followed(
        HEARTBEAT,
        LIVE,
        execution_event(TRADE),
        order_event(PARTIALLY_FILLED),
        PARTIAL,
        execution_event(SECOND),
        FILLED | {"is_live": True},
        order_event(FILLED_ROW),
        FILLED,
    )

    assert code == 0
    assert capsys.readouterr().out.splitlines() == LINES_UNTIL_LIVE + LINES_OF_FILLS


def test_what_was_read_already_is_not_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    followed(
        order_event(COMPLETED),
        PARTIAL,
        execution_event(TRADE),
        order_event(PARTIALLY_FILLED),
        PARTIAL,
        order_event(FILLED_ROW),
        FILLED,
    )

    out = capsys.readouterr().out.splitlines()
    assert sorted(out) == sorted(
        [LINES_UNTIL_LIVE[0].replace("COMPLETED", "PARTIALLY_FILLED"), *LINES_UNTIL_LIVE[1:], *LINES_OF_FILLS]
    )


def test_the_order_is_not_read_before_the_stream_has_begun() -> None:
    with pytest.raises(AssertionError, match="waits for an event"):
        followed(LIVE, HEARTBEAT)


def test_an_order_that_is_over_already_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert followed(HEARTBEAT, FILLED)[0] == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 6 + 1


def test_json_is_a_line_an_event_and_what_was_read_has_no_id(capsys: pytest.CaptureFixture[str]) -> None:
    followed(HEARTBEAT, LIVE, execution_event(TRADE, "7"), order_event(FILLED_ROW, "8"), FILLED, as_json=True)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"id": None, "type": "order", "data": {"order_id": ID, **INITIATED}},
        {"id": None, "type": "order", "data": {"order_id": ID, **COMPLETED}},
        {"id": "7", "type": "execution", "data": {"order_id": ID, **TRADE}},
        {"id": "8", "type": "order", "data": {"order_id": ID, **FILLED_ROW}},
        {"id": None, "type": "order", "data": {"order_id": ID, **PARTIALLY_FILLED}},
        {"id": None, "type": "execution", "data": {"order_id": ID, **SECOND}},
    ]


def test_what_becomes_of_an_order_without_an_event_is_found_at_a_heartbeat() -> None:
    assert followed(HEARTBEAT, LIVE, HEARTBEAT, LIVE, HEARTBEAT, NOT_PLACED)[0] == 1


@pytest.mark.parametrize(("certainty", "code"), [("proved", 1), ("presumed", 3), (None, 1)])
def test_an_order_that_is_not_placed_is_over(certainty: str | None, code: int) -> None:
    assert followed(HEARTBEAT, NOT_PLACED | ({} if certainty is None else {"certainty": certainty}))[0] == code


@pytest.mark.parametrize("outcome", ["pending", "unknown"])
def test_an_order_in_doubt_goes_on(outcome: str) -> None:
    in_doubt = LIVE | {"status": "INITIATED", "outcome": outcome, "is_live": None}

    assert followed(HEARTBEAT, in_doubt, HEARTBEAT, in_doubt | {"is_live": False}, HEARTBEAT, FILLED)[0] == 0


def test_events_of_other_orders_and_of_unknown_types_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    other = ReceivedEvent("1", "order", {"order_id": "other", **FILLED_ROW})

    followed(HEARTBEAT, LIVE, other, LIVE, ReceivedEvent("2", "tax", {"order_id": ID}), FILLED)

    output = capsys.readouterr().out
    assert len(output.splitlines()) == 1 + 6 + 1
    assert "other" not in output


def test_control_characters_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    row = FILLED_ROW | {"status": "\x1b[31mFILLED", "reason": "a\nb\x9b"}

    followed(HEARTBEAT, LIVE, order_event(row), FILLED)

    assert "\\x1b[31mFILLED  a\\nb\\x9b" in capsys.readouterr().out


def test_the_reading_goes_on_through_a_restart_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    lost: list[Answer] = [
        RequestOutcomeUnknown("Lost."),
        RequestNotSent("Away."),
        ApiReply(503, {}),
        ApiReply(404, {}),
        ApiReply(200, {"x": 1}),
        ApiReply(200, LIVE | {"id": "01980b3e-7c1e-7d0a-9a51-000000000000"}),
    ]

    code, api = followed(HEARTBEAT, LIVE, HEARTBEAT, *lost, FILLED)

    assert code == 0
    assert capsys.readouterr().err.splitlines() == [
        "ordertrail: Lost. Trying again.",
        "ordertrail: The API answers again.",
    ]
    assert api.pauses[0] == PAUSE_SECONDS_MIN
    assert api.pauses == sorted(api.pauses)
    assert api.pauses[-1] <= PAUSE_SECONDS_MAX


def test_a_first_answer_may_be_late() -> None:
    assert followed(HEARTBEAT, RequestOutcomeUnknown("Lost."), ApiReply(503, {}), FILLED)[0] == 0


@pytest.mark.parametrize(
    "first",
    [
        NOT_FOUND,
        ApiReply(410, {"type": "/problems/order-archived", "title": "It is archived"}),
        ApiReply(200, {"hello": "world"}),
        ApiReply(200, LIVE | {"id": "01980b3e-7c1e-7d0a-9a51-000000000000"}),
        ApiReply(302, {}),
    ],
)
def test_what_cannot_be_followed_is_2(
    first: ApiReply, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Api([HEARTBEAT, first])
    monkeypatch.setattr(watch_order, "call", lambda *_, **__: api.get())
    monkeypatch.setattr(EventFollower, "events", lambda _: api.events())

    assert watch_order.watch(ID) == 2
    assert capsys.readouterr().err.startswith("ordertrail: ")


def test_an_id_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([HEARTBEAT, FILLED])
    monkeypatch.setattr(watch_order, "call", lambda *_, **__: api.get())
    monkeypatch.setattr(EventFollower, "events", lambda _: api.events())

    assert watch_order.watch(ID.upper()) == 0


def test_an_order_that_is_gone_ends_it() -> None:
    with pytest.raises(FollowingEnded) as ended:
        followed(HEARTBEAT, LIVE, HEARTBEAT, NOT_FOUND)
    assert ended.value.code == 2


@pytest.mark.parametrize(("order_id", "code"), [(ID, 3), (None, 130)])
def test_ctrl_c_ends_it(order_id: str | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> ReceivedEvent | None:
        raise KeyboardInterrupt

    def interrupted(_: object) -> Iterator[ReceivedEvent]:
        yield from iter(interrupt, None)

    monkeypatch.setattr(EventFollower, "events", interrupted)

    assert watch_order.watch(order_id) == code


def test_what_is_still_missing_of_an_order_that_is_over_is_waited_for_a_while() -> None:
    incomplete = FILLED | {"executions_complete": False, "cum_qty": 4}

    assert followed(HEARTBEAT, incomplete, incomplete, FILLED)[0] == 0
    _, api = followed(HEARTBEAT, *[incomplete] * (1 + int(INCOMPLETE_SECONDS_MAX / PAUSE_SECONDS_MAX)))
    assert sum(api.pauses) == INCOMPLETE_SECONDS_MAX


def test_an_order_with_more_executions_than_the_api_says_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    many = [TRADE | {"exec_id": f"E{number}"} for number in range(NEWEST_EXECUTIONS_MAX)]

    followed(HEARTBEAT, FILLED | {"executions": many})

    assert f"GET /orders/{ID}/executions has all" in capsys.readouterr().err


def test_a_bust_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    bust = TRADE | {"exec_id": "E3", "exec_type": "trade_cancel", "exec_ref_id": "E1", "last_px": None, "last_qty": 0}

    followed(HEARTBEAT, PARTIAL, execution_event(bust), HEARTBEAT, FILLED)

    line = f"2026-11-22T09:30:07.500000Z  {ID}  trade_cancel  partially_filled  execution E3 of E1"
    assert line in capsys.readouterr().out.splitlines()
