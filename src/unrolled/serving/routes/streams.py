"""Streams: over POST, one append a request, or over a WebSocket, one a message."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import Response
from pydantic import ValidationError

from unrolled.serving import bodies
from unrolled.serving.refusals import Refused, in_words
from unrolled.serving.routes.common import BRIEF, PROBLEMS, serving_of
from unrolled.serving.routes.models import Named

router = APIRouter(prefix="/v1/models/{name}/streams", tags=["streams"], responses=PROBLEMS)


@router.post("", **BRIEF)
async def open_stream(model: Named, body: bodies.OpenBody, request: Request) -> bodies.Opened:
    """Open a stream: a sequence that is read as it comes."""
    found: bodies.Opened = await serving_of(request).streaming.open(model, body)
    return found


@router.post("/append", **BRIEF)
async def append_to_token(name: str, model: Named, body: bodies.AppendTokenBody, request: Request) -> bodies.Appended:
    """Append to a stream whose state came along; the state after it is in the answer."""
    found: bodies.Appended = await serving_of(request).streaming.append_token(name, body)
    return found


@router.post("/{id}", **BRIEF)
async def append(name: str, id: str, model: Named, body: bodies.AppendBody, request: Request) -> bodies.Appended:
    """Append to a stream that is held here, and be told of just those timesteps."""
    found: bodies.Appended = await serving_of(request).streaming.append(name, id, body)
    return found


@router.delete("/{id}", status_code=204, response_class=Response)
async def close_stream(name: str, id: str, model: Named, request: Request) -> Response:
    """Close a stream."""
    serving_of(request).streaming.close(name, id)
    return Response(status_code=204)


@router.websocket("/{id}")
async def talk(socket: WebSocket, name: str, id: str) -> None:
    """Append with every message {"append": ...}; "new" in the place of an id opens a stream that ends with the socket.

    The first message to a new one may be {"open": {...}}, which is answered like the POST that opens one.
    """
    serving = serving_of(socket)
    own = id == "new"
    protocols = socket.headers.get("sec-websocket-protocol", "")
    try:
        model = serving.library.get(name)
        if not own:
            serving.table.find(name, id)
    except Refused as refusal:
        await socket.close(1008, refusal.reason[:120])
        return
    await socket.accept("unrolled" if "unrolled" in protocols.replace(" ", "").split(",") else None)
    try:
        while True:
            text = await socket.receive_text()
            try:
                if len(text) > serving.limits.body_bytes:
                    raise Refused(413, f"a message may have {serving.limits.body_bytes:,} characters")
                message = _message(text)
                if own and id == "new":
                    opened = await serving.streaming.open(model, bodies.OpenBody(**message.pop("open", {})))
                    id = opened.id
                    if not message:
                        await socket.send_text(opened.model_dump_json())
                        continue
                answer = await serving.streaming.append(name, id, bodies.AppendBody(**message))
                await socket.send_text(answer.model_dump_json())
                if answer.ended:
                    await socket.close()
                    return
            except ValidationError as error:
                await socket.send_text(json.dumps({"error": in_words(error.errors()), "status": 422}))
            except Refused as refusal:
                await socket.send_text(json.dumps({"error": refusal.reason, "status": refusal.status}))
    except WebSocketDisconnect:
        pass
    finally:
        if own and id != "new":
            serving.table.close(id, "ended", "its WebSocket was closed")


def _message(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("open", {}), dict):
        raise Refused(422, 'a message is a JSON object, as in {"append": "text"}')
    return message
