"""Errors → HTTP: every problem type in one table (RFC 9457), and the type that a failed order gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ordertrail.domain.trail import WhyNotPlaced

CONTENT_TYPE = "application/problem+json"
ORDER_FAILED = "Internal server error while placing the order"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: its HTTP status, its title, and what a caller should make of it."""

    status: int
    title: str
    meaning: str


PROBLEMS: dict[str, ProblemType] = {
    "exchange-refused": ProblemType(
        500,
        "The exchange refused the order",
        "The exchange has examined the order and said no. It is not there and never will be; the reason stands in "
        "`detail`. Repeating it gives the same answer.",
    ),
    "exchange-unavailable": ProblemType(
        500,
        "The order could not be sent to the exchange",
        "Nothing was sent, or the exchange says that it did nothing. While `outcome` is pending we send it again "
        "until `place_by`.",
    ),
    "exchange-throttled": ProblemType(
        500,
        "The exchange wants fewer orders",
        "The exchange did nothing with the order because too many came. While `outcome` is pending we send it again "
        "until `place_by`.",
    ),
    "circuit-open": ProblemType(
        500,
        "Sending is suspended",
        "The exchange has failed too often of late, or the operator has halted placing as the order came, so the order "
        "was not sent. `detail` says which. While `outcome` is pending we send it again until `place_by`.",
    ),
    "outcome-unknown": ProblemType(
        500,
        "The order may have reached the exchange",
        "It was sent and no answer came that proves anything. We keep querying the exchange and record what is true. "
        "Do not place it again under another key: that may make two orders.",
    ),
    "not-recorded": ProblemType(
        500,
        "A step of the order could not be recorded",
        "The database did not take a row. `outcome` says whether the exchange has the order.",
    ),
    "not-placed": ProblemType(
        500,
        "The order was not placed, and will not be",
        "It is settled: the exchange has not got the order, and we shall not send it any more. `detail` says what "
        "settled it. `certainty` is `proved` where the exchange cannot have it: it has shown so, or the order was "
        "never sent, or canceled before it was sent. It is `presumed` where the exchange does not know the order and "
        "cannot prove more, or where a person has settled it; then it may yet turn up there.",
    ),
    "internal-error": ProblemType(
        500,
        "Something went wrong inside the service",
        "A bug of ours. `outcome` says what is known of the order; while it is unknown, do not place it again under "
        "another key.",
    ),
    "invalid-request": ProblemType(
        422,
        "The request is not valid",
        "Nothing was recorded and nothing was sent. `errors` names each field by its JSON pointer and says what is "
        "wrong with it.",
    ),
    "key-reused": ProblemType(
        422,
        "The key belongs to another order",
        "One key, one order, for ever. `order_id` is the order that has the key. Use another key for another order.",
    ),
    "request-in-progress": ProblemType(
        409,
        "An order with this key is being placed right now",
        "Send the same request again after `Retry-After` seconds; it never places a second order.",
    ),
    "order-not-found": ProblemType(404, "There is no such order", "No order has this id."),
    "not-cancelable": ProblemType(
        409,
        "The order is terminal",
        "It is filled, canceled, expired, rejected or was never placed: there is nothing to cancel.",
    ),
    "events-gone": ProblemType(
        410,
        "The cursor's place is not in the event log any more",
        "What follows it may have been lost, so nothing is given: it is older than what is kept, of another database, "
        "or was lost when a standby took over. `detail` says which. `?after=0` begins at the oldest event that is "
        "kept; what was missed stands in the orders.",
    ),
    "not-acceptable": ProblemType(
        406,
        "Events come as text/event-stream or as application/json",
        "The `Accept` header allows neither.",
    ),
    "too-many-readers": ProblemType(
        503,
        "Too many clients are watching",
        "This process has as many readers of events as it may have. Repeat after `Retry-After` seconds, or at another "
        "process.",
    ),
    "not-found": ProblemType(404, "There is nothing here", "No resource has this path."),
    "method-not-allowed": ProblemType(405, "The method is not allowed here", "The `Allow` header says which are."),
    "payload-too-large": ProblemType(
        413,
        "The body is too large",
        "An order takes a few hundred bytes. Nothing was recorded and nothing was sent.",
    ),
    "unsupported-media-type": ProblemType(
        415, "The body must be JSON", "Send it with `Content-Type: application/json`. Nothing was recorded."
    ),
    "request-timeout": ProblemType(
        408, "The request took too long to arrive", "Nothing was recorded and nothing was sent."
    ),
    "malformed-request": ProblemType(
        400,
        "The request is not HTTP/1.1",
        "It could not be read: its lines, its lengths or its encoding break the protocol's rules. Nothing was recorded "
        "and nothing was sent.",
    ),
    "headers-too-large": ProblemType(
        431,
        "The head of the request is too large",
        "An order's request needs a few hundred bytes of headers. Nothing was recorded and nothing was sent.",
    ),
    "overloaded": ProblemType(
        503,
        "Too many orders are being placed",
        "The order was turned away before anything was recorded or sent. Repeat it after `Retry-After` seconds.",
    ),
    "spool-full": ProblemType(
        503,
        "Failures could not be recorded",
        "The database is away and the spool on disk is full or cannot be written, so no order is taken. The order was "
        "turned away before anything was recorded or sent.",
    ),
    "queue-full": ProblemType(
        503,
        "The queue of orders is full",
        "As many orders wait in the queue as may, so none is taken that is to be placed later. The order was turned "
        "away before anything was recorded or sent. Repeat it after `Retry-After` seconds, or without `respond-async`.",
    ),
    "halted": ProblemType(
        503,
        "Placing is halted by the operator",
        "The order was turned away before anything was recorded or sent. Cancelling and reading go on.",
    ),
    "shutting-down": ProblemType(
        503,
        "This process is stopping",
        "The order was turned away before anything was recorded or sent. Another process takes it.",
    ),
    "database-unavailable": ProblemType(
        503,
        "The database cannot be reached",
        "Nothing can be read just now. Repeat after `Retry-After` seconds.",
    ),
    "too-slow": ProblemType(
        503,
        "The list takes the database too long",
        "Ask for less: a shorter time, fewer filters, one order.",
    ),
}


