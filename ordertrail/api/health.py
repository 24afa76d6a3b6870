"""Health, metrics, and the pages that explain problems."""

from collections.abc import Callable
from html import escape

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from ordertrail.api.problems import PROBLEMS, ProblemError
from ordertrail.telemetry import metrics


def health_router(unready: Callable[[], list[str]]) -> APIRouter:
    """`unready` gives the sentences that say why the process cannot take orders now; none: it can."""
    router = APIRouter()

    @router.get("/livez", tags=["health"], summary="Whether the process lives")
    async def livez() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz",
        tags=["health"],
        summary="Whether the process can take orders",
        responses={503: {"description": "It cannot; `problems` says why, in sentences."}},
    )
    async def readyz() -> JSONResponse:
        problems = unready()
        return JSONResponse(
            {"status": "unready" if problems else "ok", "problems": problems},
            status_code=503 if problems else 200,
        )

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
            404: {
                "description": "There is no such problem type.",
                "content": {"application/problem+json": {}},
            }
        },
    )
    async def problem_page(name: str, request: Request) -> Response:
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
