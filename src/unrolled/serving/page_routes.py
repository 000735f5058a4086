"""The page and the lab, as files that were read into memory once: no request path ever reaches the file system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unrolled.serving.refusals import Refused

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
PLOTLY = "plotly.min.js"

# plotly writes style elements and makes its pictures out of data and blob addresses; nothing else is inline.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, but asked about each time: the ETag makes that cheap
}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    type: str
    tag: str


def assets() -> dict[str, Asset]:
    """Every file of the page by its name, and plotly.js from its Python package."""
    page = files("unrolled.serving") / "page"
    found = {one.name: _asset(one) for folder in (page, page / "js") for one in folder.iterdir() if one.is_file()}
    return {**found, PLOTLY: _asset(files("plotly") / "package_data" / PLOTLY)}


def _asset(file: Traversable) -> Asset:
    content = file.read_bytes()
    kind = TYPES[file.name.rpartition(".")[2]]
    return Asset(content, f"{kind}; charset=utf-8", f'"{hashlib.sha256(content).hexdigest()[:20]}"')


def page_router() -> APIRouter:
    """GET /, /lab and /static/NAME."""
    router = APIRouter(include_in_schema=False)
    known = assets()

    def answer(request: Request, name: str) -> Response:
        if name not in known:
            raise Refused(404, "there is no such file")
        asset = known[name]
        headers = {**HEADERS, "ETag": asset.tag}
        seen = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if asset.tag in seen:
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.type, headers=headers)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return answer(request, "index.html")

    @router.api_route("/lab", methods=["GET", "HEAD"])
    async def lab(request: Request) -> Response:
        return answer(request, "lab.html")

    @router.api_route("/static/{name}", methods=["GET", "HEAD"])
    async def static(name: str, request: Request) -> Response:
        return answer(request, name)

    return router
