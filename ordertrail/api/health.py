"""Health, metrics, and the pages that explain problems."""

from collections.abc import Awaitable, Callable
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from ordertrail.api.openapi import EVERYWHERE, problem_response
from ordertrail.api.problems import PROBLEMS, ProblemError
from ordertrail.domain.switch import Switch
from ordertrail.runtime.telemetry import metrics

_LIVE: dict[str, Any] = {
    "schema": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string", "const": "ok"}}}
}
_READY: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["status", "venue", "halted", "problems"],
        "properties": {
            "status": {"type": "string", "enum": ["ok", "unready"]},
            "venue": {"type": "string", "description": "where orders go; SIMULATED: no real order is placed"},
            "halted": {
                "type": ["string", "null"],
                "description": "when, by whom and why placing was halted; null: it is not; halted, it is ready too",
            },
            "problems": {"type": "array", "items": {"type": "string"}},
        },
    }
}
_EXPLANATION: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["type", "status", "title", "meaning"],
        "properties": {
            "type": {"type": "string"},
            "status": {"type": "integer"},
            "title": {"type": "string"},
            "meaning": {"type": "string"},
        },
    }
}


_SECTION: dict[str, Any] = {
    "type": "object",
    "required": ["to_do"],
    "properties": {"to_do": {"type": ["string", "null"]}},
}
_SECTIONS = [
    "ready",
    "database",
    "exchange",
    "gate",
    "halted",
    "doubts",
    "parked",
    "orphans",
    "late_arrivals",
    "executions",
    "order_queue",
    "events",
    "spool",
    "log",
    "invariants",
]
_STATUS: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["as_of", "worker", "figures_as_of", "to_do", *_SECTIONS],
        "properties": {
            "as_of": {"type": "string", "format": "date-time"},
            "worker": {"type": "string", "description": "whose gate and memory this is"},
            "figures_as_of": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "when the database's figures were read; null: never, and they are null too",
            },
            "to_do": {"type": "array", "items": {"type": "string"}},
            **dict.fromkeys(_SECTIONS, _SECTION),
        },
    }
}


def health_router(
    unready: Callable[[], list[str]],
    status: Callable[[], Awaitable[dict[str, Any]]],
    switch: Callable[[], Switch],
    *,
    venue: str,
) -> APIRouter:
    """`unready` gives the sentences that say why the process cannot take orders now; none: it can.

    `status` gives what `/status` answers, `switch` how the operator's was read last; `venue` is the exchange as a
    person knows it.
    """
    router = APIRouter()

    @router.get(
        "/livez",
        tags=["health"],
        summary="Whether the process lives",
        responses={200: {"content": {"application/json": _LIVE}}},
    )
    async def livez() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz",
        tags=["health"],
        summary="Whether the process can take orders",
        responses={
            200: {"content": {"application/json": _READY}},
            503: {
                "description": "It cannot; `problems` says why, in sentences.",
                "content": {"application/json": _READY, **EVERYWHERE[503]["content"]},
            },
        },
    )
    async def readyz() -> JSONResponse:
        problems = unready()
        halted = switch().sentence if switch().is_halted else None
        return JSONResponse(
            {"status": "unready" if problems else "ok", "venue": venue, "halted": halted, "problems": problems},
            status_code=503 if problems else 200,
        )

    @router.get(
        "/status",
        tags=["health"],
        summary="What is, and what a person should do about it",
        responses={200: {"content": {"application/json": _STATUS}}},
    )
    async def status_document() -> JSONResponse:
        return JSONResponse(await status())

    @router.get(
        "/metrics",
        tags=["health"],
        summary="Metrics of all workers, for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics_page() -> Response:
        text, content_type = metrics.render()
        return Response(text, headers={"content-type": content_type})

    @router.get(
        "/problems/{name}",
        tags=["problems"],
        summary="What a problem type means",
        response_class=HTMLResponse,
        responses={
            200: {
                "description": "For people, or with `Accept`, for machines.",
                "content": {"application/json": _EXPLANATION},
            },
            404: problem_response("not-found"),
        },
    )
    async def problem_page(
        name: Annotated[str, Path(json_schema_extra={"enum": list(PROBLEMS)})], request: Request
    ) -> Response:
        kind = PROBLEMS.get(name)
        if kind is None:
            raise ProblemError("not-found")
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"type": name, "status": kind.status, "title": kind.title, "meaning": kind.meaning})
        return HTMLResponse(
            f"<!doctype html><meta charset=utf-8><title>{escape(kind.title)}</title>"
            f"<h1>{escape(kind.title)}</h1><p><code>{escape(name)}</code>, HTTP {kind.status}</p>"
            f"<p>{escape(kind.meaning)}</p>"
        )

    return router