TYPE_OF: Mapping[WhyNotPlaced, str] = {
    WhyNotPlaced.REFUSED: "exchange-refused",
    WhyNotPlaced.NOT_SENT: "exchange-unavailable",
    WhyNotPlaced.SETTLED: "not-placed",
    WhyNotPlaced.THROTTLED: "exchange-throttled",
    WhyNotPlaced.CIRCUIT_OPEN: "circuit-open",
    WhyNotPlaced.HALTED: "circuit-open",
    WhyNotPlaced.IN_DOUBT: "outcome-unknown",
    WhyNotPlaced.NOT_RECORDED: "not-recorded",
}
"""The type of problem that an order which is not placed amounts to, by its rows alone."""


class ProblemError(Exception):
    """Ends a request with a problem; `members` are added to its body."""

    def __init__(
        self,
        type: str,
        *,
        detail: str | None = None,
        headers: dict[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(type)
        self.type = type
        self.status = PROBLEMS[type].status
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def body(self, **members: object) -> bytes:
        """The problem document, with more members than its own."""
        return problem_body(self.type, detail=self.detail, **self.members, **members)


def problem_body(type: str, *, detail: str | None = None, **members: object) -> bytes:
    """A problem document; consumers key on `type` and ignore what they do not know."""
    kind = PROBLEMS[type]
    document: dict[str, Any] = {"type": f"/problems/{type}", "title": kind.title, "status": kind.status}
    document["detail"] = detail or kind.meaning
    document.update(members)
    return msgspec.json.encode(document)
