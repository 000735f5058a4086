"""What those who run the server ask: does it live, does it take requests, what did it do; and the API's description."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from unrolled.serving.refusals import Refused
from unrolled.serving.routes.common import serving_of

router = APIRouter(tags=["operations"])
DOCS_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


@router.get("/healthz")
async def health() -> dict[str, str]:
    """Whether the process lives."""
    return {"status": "alive"}


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


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """The API's description as a page; its scripts come from here, not from the network."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json", title="Unrolled: the API", swagger_js_url="/static/docs/swagger-ui-bundle.js",
        swagger_css_url="/static/docs/swagger-ui.css", swagger_favicon_url="data:,",
    )  # fmt: skip


@router.get("/static/docs/{name}", include_in_schema=False)
async def docs_file(name: str) -> Response:
    """One of the page's two files."""
    if name not in DOCS_FILES:
        raise Refused(404, "there is no such file")
    return Response(_docs_files()[name], media_type=DOCS_FILES[name], headers={"Cache-Control": "max-age=86400"})


@cache
def _docs_files() -> dict[str, bytes]:
    place = files("fastapi_offline") / "static"
    return {name: (place / name).read_bytes() for name in DOCS_FILES}
