"""Models by name, and what can be asked of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from unrolled.serving import bodies
from unrolled.serving.library import Shelf
from unrolled.serving.loaded import Loaded
from unrolled.serving.refusals import Refused, refusal_of
from unrolled.serving.routes.common import PROBLEMS, DeskRoute, as_json, model_of, serving_of
from unrolled.serving.scheduler import Running
from unrolled.serving.service import candidate_of, served_verbs
from unrolled.serving.work.drawing import UNREAD, Drawing, Drawn

router = APIRouter(prefix="/v1/models", tags=["models"], responses=PROBLEMS, route_class=DeskRoute)
Named = Annotated[Loaded, Depends(model_of)]
Answer = TypeVar("Answer")
PATIENCE = 5.0
"""Seconds that a reader of events has beyond the drawing's own time, to read the last of them."""
logger = logging.getLogger("unrolled.serving")


def summary(name: str, shelf: Shelf) -> dict[str, Any]:
    """A model in short."""
    loaded = shelf.current
    return {
        "name": name, "task": loaded.task, "verbs": served_verbs(loaded), "streams": loaded.why_no_streams is None,
        "why_no_streams": loaded.why_no_streams, "generation": loaded.generation, "fingerprint": loaded.fingerprint,
        "stale": shelf.stale,
    }  # fmt: skip


@router.get("", response_model_exclude_none=True)
async def list_models(request: Request) -> bodies.Models:
    """All models that are served."""
    shelves = serving_of(request).library.shelves
    return bodies.Models(models=[bodies.Model(**summary(name, shelf)) for name, shelf in shelves.items()])


@router.get("/{name}", response_model_exclude_none=True)
async def one_model(name: str, model: Named, request: Request) -> bodies.ModelCard:
    """A model: its size, its symbols, its labels, its figures."""
    shelf = serving_of(request).library.shelves[name]
    return bodies.ModelCard(**summary(name, shelf), **model.card())


@router.post("/{name}/predict", response_model=bodies.Predictions)
async def predict(model: Named, body: bodies.PredictBody, request: Request) -> Response:
    """Classes of sequences, or the label of each of their timesteps."""
    return as_json(await serving_of(request).service.predict(model, body))


@router.post("/{name}/score", response_model=bodies.Scores)
async def score(model: Named, body: bodies.ScoreBody, request: Request) -> Response:
    """How probable the model finds sequences, symbol by symbol."""
    return as_json(await serving_of(request).service.score(model, body))


@router.post("/{name}/next", response_model=bodies.NextAnswers)
async def next_symbols(model: Named, body: bodies.NextBody, request: Request) -> Response:
    """The most probable next symbols after prefixes."""
    return as_json(await serving_of(request).service.next(model, body))


@router.post("/{name}/translate", response_model=bodies.Translations)
async def translate(model: Named, body: bodies.TranslateBody, request: Request) -> Response:
    """Translations by beam search."""
    asked = serving_of(request).service.translate(model, body)
    return as_json(await unless_gone(request, asked))


@router.post("/{name}/gates", response_model=bodies.Gates)
async def gates(model: Named, body: bodies.GatesBody, request: Request) -> Response:
    """Every gate and state while the model reads a sequence."""
    return as_json(await serving_of(request).service.gates(model, body))


@router.post(
    "/{name}/sample",
    response_model=None,
    responses={200: {"model": bodies.Samples, "content": {"text/event-stream": {}}}},
)
async def sample(model: Named, body: bodies.SampleBody, request: Request) -> Response:
    """Novel sequences: whole, or with `stream` as server-sent events `symbol`, and then `end` or `problem`."""
    serving = serving_of(request)
    if not body.stream:
        return as_json(await unless_gone(request, serving.service.sample(model, body)))
    row, seed = await serving.service.drawing(model, body)
    row.unread, news = deque(), asyncio.Event()
    running = serving.scheduler.begin(row, news.set)
    most = serving.limits.sample_seconds
    events = drawn_events(row, news, running, body.prefix, seed, most)
    return Events(events, running.end, most + PATIENCE)


class Events(StreamingResponse):
    """Server-sent events. Whatever ends them, `ended` is called: also when nobody reads them for so many seconds."""

    def __init__(self, events: AsyncIterator[bytes], ended: Callable[[], None], seconds: float) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._ended, self._seconds = ended, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            logger.info("a reader of events did not read for so long that it is given up")
        finally:
            self._ended()


async def drawn_events(
    row: Drawing, news: asyncio.Event, running: Running, prefix: str, seed: int, seconds: float
) -> AsyncIterator[bytes]:
    """Symbols as they are drawn; when the reader is slow, the row waits.

    Args:
        news: set after each turn of the row. seconds: after which it is ended.
    """
    assert row.unread is not None
    yield _event("begin", {"seed": seed})
    ends, index = asyncio.get_running_loop().time() + seconds, 0
    while True:
        try:
            async with asyncio.timeout_at(ends):
                await news.wait()
        except TimeoutError:
            words = f"after {seconds:g} s the server ends what is drawn; go on with a prefix"
            yield _event("problem", {"error": words})
            return
        news.clear()
        over, failure = row.done, row.failure
        while row.unread:
            yield _event("symbol", {"index": index, **_symbol(row.unread.popleft())})
            index += 1
            if row.parked and len(row.unread) <= UNREAD // 2:
                row.parked = False
                running.resume()
        if failure is not None:
            yield _event("problem", {"error": refusal_of(failure).reason})
            return
        if over:
            yield _event("end", {"reason": row.reason, "text": prefix + row.text})
            return


def _symbol(one: Drawn) -> dict[str, Any]:
    return {
        "text": one.text, "shown": one.shown, "probability": one.probability,
        "alternatives": [candidate_of(other).model_dump() for other in one.alternatives],
    }  # fmt: skip


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def unless_gone(request: Request, asked: Awaitable[Answer]) -> Answer:
    """The answer; when the client goes away before it, nothing is run any more."""
    work, gone = asyncio.ensure_future(asked), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Refused(503, "the client went away")
        return work.result()
    finally:
        for one in (work, gone):
            one.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
