"""The HTTP application: one ASGI app in which `POST /orders` has a way of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from ordertrail import __version__
from ordertrail.api.cancel_order import cancel_router
from ordertrail.api.draining import Drainable
from ordertrail.api.events import events_router
from ordertrail.api.health import health_router
from ordertrail.api.openapi import CANCEL_ORDER, DESCRIPTION, EVERYWHERE, PLACE_ORDER, correct
from ordertrail.api.openapi_events import READ_EVENTS
from ordertrail.api.openapi_reads import READS
from ordertrail.api.parts import ApiParts, OpenParts
from ordertrail.api.place import PlaceOrder, Respond
from ordertrail.api.problems import CONTENT_TYPE, ProblemError
from ordertrail.api.read_orders import read_router
from ordertrail.events.waiting import OrderWaiting
from ordertrail.runtime.errors import CannotStart


class Ordertrail(FastAPI):
    """FastAPI for everything but `POST /orders`, which would pay about 100 µs for a router it does not need.

    Its documentation stands in the same OpenAPI, and its problems, limits, logs and metrics are the same.
    """

    place_order: PlaceOrder | None = None

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.place_order is not None and scope["type"] == "http" and _is_order(scope):
            await self.place_order(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As the framework does, but that a server which logs why a start failed logs our sentence, not a traceback."""
        failed: list[Message] = []

        async def send_later_why(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failed.append(message)
            else:
                await send(message)

        try:
            await super().__call__(scope, receive, send_later_why)
        except CannotStart as error:
            failed = [{**message, "message": f"ordertrail: {error}"} for message in failed]
            raise
        finally:
            for message in failed:
                await send(message)

    def take_whole(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """For a server that has a whole request at hand: whether it is taken without a task of its own."""
        if self.place_order is None or not _is_order(scope):
            return False
        self.place_order.take(scope["headers"], body, respond)
        return True

    @override
    def openapi(self) -> dict[str, Any]:
        return correct(super().openapi(), (PLACE_ORDER, *READS, READ_EVENTS, CANCEL_ORDER))


def create_app(open_parts: OpenParts) -> Ordertrail:
    """The application; its parts are opened when the server starts, within its event loop."""

    @asynccontextmanager
    async def lifespan(app: Ordertrail) -> AsyncIterator[Mapping[str, Any]]:
        async with open_parts() as parts:
            waiting = OrderWaiting(parts.watching)
            app.include_router(read_router(parts.reads, parts.execution_reads, waiting, venue=parts.venue))
            app.include_router(events_router(parts.watching))
            app.include_router(cancel_router(parts.canceling))
            app.include_router(health_router(parts.readiness_problems, parts.status, parts.switch, venue=parts.venue))
            app.place_order = place_order = _place_order(parts, waiting)
            try:
                # For a server that knows how to drain; any other just ends the lifespan.
                yield Drainable(parts.background, parts.start_draining, place_order.in_flight).as_state()
            finally:
                await place_order.drain()

    app = Ordertrail(
        title="Ordertrail",
        version=__version__,
        description=DESCRIPTION,
        responses=EVERYWHERE,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # to a host that the client names; and a client that repeats a POST must mean to
    )
    app.add_api_route("/orders", _unreachable, methods=["POST"], **PLACE_ORDER)
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _internal)
    return app


def _place_order(parts: ApiParts, waiting: OrderWaiting) -> PlaceOrder:
    return PlaceOrder(
        parts.placing,
        parts.order_intake,
        waiting,
        parts.clock,
        shed=parts.admission.shed,
        switch=parts.switch,
        body_bytes_max=parts.body_bytes_max,
        seconds_after_send_by=parts.seconds_after_send_by,
        place_by_of=parts.deadlines.place_by,
    )


def _is_order(scope: Scope) -> bool:
    is_order: bool = scope["path"] == "/orders" and scope["method"] == "POST"
    return is_order


async def _unreachable() -> Response:
    raise AssertionError("POST /orders is answered before the router")


def _respond(problem: ProblemError) -> Response:
    return Response(problem.body(), problem.status, headers=problem.headers, media_type=CONTENT_TYPE)


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return _respond(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"pointer": "/" + "/".join(str(part) for part in item["loc"]), "detail": item["msg"]} for item in error.errors()
    ]
    return _respond(ProblemError("invalid-request", errors=errors))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _respond(ProblemError("method-not-allowed", headers={"Allow": ", ".join(_methods_at(request))}))
    headers = dict(error.headers or {})
    return _respond(ProblemError("not-found" if error.status_code == 404 else "invalid-request", headers=headers))


def _methods_at(request: Request) -> list[str]:
    """The methods of every route with this path; the framework knows those of the first."""
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _internal(_request: Request, _error: Exception) -> Response:
    return _respond(ProblemError("internal-error"))
