"""Streams: open one, append to it, and be told of just those timesteps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from unrolled.serving import bodies
from unrolled.serving.desk import Desk
from unrolled.serving.given import check_encodable, check_length, example_of, prefix_of, sequence_of
from unrolled.serving.library import Library
from unrolled.serving.limits import Limits
from unrolled.serving.loaded import Loaded
from unrolled.serving.refusals import Refused, wrong
from unrolled.serving.scheduler import Scheduler
from unrolled.serving.service import candidate_of, logged
from unrolled.serving.streams import StreamTable, Tokens, Value
from unrolled.serving.work.labelling import Labelling
from unrolled.serving.work.reading import Reading

REMEMBERED_NAME = 100
"""Characters of a token that waits for its answer."""
Advanced = tuple[Value, Callable[[], bodies.Appended]]
"""The stream after an append, and what builds the answer."""


class Streaming:
    """The streams of a server."""

    def __init__(
        self, scheduler: Scheduler, desk: Desk, library: Library, table: StreamTable, tokens: Tokens, limits: Limits
    ) -> None:
        self._scheduler, self._desk, self._library = scheduler, desk, library
        self._table, self._tokens, self._limits = table, tokens, limits

    async def open(self, loaded: Loaded, body: bodies.OpenBody, *, brief: bool = True) -> tuple[str | None, bytes]:
        """Begin a stream: its id, where it is held here, and the answer as JSON.

        Args:
            brief: whether what has no meaning for the task is left out of the answer.

        Raises:
            Refused: the model needs the whole sequence, or there is no room.
        """
        value, following = await self._begin(loaded, body)
        id = None if body.held == "client" else self._table.open(loaded, value)
        seconds = self._limits.token_seconds if id is None else self._limits.stream_seconds

        def opened() -> bodies.Opened:
            token = self._tokens.write(loaded, value) if id is None else None
            return bodies.Opened(id=id, token=token, next=following, expires_after_s=seconds)

        return id, await self._desk.written(opened, brief=brief)

    async def append(self, name: str, id: str, body: bodies.AppendBody, *, brief: bool = True) -> bytes:
        """The next timesteps of a stream that is held here; one append after another.

        Args:
            brief: whether what has no meaning for the task is left out of the answer.
        """
        async with self._table.using(name, id) as held:
            before = held.value
            after, answer = await self._advance(held.loaded, before, body)
            if after is not before:
                held.value = after
        if body.end:
            self._table.close(id, "ended", "its client ended it")
        return await self._desk.written(answer, brief=brief)

    async def append_token(self, name: str, body: bodies.AppendTokenBody) -> bytes:
        """The next timesteps of a stream whose state came along."""
        loaded, value = await self._desk.run(lambda: self._tokens.read(self._library, name, body.token))
        value, answer = await self._advance(loaded, value, body)

        def answered() -> bodies.Appended:
            appended = answer()
            if not body.end:
                appended.token = self._tokens.write(loaded, value)
            return appended

        return await self._desk.written(answered)

    def close(self, name: str, id: str) -> None:
        """End a stream.

        Raises:
            Refused: there is none.
        """
        self._table.find(name, id)
        self._table.close(id, "ended", "its client ended it")

    # -- values

    async def _begin(self, loaded: Loaded, body: bodies.OpenBody) -> tuple[Value, list[bodies.Candidate] | None]:
        if loaded.why_no_streams is not None:
            raise wrong(loaded.why_no_streams)
        if loaded.task in ("classify", "tag"):
            if body.label is not None:
                raise wrong(f"label is for generators, and {loaded.name} is of the task {loaded.task}")
            return Value(None if loaded.latency else loaded.begin_state()), None
        symbols, spellings, state = await self._desk.run(lambda: prefix_of(loaded, "", body.label))
        row = Reading(loaded, symbols, state, spellings, top=body.top)
        await self._scheduler.answers([row])
        following = [candidate_of(one) for one in row.candidates[-1]] if body.top else []
        return Value(row.state, row.output), following

    async def _advance(self, loaded: Loaded, value: Value, body: bodies.AppendBody) -> Advanced:
        if body.gates and len(body.append) * loaded.seen_numbers > self._limits.answer_numbers:
            raise Refused(413, "those would be too many gates for one answer; append less at once")
        if loaded.task in ("classify", "tag"):
            return await self._label(loaded, value, body)
        return await self._read(loaded, value, body)

    async def _read(self, loaded: Loaded, value: Value, body: bodies.AppendBody) -> Advanced:
        row = await self._desk.run(lambda: self._reading(loaded, value, body))
        if row is None:
            return value, lambda: bodies.Appended(
                position=value.position, answered=value.position, steps=[], ended=body.end,
                log_probability=logged(value.log_probability),
            )  # fmt: skip
        await self._scheduler.answers([row])
        total = math.fsum([value.log_probability, *row.logs])
        position = value.position + len(row.symbols)
        return Value(row.state, row.output, None, position, position, total), lambda: bodies.Appended(
            position=position, answered=position, ended=body.end, log_probability=logged(total),
            steps=[_heard(loaded, row, n, body.top) for n in range(len(row.symbols))],
            gates=_gates(row.seen) if body.gates else None,
        )  # fmt: skip

    def _reading(self, loaded: Loaded, value: Value, body: bodies.AppendBody) -> Reading | None:
        """What is appended as a row; None where it is no symbol."""
        if not isinstance(body.append, str):
            if body.append and not isinstance(body.append[0], str):
                raise wrong(f"{loaded.name} reads texts: append a string, or symbols as strings")
            text = (" " if loaded.vocabulary.level == "word" else "").join(map(str, body.append))
        else:
            text = body.append
        check_length(len(text), self._limits)
        check_encodable(text)
        symbols, spellings = _pieces(loaded, text)
        assert isinstance(value.state, tuple)
        if not symbols:
            return None
        return Reading(
            loaded, symbols, value.state, spellings, targets=list(symbols), top=body.top, every=True, entropies=True,
            output=value.output, observe=body.gates,
        )  # fmt: skip

    async def _label(self, loaded: Loaded, value: Value, body: bodies.AppendBody) -> Advanced:
        if body.gates and loaded.latency:
            raise wrong(f"{loaded.name} answers with a delay: its gates are shown of whole sequences, by /gates")
        inputs, spellings, shown = await self._desk.run(lambda: _timesteps(loaded, body.append, self._limits))
        if not len(inputs) and not (body.end and loaded.latency):
            return value, lambda: bodies.Appended(
                position=value.position, answered=value.answered, steps=[], ended=body.end
            )
        row = Labelling(loaded, inputs, spellings, value.state, value.memory, last=body.end, observe=body.gates)
        await self._scheduler.answers([row])
        position, answered = value.position + len(inputs), value.answered + len(row.found)
        names = (*value.waiting, *shown)
        waiting = tuple(name[:REMEMBERED_NAME] for name in names[len(row.found) :])
        return Value(row.state, None, row.memory, position, answered, waiting=waiting), lambda: bodies.Appended(
            position=position, answered=answered, ended=body.end,
            steps=[_labelled(loaded, *one) for one in zip(names[: len(row.found)], row.found, row.best, strict=True)],
            gates=_gates(row.seen) if body.gates else None,
        )  # fmt: skip


def _pieces(loaded: Loaded, text: str) -> tuple[list[int], list[list[int]] | None]:
    """The symbols that a text adds to a stream, and their spellings."""
    symbols = loaded.vocabulary.encode(text) if text else []
    spellings: list[list[int]] | None = None
    if loaded.run.recipe.model.characters:
        spellings = [loaded.vocabulary.spell(word) for word in loaded.vocabulary.split(text)] if text else []
    return symbols, spellings


def _timesteps(loaded: Loaded, x: Any, limits: Limits) -> tuple[Any, Any, list[str]]:
    """What is appended, as `example_of` gives it; perhaps no timestep at all."""
    inputs: Any = loaded.run.symbols.inputs
    if isinstance(x, str) and x.isspace() and (loaded.task == "tag" or getattr(inputs, "level", "") == "word"):
        x = ""  # between two words; where symbols are characters a blank is one of them
    if x:
        return example_of(loaded, sequence_of(loaded, x, limits))
    width = (len(inputs.mean),) if hasattr(inputs, "mean") else ()
    return np.zeros((0, *width), dtype=np.float32 if width else np.int64), None, []


def _heard(loaded: Loaded, row: Reading, number: int, top: int) -> bodies.Step:
    symbol = row.symbols[number]
    return bodies.Step(
        symbol=loaded.vocabulary.text(symbol), shown=loaded.shown(symbol),
        log_probability=logged(row.logs[number]), entropy=row.entropy[number],
        next=[candidate_of(one) for one in row.candidates[number]] if top else [],
    )  # fmt: skip


def _labelled(loaded: Loaded, shown: str, shares: torch.Tensor, best: int) -> bodies.Step:
    run: Any = loaded.run
    labels = run.symbols.labels
    if getattr(labels, "kind", "") == "number":
        return bodies.Step(symbol=shown, shown=shown, value=float(shares[0]) * labels.deviation + labels.mean)
    numbers = shares.tolist()
    probabilities = {labels.names[n]: numbers[n] for n in np.argsort([-one for one in numbers], kind="stable")}
    return bodies.Step(symbol=shown, shown=shown, label=labels.names[best], probabilities=probabilities)


def _gates(seen: Sequence[list[dict[str, torch.Tensor]]]) -> list[dict[str, Any]]:
    """Layer by layer, joined over the turns that they were seen in, in four digits."""
    return [
        {name: [[round(v, 4) for v in row] for row in torch.cat([part[layer][name] for part in seen]).tolist()]
         for name in seen[0][layer]}
        for layer in range(len(seen[0]))
    ]  # fmt: skip
