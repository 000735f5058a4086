"""The application: library, scheduler and streams joined with the routes. `create_app` is what a server runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from unrolled import __version__
from unrolled.serving.desk import Desk
from unrolled.serving.guards import Guards
from unrolled.serving.lab import lab_router
from unrolled.serving.library import EVERY, Library
from unrolled.serving.limits import Limits
from unrolled.serving.metrics import Metrics
from unrolled.serving.refusals import Refused, in_words
from unrolled.serving.routes import models, operations, pages, streams
from unrolled.serving.scheduler import Scheduler
from unrolled.serving.service import Service
from unrolled.serving.streaming import Streaming
from unrolled.serving.streams import StreamTable, Tokens

ABOUT = """Recurrent sequence models over HTTP: predict, score, sample, translate, and streams whose state is a value.

Every refusal is `{"error": "what was wrong and what to do"}`."""


class Serving:
    """What the routes work with.

    Attributes:
        ready: whether new requests are wanted: not before everything runs, nor while the server stops.
    """

    def __init__(self, library: Library, limits: Limits, metrics: Metrics, secret: bytes | None) -> None:
        self.library, self.limits, self.metrics = library, limits, metrics
        self.ready = False
        self.table = StreamTable(limits, metrics)
        self.tokens = Tokens(limits, secret)
        self.desk: Desk
        self.lab: Desk
        self.scheduler: Scheduler
        self.service: Service
        self.streaming: Streaming

    def start(self) -> None:
        """Begin to work; within the event loop."""
        self.desk, self.lab = Desk("the server", waiting=self.limits.queue), Desk("the lab")
        self.scheduler = Scheduler(self.limits, self.metrics)
        self.service = Service(self.scheduler, self.desk, self.limits)
        self.streaming = Streaming(self.scheduler, self.desk, self.library, self.table, self.tokens, self.limits)
        self.metrics.gauge("unrolled_streams", "Streams held here.", lambda: len(self.table))
        self.metrics.gauge("unrolled_queue", "Sequences that wait or run.", lambda: self.scheduler.waiting)
        self.ready = True

    def stop(self) -> None:
        """End the threads; what waits is not run any more."""
        self.scheduler.stop()
        self.desk.stop()
        self.lab.stop()


def create_app(
    library: Library, *, limits: Limits | None = None, key: str | None = None, secret: bytes | None = None,
    hosts: frozenset[str] | None = None, look_every: float = EVERY,
) -> FastAPI:  # fmt: skip
    """The application.

    Args:
        library: the models. limits: its bounds.
        key: what callers must know; None: nothing. secret: what states that travel are signed with; None: drawn.
        hosts: the names that it is called by; None: any. look_every: seconds between two looks for replaced runs.
    """
    limits, metrics = limits or Limits(), Metrics()
    library.metrics = metrics
    serving = Serving(library, limits, metrics, secret)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        serving.start()
        tasks = [
            asyncio.create_task(serving.table.expire()),
            asyncio.create_task(library.watch(lambda name: serving.table.replaced(library, name), look_every)),
        ]
        try:
            yield
        finally:
            serving.ready = False
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await asyncio.to_thread(serving.stop)

    app = FastAPI(
        title="Unrolled", version=__version__, description=ABOUT, lifespan=life, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.serving = serving
    for router in (models.router, streams.router, operations.router, pages.router, lab_router()):
        app.include_router(router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Guards, limits=limits, metrics=metrics, key=key, hosts=hosts)
    return app


def problem(status: int, words: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal as an answer."""
    # words can quote what was sent, and JSON can send half of a surrogate pair
    return JSONResponse({"error": words.encode("utf-8", "backslashreplace").decode()}, status, headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return problem(error.status, error.reason, headers)


async def _plain(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error.__cause__, Refused):  # out of the middle of reading the body
        return await _refused(request, error.__cause__)
    status = getattr(error, "status_code", 500)
    return problem(status, str(getattr(error, "detail", "")), getattr(error, "headers", None))


async def _failed(request: Request, error: Exception) -> JSONResponse:
    # uvicorn, which logs it, closes the connection
    return problem(500, "the server failed on this request; its log says why", {"Connection": "close"})


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if not request.headers.get("content-type", "").startswith("application/json") and request.method == "POST":
        return problem(422, "the body must be JSON: send it with the header Content-Type: application/json")
    return problem(422, in_words(error.errors()))
