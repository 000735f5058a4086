"""What those who run the server ask: does it live, does it take requests, what did it do?"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from unrolled.serving.routes.common import serving_of

router = APIRouter(tags=["operations"])


@router.get("/healthz", responses={503: {"description": "Its threads have ended: start it again."}})
async def health(request: Request) -> JSONResponse:
    """Whether the process lives, and the threads that answer."""
    if not serving_of(request).scheduler.alive:
        return JSONResponse({"error": "a thread that runs models has ended; start the server again"}, 503)
    return JSONResponse({"status": "alive"})


@router.get("/readyz", responses={503: {"description": "It is stopping."}})
async def ready(request: Request) -> JSONResponse:
    """Whether requests are wanted: not while the server stops."""
    if not serving_of(request).ready:
        return JSONResponse({"error": "the server is stopping"}, 503, {"Retry-After": "5"})
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(serving_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
