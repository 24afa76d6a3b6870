"""A canary that is not reached, or does not fit the service any more, is stale and said to be."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.simulation.mistakes import in_place, made, patch

Make = Callable[[], Iterator[None]]


class Station:
    """What stands for the service."""

    def send(self, order: str) -> str:
        return order

    async def query(self, order: str) -> str:
        return order


STATEMENTS = {"SELECT": ("select", lambda tables: "read")}


def sends_another(self: Station, order: str) -> Any:
    return made("another") if order == "rare" else order


def break_sending() -> Iterator[None]:
    with patch.object(Station, "send", sends_another):
        yield


def test_mistake_that_was_made_is_not_stale() -> None:
    with in_place(break_sending) as mistake:
        assert Station().send("rare") == "another"

    assert mistake.stale == []
    assert Station().send("rare") == "rare"


def test_replacement_that_nothing_calls_was_never_reached() -> None:
    with in_place(break_sending) as mistake:
        pass

    assert mistake.stale == ["never reached: Station.send", "never reached: the mistake itself"]


def test_mistake_that_its_code_never_makes_was_never_reached() -> None:
    with in_place(break_sending) as mistake:
        Station().send("usual")

    assert mistake.stale == ["never reached: the mistake itself"]


def test_each_of_several_replacements_must_be_reached() -> None:
    async def queries(self: Station, order: str) -> str:
        return order

    def make() -> Iterator[None]:
        with patch.object(Station, "send", sends_another), patch.object(Station, "query", queries):
            yield

    with in_place(make) as mistake:
        Station().send("rare")

    assert mistake.stale == ["never reached: Station.query"]


def test_statement_is_replaced_and_counted() -> None:
    def make() -> Iterator[None]:
        with patch.dict(STATEMENTS, {"SELECT": ("select", lambda tables: made("broken"))}):
            yield

    with in_place(make) as mistake:
        unread = mistake.stale
        assert STATEMENTS["SELECT"][1](None) == "broken"

    assert unread == ["never reached: select", "never reached: the mistake itself"]
    assert mistake.stale == []


def test_one_object_is_replaced_and_counted() -> None:
    station = Station()

    def make() -> Iterator[None]:
        patch.instance(station, "send", lambda order: made("another"))
        yield

    with in_place(make) as mistake:
        never_sent = mistake.stale
        assert station.send("usual") == "another"

    assert never_sent == ["never reached: Station.send", "never reached: the mistake itself"]
    assert mistake.stale == []


def a_method_that_is_gone() -> Iterator[None]:
    with patch.object(Station, "_gone", sends_another):
        yield


def an_attribute_that_is_gone() -> Iterator[None]:
    patch.instance(Station(), "_gone", sends_another)
    yield


def a_statement_that_is_gone() -> Iterator[None]:
    with patch.dict(STATEMENTS, {"GONE": ("gone", lambda tables: None)}):
        yield


@pytest.mark.parametrize("make", [a_method_that_is_gone, an_attribute_that_is_gone, a_statement_that_is_gone])
def test_what_is_not_there_cannot_be_replaced(make: Make) -> None:
    with pytest.raises((AttributeError, KeyError), match=r"_gone|GONE"), in_place(make):
        pass


async def test_broken_code_that_does_not_fit_is_reported() -> None:
    def sends(self: Station, order: str) -> Any:
        made()
        return self._gone  # type: ignore[attr-defined] # as after a change of the service

    async def queries(self: Station) -> str:
        return "found"

    def make() -> Iterator[None]:
        with patch.object(Station, "send", sends), patch.object(Station, "query", queries):
            yield

    with in_place(make) as mistake:
        with pytest.raises(AttributeError):
            Station().send("usual")
        with pytest.raises(TypeError):
            await Station().query("usual")

    sending, querying = mistake.stale
    assert sending.startswith("does not fit the service: Station.send: AttributeError(")
    assert querying.startswith("does not fit the service: Station.query: TypeError(")


async def test_broken_code_that_fails_once_it_is_awaited_is_reported() -> None:
    async def queries(self: Station, order: str) -> Any:
        return made(self._gone)  # type: ignore[attr-defined] # as after a change of the service

    def make() -> Iterator[None]:
        with patch.object(Station, "query", queries):
            yield

    with in_place(make) as mistake, pytest.raises(AttributeError):
        await Station().query("usual")

    _, querying = mistake.stale
    assert querying.startswith("does not fit the service: Station.query: AttributeError(")
