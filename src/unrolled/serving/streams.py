"""A stream is a value: what the next timesteps need of those before. It lives here, under an id, or travels signed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from unrolled.nn.lookahead import Stream
from unrolled.serving.library import Library
from unrolled.serving.limits import Limits
from unrolled.serving.loaded import Loaded, Rows
from unrolled.serving.metrics import Metrics
from unrolled.serving.refusals import Refused, wrong
from unrolled.serving.slab import Slab

REMEMBERED = 10_000
"""Ids of closed streams whose end can still be explained."""
SIGNATURE = 32
NOTHING = torch.empty(0)
EVICTED = (
    "it was unused for longest when the server, which holds {streams} streams, needed room; begin it again, or keep "
    "its state yourself (held: client)"
)


@dataclass(frozen=True, slots=True)
class Value:
    """What a stream is between two appends.

    Attributes:
        state: the recurrent state; with look-ahead, of two directions. None before the first timestep there.
        output: of a language model the recurrence's last output. memory: see `Labelling`.
        position, answered: timesteps read, and answered. log_probability: of all that was read.
        waiting: with look-ahead, the tokens that were read and not answered.
    """

    state: Rows | Stream | None
    output: Tensor | None = None
    memory: Tensor | None = None
    position: int = 0
    answered: int = 0
    log_probability: float = 0.0
    waiting: tuple[str, ...] = ()


class Held:
    """A stream whose state lives here: in a row of a slab where that is possible, otherwise as it is.

    Attributes:
        loaded: its model. used: when it was used last. users: appends that run or wait. lock: while there are any.
    """

    __slots__ = ("_row", "_shapes", "_slabs", "_value", "loaded", "lock", "used", "users")

    def __init__(self, loaded: Loaded, value: Value, slabs: dict[int, Slab]) -> None:
        self.loaded, self._slabs = loaded, slabs
        self.used, self.users = time.monotonic(), 0
        self.lock: asyncio.Lock | None = None
        self._row = -1
        self._shapes: tuple[torch.Size, ...] = ()
        self.value = value

    @property
    def value(self) -> Value:
        """What the stream is now; its tensors are to be read before the next value is put here."""
        if self._row < 0:
            return self._value
        parts = self._slab.read(self._row, self._shapes)
        count = len(parts) - (self._value.output is not None)
        return replace(self._value, state=parts[:count], output=parts[-1] if count < len(parts) else None)

    @value.setter
    def value(self, value: Value) -> None:
        parts = _rows_of(value)
        shapes = tuple(part.shape for part in parts)
        if shapes != self._shapes or not parts:
            self.release()
            self._shapes = shapes
            if parts:
                self._row = self._slab.take()
        if parts:
            self._slab.write(self._row, parts)
            value = replace(value, state=None, output=None if value.output is None else NOTHING)
        elif isinstance(value.state, tuple):  # what a turn leaves may lie in the memory of all its rows
            output = None if value.output is None else value.output.clone()
            value = replace(value, state=tuple(part.clone() for part in value.state), output=output)
        self._value = value

    @property
    def _slab(self) -> Slab:
        width = sum(shape.numel() for shape in self._shapes)
        if width not in self._slabs:
            self._slabs[width] = Slab(width)
        return self._slabs[width]

    def release(self) -> None:
        """Give its memory back; the stream is over."""
        if self._row >= 0:
            self._slab.give_back(self._row)
            self._row = -1


def _rows_of(value: Value) -> tuple[Tensor, ...]:
    """The parts of a value that a slab can hold; none where not all of its state can."""
    if not isinstance(value.state, tuple) or any(p.dtype != torch.float32 or p.is_cuda for p in value.state):
        return ()
    return value.state if value.output is None else (*value.state, value.output)


class StreamTable:
    """The streams of all models, the one unused for longest first. Only for the event loop's thread."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._slabs: dict[int, Slab] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def open(self, loaded: Loaded, value: Value) -> str:
        """Keep a stream; its id.

        Raises:
            Refused: there are as many as there may be, and all are in use this moment.
        """
        while len(self._held) >= self._limits.streams:
            idle = next((id for id, held in self._held.items() if not held.users), None)
            if idle is None:
                raise Refused(503, f"all of {self._limits.streams} streams are in use", retry_after=1)
            self.close(idle, "evicted", EVICTED.format(streams=self._limits.streams))
        id = secrets.token_urlsafe(12)
        self._held[id] = Held(loaded, value, self._slabs)
        return id

    @asynccontextmanager
    async def using(self, name: str, id: str) -> AsyncIterator[Held]:
        """A stream, for one append after another.

        Raises:
            Refused: there is no such stream, or there is none any more.
        """
        held = self.find(name, id)
        held.users += 1
        held.lock = held.lock or asyncio.Lock()
        try:
            async with held.lock:
                self.find(name, id)  # it may have been closed while this one waited
                yield held
        finally:
            held.users -= 1
            if not held.users:
                held.lock = None  # thousands of streams are idle: they shall hold nothing but their state
            if id not in self._held and not held.users:
                held.release()  # it was closed in the meantime
            elif id in self._held:
                held.used = time.monotonic()
                self._held.move_to_end(id)

    def find(self, name: str, id: str) -> Held:
        """A stream of a model.

        Raises:
            Refused: there is no such stream, or there is none any more.
        """
        held = self._held.get(id)
        if held is not None and held.loaded.name == name:
            return held
        if id in self._ended:
            raise Refused(410, f"the stream is gone: {self._ended[id]}")
        raise Refused(404, f"{name} has no stream of this id; POST /v1/models/{name}/streams opens one")

    def close(self, id: str, reason: str, words: str) -> None:
        """Forget a stream, but not why."""
        held = self._held.pop(id, None)
        if held is None:
            return
        if not held.users:
            held.release()
        self._metrics.streams_closed.labels(reason).inc()
        self._ended[id] = words
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def replaced(self, library: Library, name: str) -> None:
        """A model was replaced: streams of generations before the last one end."""
        shelf = library.shelves[name]
        kept = {shelf.current.generation, shelf.before.generation if shelf.before else 0}
        for id in [id for id, held in self._held.items() if held.loaded.name == name]:
            if self._held[id].loaded.generation not in kept:
                self.close(id, "replaced", "its model was replaced twice: begin it again")

    async def expire(self, every: float = 1.0) -> None:
        """Close what is unused for too long, again and again."""
        while True:
            await asyncio.sleep(every)
            oldest = time.monotonic() - self._limits.stream_seconds
            for id, held in list(islice(self._held.items(), 1000)):
                if held.used > oldest:
                    break
                if not held.users:
                    self.close(
                        id, "expired", f"nothing was appended for {self._limits.stream_seconds:g} s: begin it again"
                    )


