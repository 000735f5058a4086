"""What the routes share."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from unrolled.serving import bodies
from unrolled.serving.loaded import Loaded
from unrolled.serving.refusals import wrong

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": bodies.Problem, "description": words}
    for status, words in {
        400: "Not a request of this server.", 401: "An API key is needed.", 404: "There is no such model or stream.",
        405: "Another method is for this address.", 408: "The body came too slowly.", 410: "The stream is gone.",
        413: "Too much at once.", 422: "What was sent cannot be used.", 429: "Too many requests of one address.",
        500: "The server failed on this request.", 503: "The server is busy, or took too long.",
    }.items()
}  # fmt: skip


class ReadAtDesk(Request):
    """A request whose JSON is read out of the event loop."""

    async def json(self) -> Any:
        """The body.

        Raises:
            Refused: as `read_json`.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = await serving_of(self).desk.run(lambda: read_json(body))
        return self._json


class DeskRoute(APIRoute):
    """A route whose requests are read at the desk."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The same, of a request that is read so."""
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            return await handler(ReadAtDesk(request.scope, request.receive))

        return handled


def read_json(text: bytes | str) -> Any:
    """What a text of JSON says.

    Raises:
        Refused: it is not JSON, nested too deeply, or holds a number too long to read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise wrong("the JSON is nested too deeply; no request needs more than four levels") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise wrong(f"the JSON cannot be read: {error}") from None
    except ValueError:
        raise wrong("the JSON holds a number of thousands of digits, which no request needs") from None


def as_json(content: bytes) -> Response:
    """An answer that has been written."""
    return Response(content, media_type="application/json")


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
