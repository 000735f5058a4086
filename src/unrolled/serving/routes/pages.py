"""The pages: files of this package and of those that carry scripts for it, read into memory once.

A request only ever names one of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from unrolled.serving.refusals import Refused

router = APIRouter(include_in_schema=False)
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Scripts come from here alone; plotly.js sets styles of its own."""
DOCS_SCRIPT, DOCS_STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}  # fmt: skip


@dataclass(frozen=True)
class File:
    """One file: its content, its type, and a tag that changes with it."""

    content: bytes
    type: str
    tag: str


@cache
def page_files() -> dict[str, File]:
    """All files by name."""
    place = files("unrolled.serving") / "page"
    found = [*place.iterdir(), *(place / "js").iterdir(), files("plotly") / "package_data" / "plotly.min.js"]
    named = {one.name: one for one in found if one.is_file() and _ending(one.name) in TYPES}
    named |= {f"docs/{name}": files("fastapi_offline") / "static" / name for name in (DOCS_SCRIPT, DOCS_STYLE)}
    return {name: _read(one) for name, one in named.items()}


def _ending(name: str) -> str:
    return name[name.rfind(".") :]


def _read(file: Traversable) -> File:
    content = file.read_bytes()
    return File(content, TYPES[_ending(file.name)], f'"{hashlib.sha256(content).hexdigest()[:20]}"')


def answer(name: str, request: Request) -> Response:
    """A file, or that it has not changed.

    Raises:
        Refused: there is none of this name.
    """
    file = page_files().get(name)
    if file is None:
        raise Refused(404, "there is no such page")
    headers = HEADERS | {"ETag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.type, headers=headers)


@router.get("/")
async def page(request: Request) -> Response:
    """The page to try models with."""
    return answer("index.html", request)


@router.get("/lab")
async def lab(request: Request) -> Response:
    """The page to look into cells with."""
    return answer("lab.html", request)


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The API's description as a page; its scripts come from here, not from the network."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json", title="Unrolled: the API", swagger_js_url=f"/static/docs/{DOCS_SCRIPT}",
        swagger_css_url=f"/static/docs/{DOCS_STYLE}", swagger_favicon_url="data:,",
    )  # fmt: skip


@router.get("/static/{name:path}")
async def static(name: str, request: Request) -> Response:
    """A script or a style."""
    return answer(name, request)