class Tokens:
    """States that travel: signed, so that nobody but this server makes one; not secret from whom they were given to.

    Args:
        secret: what they are signed with; servers that share it take each other's. None: drawn anew.
    """

    def __init__(self, limits: Limits, secret: bytes | None = None) -> None:
        self._limits = limits
        self._key = hashlib.sha256(secret).digest() if secret else secrets.token_bytes(32)

    def write(self, loaded: Loaded, value: Value) -> str:
        """A value as a token."""
        tensors, about = _flat(value)
        about |= {"model": loaded.name, "fingerprint": loaded.fingerprint, "time": time.time()}
        content = safetensors.torch.save(tensors, {"about": json.dumps(about)})
        signed = hmac.digest(self._key, content, "sha256") + content
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()

    def read(self, library: Library, name: str, token: str) -> tuple[Loaded, Value]:
        """What a token holds.

        Raises:
            Refused: this server did not make it, it is of another model, or too old.
        """
        try:
            signed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            signed = b""
        content = signed[SIGNATURE:]
        if not hmac.compare_digest(hmac.digest(self._key, content, "sha256"), signed[:SIGNATURE]):
            raise wrong(
                "the token is none of this server's, or was cut: send back the whole of what the last answer gave"
            )
        # signed, so it is what `write` wrote
        tensors = safetensors.torch.load(content)
        about = json.loads(_metadata(content)["about"])
        if about["model"] != name:
            raise wrong(f"the token belongs to a stream of {about['model']}, not {name}")
        if time.time() - about["time"] > self._limits.token_seconds:
            raise Refused(410, f"the token is older than {self._limits.token_seconds:g} s: begin the stream again")
        loaded = library.of_fingerprint(name, about["fingerprint"])
        return loaded, _whole(tensors, about)


def _metadata(content: bytes) -> Mapping[str, str]:
    length = int.from_bytes(content[:8], "little")
    found: Mapping[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


def _flat(value: Value) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    about: dict[str, Any] = {
        "position": value.position, "answered": value.answered, "log_probability": value.log_probability,
        "waiting": value.waiting,
    }  # fmt: skip
    if isinstance(value.state, Stream):
        about["read"] = value.state.read
        tensors |= {f"ahead{n}": part for n, part in enumerate(value.state.states)}
        tensors |= {f"waiting{n}": part for n, part in enumerate(value.state.waiting)}
    elif value.state is not None:
        tensors |= {f"state{n}": part for n, part in enumerate(value.state)}
    if value.output is not None:
        tensors["output"] = value.output
    if value.memory is not None:
        tensors["memory"] = value.memory
    return {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}, about


def _whole(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Value:
    def parts(name: str) -> Rows:
        return tuple(tensors[f"{name}{n}"] for n in range(len(tensors)) if f"{name}{n}" in tensors)

    state: Rows | Stream | None = parts("state") or None
    if "read" in about:
        state = Stream(parts("ahead"), parts("waiting"), about["read"])
    return Value(
        state,
        tensors.get("output"),
        tensors.get("memory"),
        about["position"],
        about["answered"],
        about["log_probability"],
        tuple(about.get("waiting", ())),
    )
