"""`order watch` without a wire: what it prints of each change, when it ends, and what it lives through."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from ordertrail.cli import watch_order
from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown
from ordertrail.cli.watch_order import INCOMPLETE_SECONDS_MAX, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN, follow

ID = "01980b3e-7c1e-7d0a-9a51-2f5f0c9be001"
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
    "trail": [{"status": "INITIATED"}, {"status": "COMPLETED"}],
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
    "executions": [TRADE],
}
SECOND = TRADE | {"exec_id": "E2", "ord_status": "filled", "last_qty": 6}
FILLED = PARTIAL | {
    "status": "FILLED",
    "cum_qty": 10,
    "leaves_qty": 0,
    "is_live": False,
    "executions": [TRADE, SECOND],
}
NOT_PLACED = LIVE | {"status": "NOT_PLACED", "outcome": "not_placed", "is_live": False, "leaves_qty": 0}


class Api:
    """It answers with these, one after the other; and what was waited for in between."""

    def __init__(self, answers: Iterable[dict[str, Any] | ApiReply | Exception]) -> None:
        self.answers = list(answers)
        self.pauses: list[float] = []

    def get(self) -> ApiReply:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, ApiReply) else ApiReply(200, answer)


def followed(*answers: dict[str, Any] | ApiReply | Exception, as_json: bool = False) -> tuple[int, Api]:
    api = Api(answers)
    code = follow(ID, api.get, pause=api.pauses.append, as_json=as_json)
    assert api.answers == []
    return code, api


def test_each_change_is_a_line_until_the_order_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = followed(LIVE, LIVE, PARTIAL, FILLED)

    assert code == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Order {ID} is placed: COMPLETED, at the exchange X-1. limit buy 10 AAPL12345678 at 150.25.",
        "COMPLETED: 0 of 10 filled, 10 left, live.",
        "2026-11-22T09:30:07.500000Z  trade 4 at 150.25 (E1): partially_filled",
        "PARTIALLY_FILLED: 4 of 10 filled at 150.25 on average, 6 left, live.",
        "2026-11-22T09:30:07.500000Z  trade 6 at 150.25 (E2): filled",
        "FILLED: 10 of 10 filled at 150.25 on average, 0 left, not live.",
    ]


def test_json_is_the_document_of_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    followed(LIVE, LIVE, PARTIAL, PARTIAL, FILLED, as_json=True)

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [LIVE, PARTIAL, FILLED]


@pytest.mark.parametrize(("certainty", "code"), [("proved", 1), ("presumed", 3), (None, 1)])
def test_an_order_that_is_not_placed_is_over(certainty: str | None, code: int) -> None:
    assert followed(NOT_PLACED | ({} if certainty is None else {"certainty": certainty}))[0] == code


@pytest.mark.parametrize("outcome", ["pending", "unknown"])
def test_an_order_in_doubt_goes_on(outcome: str) -> None:
    in_doubt = LIVE | {"status": "INITIATED", "outcome": outcome, "is_live": None}

    assert followed(in_doubt, in_doubt | {"is_live": False}, FILLED)[0] == 0


def test_it_reads_less_often_the_longer_nothing_changes() -> None:
    _, api = followed(*[LIVE] * 12, PARTIAL, FILLED)

    assert api.pauses[0] == PAUSE_SECONDS_MIN
    assert api.pauses[:12] == sorted(api.pauses[:12])
    assert api.pauses[11] == PAUSE_SECONDS_MAX
    assert api.pauses[12] == PAUSE_SECONDS_MIN


def test_it_goes_on_through_a_restart_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    lost: list[ApiReply | Exception] = [
        RequestOutcomeUnknown("Lost."),
        RequestNotSent("Away."),
        ApiReply(503, {}),
        ApiReply(200, {"x": 1}),
    ]

    code, _ = followed(LIVE, *lost, LIVE, FILLED)

    assert code == 0
    assert capsys.readouterr().err.splitlines() == [
        "ordertrail: Lost. Trying again.",
        "ordertrail: The API answers again.",
    ]


def test_a_first_answer_may_be_late() -> None:
    assert followed(RequestOutcomeUnknown("Lost."), ApiReply(503, {}), FILLED)[0] == 0


@pytest.mark.parametrize(
    "first",
    [
        RequestNotSent("No connection."),
        ApiReply(404, {"type": "/problems/order-not-found", "title": "There is no such order"}),
        ApiReply(200, {"hello": "world"}),
        ApiReply(200, LIVE | {"id": "01980b3e-7c1e-7d0a-9a51-000000000000"}),
        ApiReply(302, {}),
    ],
    ids=lambda first: type(first).__name__,
)
def test_what_cannot_be_followed_is_2(
    first: ApiReply | Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Api([first])
    monkeypatch.setattr(watch_order, "call", lambda *_, **__: api.get())

    assert watch_order.watch(ID) == 2
    assert capsys.readouterr().err.startswith("ordertrail: ")


def test_an_order_that_is_gone_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([LIVE, ApiReply(404, {"type": "/problems/order-not-found"})])
    monkeypatch.setattr(watch_order, "call", lambda *_, **__: api.get())
    monkeypatch.setattr("time.sleep", api.pauses.append)

    assert watch_order.watch(ID) == 2


def test_ctrl_c_ends_it_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> ApiReply:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch_order, "call", interrupted)

    assert watch_order.watch(ID) == 3


def test_what_is_still_missing_of_an_order_that_is_over_is_waited_for_a_while() -> None:
    incomplete = FILLED | {"executions_complete": False, "cum_qty": 4}

    assert followed(incomplete, incomplete, FILLED)[0] == 0
    api = Api([incomplete] * 100)
    assert follow(ID, api.get, pause=api.pauses.append, as_json=False) == 0
    assert INCOMPLETE_SECONDS_MAX <= sum(api.pauses) < INCOMPLETE_SECONDS_MAX + PAUSE_SECONDS_MAX


def test_a_bust_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    bust = TRADE | {"exec_id": "E3", "exec_type": "trade_cancel", "exec_ref_id": "E1", "last_px": None, "last_qty": 0}

    followed(PARTIAL, PARTIAL | {"cum_qty": 0, "busted": True, "executions": [TRADE, bust]}, FILLED)

    lines = capsys.readouterr().out.splitlines()
    assert "2026-11-22T09:30:07.500000Z  trade_cancel (E3 of E1): partially_filled" in lines
    assert any(line.endswith("live, a trade was taken back.") for line in lines)
