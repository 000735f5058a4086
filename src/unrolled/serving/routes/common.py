"""What the routes share."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.requests import HTTPConnection

from unrolled.serving import bodies
from unrolled.serving.loaded import Loaded

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": bodies.Problem, "description": words}
    for status, words in {
        400: "Not a request of this server.", 401: "An API key is needed.", 404: "There is no such model or stream.",
        405: "Another method is for this address.", 408: "The body came too slowly.", 410: "The stream is gone.",
        413: "Too much at once.", 422: "What was sent cannot be used.", 429: "Too many requests of one address.",
        503: "The server is busy, or took too long.",
    }.items()
}  # fmt: skip

BRIEF: Any = {"response_model_exclude_none": True}
"""What has no meaning for a task is left out of its answers."""


def serving_of(connection: HTTPConnection) -> Any:
    """What the application was made of."""
    return connection.app.state.serving


async def model_of(name: str, request: Request) -> Loaded:
    """The model of an address.

    Raises:
        Refused: there is none.
    """
    found: Loaded = serving_of(request).library.get(name)
    return found
