"""The API's answers about orders, for a person: calls to it, what is said of an order, the exit code that says it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ordertrail.cli.api_client import ApiReply, RequestNotSent, RequestOutcomeUnknown, request
from ordertrail.cli.api_documents import ExecutedOrder, Order, problem_of
from ordertrail.cli.api_stream import open_stream
from ordertrail.cli.person_settings import load_settings_of_person, what_to_set
from ordertrail.domain.trail import Certainty, Outcome
from ordertrail.runtime.notices import say

PLACED, NOT_PLACED, USAGE_OR_CONNECTION, NOT_KNOWN = 0, 1, 2, 3
_EXIT_CODES = {Outcome.PLACED: PLACED, Outcome.NOT_PLACED: NOT_PLACED}


def code_of(outcome: Outcome, certainty: Certainty | None) -> int:
    """What is only presumed is no proof: the order may yet turn up."""
    return NOT_KNOWN if certainty is Certainty.PRESUMED else _EXIT_CODES.get(outcome, NOT_KNOWN)


def get(url: str | None, path: str, *, timeout_seconds: float) -> ApiReply | None:
    """A reply with HTTP 200, or None once the failure has been reported."""
    try:
        answer = call(url, "GET", path, timeout_seconds=timeout_seconds)
    except (RequestNotSent, RequestOutcomeUnknown) as error:
        say(str(error))
        return None
    except KeyboardInterrupt:
        say("Interrupted.")
        return None
    if answer.status != 200:
        say(problem_text(answer))
        return None
    return answer


def call(url: str | None, method: str, path: str, **rest: Any) -> ApiReply:
    """Call the API at that address, at the one that is set, or at the one that runs here."""
    settings = load_settings_of_person()
    try:
        return request(url or settings.api_url, method, path, **rest)
    except RequestNotSent as error:
        raise RequestNotSent(f"{error}{'' if url else what_to_set(settings, 'api_url')}") from error


@contextmanager
def call_stream(url: str | None, path: str, **rest: Any) -> Iterator[Iterator[bytes] | ApiReply]:
    """Call for a stream where `call` would call."""
    settings = load_settings_of_person()
    with ExitStack() as opened:
        try:
            answer = opened.enter_context(open_stream(url or settings.api_url, path, **rest))
        except RequestNotSent as error:
            raise RequestNotSent(f"{error}{'' if url else what_to_set(settings, 'api_url')}") from error
        yield answer


def sentence_of(order: Order) -> str:
    """What became of it, in a sentence."""
    at_exchange = f", at the exchange {order.exchange_order_id}" if order.exchange_order_id else ""
    return f"Order {order.id} is {order.outcome.replace('_', ' ')}: {order.status}{at_exchange}."


def terms_of(order: Order) -> str:
    """What was ordered."""
    price = "" if order.limit_price is None else f" at {order.limit_price}"
    return f"{order.type} {order.side} {order.quantity} {order.instrument}{price}"


def progress_text(order: ExecutedOrder) -> str:
    """How much of it is filled and what may still come."""
    average = f" at {order.avg_px} on average" if order.avg_px is not None else ""
    live = {True: "live", False: "not live", None: "perhaps at the exchange"}[order.is_live]
    flags = {
        "canceling": order.cancel_requested_at is not None and order.is_live is not False,
        "a trade was taken back": order.busted,
        "more is filled than was ordered": order.overfilled,
        "the exchange says another sum": not order.executions_complete,
    }
    more = "".join(f", {text}" for text, holds in flags.items() if holds)
    return f"{order.cum_qty} of {order.quantity} filled{average}, {order.leaves_qty} left, {live}{more}"


def problem_text(answer: ApiReply) -> str:
    """Why the request failed."""
    problem = problem_of(answer)
    if problem is None:
        return not_ours(answer)
    errors = "; ".join(f"{error.pointer or 'the order'}: {error.detail}" for error in problem.errors)
    detail = errors or problem.detail or problem.title or problem.type
    order_id = f" The order is {problem.order_id}." if problem.order_id else ""
    return f"{problem.title}: {detail}{order_id}" if problem.title and errors else f"{detail}{order_id}"


def not_ours(answer: ApiReply) -> str:
    """Of an answer that cannot be believed."""
    return f"The answer was HTTP {answer.status} and not what Ordertrail's API answers; is that its address?"
