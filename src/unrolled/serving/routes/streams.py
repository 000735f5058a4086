"""Streams: over POST, one append a request, or over a WebSocket, one a message."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import Response
from pydantic import ValidationError

from unrolled.serving import bodies
from unrolled.serving.refusals import Refused, brief, in_words, wrong
from unrolled.serving.routes.common import PROBLEMS, DeskRoute, as_json, read_json, serving_of
from unrolled.serving.routes.models import Named

router = APIRouter(prefix="/v1/models/{name}/streams", tags=["streams"], responses=PROBLEMS, route_class=DeskRoute)
EXAMPLE = 'a message is a JSON object, as in {"append": "text"}'


@router.post("", response_model=bodies.Opened)
async def open_stream(model: Named, body: bodies.OpenBody, request: Request) -> Response:
    """Open a stream: a sequence that is read as it comes."""
    _, answer = await serving_of(request).streaming.open(model, body)
    return as_json(answer)


@router.post("/append", response_model=bodies.Appended)
async def append_to_token(name: str, model: Named, body: bodies.AppendTokenBody, request: Request) -> Response:
    """Append to a stream whose state came along; the state after it is in the answer."""
    return as_json(await serving_of(request).streaming.append_token(name, body))


@router.post("/{id}", response_model=bodies.Appended)
async def append(name: str, id: str, model: Named, body: bodies.AppendBody, request: Request) -> Response:
    """Append to a stream that is held here, and be told of just those timesteps."""
    return as_json(await serving_of(request).streaming.append(name, id, body))


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
    protocols = socket.headers.get("sec-websocket-protocol", "")
    try:
        serving.library.get(name)
        if id != "new":
            serving.table.find(name, id)
    except Refused as refusal:
        await socket.close(1008, brief(refusal.reason))
        return
    await socket.accept("unrolled" if "unrolled" in protocols.replace(" ", "").split(",") else None)
    talked = _Talk(serving, name, id)
    try:
        while not talked.over:
            await socket.send_text(await talked.answer(await _received(socket, serving)))
        await socket.close()
    except WebSocketDisconnect:
        pass
    finally:
        talked.end()


async def _received(socket: WebSocket, serving: Any) -> str | Refused:
    """The next message, or why it cannot be one."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None:
        return wrong(f"a binary message: send text; {EXAMPLE}")
    if len(text) > serving.limits.body_bytes:
        return Refused(413, f"a message may have {serving.limits.body_bytes:,} characters")
    return str(text)


class _Talk:
    """The messages of one WebSocket and their answers.

    Attributes:
        over: whether the last message ended the stream.
    """

    def __init__(self, serving: Any, name: str, id: str) -> None:
        self._serving, self._name, self._id = serving, name, id
        self._own, self._opened, self.over = id == "new", id != "new", False
        self._model = serving.library.get(name)

    async def answer(self, text: str | Refused) -> str:
        """The answer to a message, or why there is none."""
        try:
            if isinstance(text, Refused):
                raise text
            message = await self._serving.desk.run(lambda: _message(text))
            answered: bytes = await self._answered(message)
            return answered.decode()
        except ValidationError as error:
            return json.dumps({"error": in_words(error.errors()), "status": 422})
        except Refused as refusal:
            return json.dumps({"error": refusal.reason, "status": refusal.status})

    async def _answered(self, message: dict[str, Any]) -> bytes:
        answer: bytes
        if not self._opened:
            begin = bodies.OpenBody.model_validate(message.pop("open", {}))
            self._id, answer = await self._serving.streaming.open(self._model, begin, brief=False)
            self._opened = True
            if not message:
                return answer
        body = bodies.AppendBody.model_validate(message)
        answer = await self._serving.streaming.append(self._name, self._id, body, brief=False)
        self.over = body.end
        return answer

    def end(self) -> None:
        """The socket is closed."""
        if self._own and self._opened:
            self._serving.table.close(self._id, "ended", "its WebSocket was closed")


def _message(text: str) -> dict[str, Any]:
    message = read_json(text)
    if not isinstance(message, dict) or not isinstance(message.get("open", {}), dict):
        raise wrong(EXAMPLE)
    return message
