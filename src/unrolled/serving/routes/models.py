"""Models by name, and what can be asked of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from unrolled.serving import bodies
from unrolled.serving.library import Shelf
from unrolled.serving.loaded import Loaded
from unrolled.serving.refusals import Refused
from unrolled.serving.routes.common import BRIEF, PROBLEMS, model_of, serving_of
from unrolled.serving.service import candidate_of, served_verbs
from unrolled.serving.work.drawing import UNREAD, Drawing

router = APIRouter(prefix="/v1/models", tags=["models"], responses=PROBLEMS)
Named = Annotated[Loaded, Depends(model_of)]
Answer = TypeVar("Answer")


def summary(name: str, shelf: Shelf) -> dict[str, Any]:
    """A model in short."""
    loaded = shelf.current
    return {
        "name": name, "task": loaded.task, "verbs": served_verbs(loaded), "streams": loaded.why_no_streams is None,
        "why_no_streams": loaded.why_no_streams, "generation": loaded.generation, "fingerprint": loaded.fingerprint,
        "stale": shelf.stale,
    }  # fmt: skip


@router.get("", **BRIEF)
async def list_models(request: Request) -> bodies.Models:
    """All models that are served."""
    shelves = serving_of(request).library.shelves
    return bodies.Models(models=[bodies.Model(**summary(name, shelf)) for name, shelf in shelves.items()])


@router.get("/{name}", **BRIEF)
async def one_model(name: str, model: Named, request: Request) -> bodies.ModelCard:
    """A model: its size, its symbols, its labels, its figures."""
    shelf = serving_of(request).library.shelves[name]
    return bodies.ModelCard(**summary(name, shelf), **model.card())


@router.post("/{name}/predict", **BRIEF)
async def predict(model: Named, body: bodies.PredictBody, request: Request) -> bodies.Predictions:
    """Classes of sequences, or the label of each of their timesteps."""
    return bodies.Predictions(answers=await serving_of(request).service.predict(model, body.inputs))


@router.post("/{name}/score", **BRIEF)
async def score(model: Named, body: bodies.ScoreBody, request: Request) -> bodies.Scores:
    """How probable the model finds sequences, symbol by symbol."""
    return bodies.Scores(answers=await serving_of(request).service.score(model, body))


@router.post("/{name}/next", **BRIEF)
async def next_symbols(model: Named, body: bodies.NextBody, request: Request) -> bodies.NextAnswers:
    """The most probable next symbols after prefixes."""
    return bodies.NextAnswers(answers=await serving_of(request).service.next(model, body))


@router.post("/{name}/translate", **BRIEF)
async def translate(model: Named, body: bodies.TranslateBody, request: Request) -> bodies.Translations:
    """Translations by beam search."""
    asked = serving_of(request).service.translate(model, body)
    return bodies.Translations(answers=await unless_gone(request, asked))


@router.post("/{name}/gates", **BRIEF)
async def gates(model: Named, body: bodies.GatesBody, request: Request) -> bodies.Gates:
    """Every gate and state while the model reads a sequence."""
    return bodies.Gates(**await serving_of(request).service.gates(model, body))


@router.post(
    "/{name}/sample",
    response_model=None,
    responses={200: {"model": bodies.Samples, "content": {"text/event-stream": {}}}},
)
async def sample(model: Named, body: bodies.SampleBody, request: Request) -> bodies.Samples | StreamingResponse:
    """Novel sequences: whole, or with `stream` as server-sent events `symbol`, and then `end` or `problem`."""
    serving = serving_of(request)
    if not body.stream:
        return await unless_gone(request, serving.service.sample(model, body))
    (row,), seed = serving.service.drawings(model, body)
    events = drawn_events(serving, row, body.prefix, seed)
    first = await anext(events)  # what is refused is refused before the answer begins
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

    async def all_events() -> AsyncIterator[bytes]:
        try:
            yield first
            async for event in events:
                yield event
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    return StreamingResponse(all_events(), media_type="text/event-stream", headers=headers)


async def drawn_events(serving: Any, row: Drawing, prefix: str, seed: int) -> AsyncIterator[bytes]:
    """Symbols as they are drawn. When the reader goes away, the row ends; when it is slow, the row waits."""
    from collections import deque

    row.unread = deque()
    news = asyncio.Event()
    running = serving.scheduler.begin(row, news.set)
    index = 0
    try:
        yield _event("begin", {"seed": seed})
        async with asyncio.timeout(serving.limits.sample_seconds):
            while True:
                await news.wait()
                news.clear()
                over, failure = row.done, row.failure
                while row.unread:
                    one = row.unread.popleft()
                    yield _event("symbol", {
                        "index": index, "text": one.text, "shown": one.shown, "probability": one.probability,
                        "alternatives": [candidate_of(other).model_dump() for other in one.alternatives],
                    })  # fmt: skip
                    index += 1
                    if row.parked and len(row.unread) <= UNREAD // 2:
                        row.parked = False
                        running.resume()
                if failure is not None:
                    yield _event("problem", {"error": str(failure)})
                    return
                if over:
                    yield _event("end", {"reason": row.reason, "text": prefix + row.text})
                    return
    except TimeoutError:
        words = f"after {serving.limits.sample_seconds:g} s the server ends what is drawn; go on with a prefix"
        yield _event("problem", {"error": words})
    finally:
        running.end()


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
