"""Streams of taggers and classifiers: read timesteps, and say the label of each, or the class so far."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.nn import LookaheadBidirectional
from unrolled.nn.lookahead import Stream
from unrolled.serving.loaded import Loaded, Rows
from unrolled.serving.scheduler import Row
from unrolled.serving.work.piece import PIECE, Seen, lengths_of, run_piece


@dataclass(eq=False)
class Labelling(Row):
    """Timesteps to be read, and answered as soon as that is possible.

    Attributes:
        inputs: (T,) ids or (T, D) frames. spellings: (T, C) or None.
        state: before the first of them; of a model with look-ahead a `Stream` of one sequence.
        memory: what labels or classes need of what was read before: the CRF's, or the pooling's; None at the start.
        last: whether the sequence ends with them, so that nothing waits any longer.
        found: (L,) of every timestep that was answered: probabilities, or a number.
    """

    loaded: Loaded
    inputs: NDArray[Any]
    spellings: NDArray[np.int64] | None
    state: Rows | Stream | None
    memory: Tensor | None = None
    last: bool = False
    observe: bool = False
    place: int = 0
    found: list[Tensor] = field(default_factory=list)
    best: list[int] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Timesteps to be read."""
        return len(self.inputs) - self.place

    @property
    def ahead(self) -> bool:
        """Whether the model answers chunk by chunk, with a delay."""
        return isinstance(self.loaded.recurrent, LookaheadBidirectional)

    @property
    def group(self) -> Hashable:
        alone = id(self) if self.ahead else None  # how much waits differs from stream to stream
        return self.loaded.key, "label", self.left == 1, self.observe, alone

    @property
    def size(self) -> int:
        return 1

    @property
    def turn(self) -> Callable[[Sequence[Any], int], None]:
        return _label_ahead if self.ahead else _label

    def answer(self) -> Labelling:
        return self


def _label(rows: Sequence[Labelling], most: int) -> None:
    loaded, lengths = rows[0].loaded, lengths_of(rows, most)
    assert loaded.recurrent is not None
    outputs, states, seen = run_piece(loaded.recurrent, rows, _vectors(rows, lengths, max(lengths)), lengths)
    said = [_said(row, outputs[:steps, [n]]) for n, (row, steps) in enumerate(zip(rows, lengths, strict=True))]
    for column, (row, steps) in enumerate(zip(rows, lengths, strict=True)):
        if seen is not None:
            row.seen.append(seen[column])
        _keep(row, steps, states[column], *said[column])
    loaded.read(sum(lengths))


def _label_ahead(rows: Sequence[Labelling], most: int) -> None:
    (row,) = rows
    layer = row.loaded.recurrent
    assert isinstance(layer, LookaheadBidirectional)
    stream = row.state if isinstance(row.state, Stream) else None
    steps = min(row.left, PIECE * 4)
    outputs: list[Tensor] = []
    if steps:
        output, stream = layer.step_chunk(_vectors(rows, [steps], steps), stream)
        outputs.append(output)
    if row.last and steps == row.left and stream is not None:
        outputs.append(layer.finish(stream))
    answered = torch.cat(outputs) if outputs else None
    said = _said(row, answered) if answered is not None and len(answered) else ([], [], row.memory)
    _keep(row, steps, stream, *said)
    row.loaded.read(steps)


def _keep(
    row: Labelling, steps: int, state: Rows | Stream | None, found: list[Tensor], best: list[int], memory: Tensor | None
) -> None:
    row.state, row.memory = state, memory
    row.found += found
    row.best += best
    row.place += steps
    row.done = not row.left


def _vectors(rows: Sequence[Labelling], lengths: list[int], steps: int) -> Tensor:
    """What the recurrence reads, (T, B, ·)."""
    first = rows[0].inputs
    inputs = np.zeros((steps, len(rows), *first.shape[1:]), dtype=first.dtype)
    spellings = None
    for column, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        inputs[:length, column] = row.inputs[row.place : row.place + length]
        if row.spellings is not None:
            own = row.spellings[row.place : row.place + length]
            spellings = np.zeros((steps, len(rows), own.shape[1]), dtype=np.int64) if spellings is None else spellings
            spellings[:length, column] = own
    loaded = rows[0].loaded
    device = loaded.run.device
    spelt = None if spellings is None else torch.from_numpy(spellings).to(device)
    found: Tensor = loaded.model.encoder.vectors(torch.from_numpy(inputs).to(device), spelt)
    return found


def _said(row: Labelling, outputs: Tensor) -> tuple[list[Tensor], list[int], Tensor | None]:
    """Of a sequence's outputs (T, 1, F): the probabilities and the label of each timestep, and what goes on."""
    model = row.loaded.model
    if row.loaded.task == "classify":
        pooled, memory = model.pooling.running(outputs, row.memory)
        scores = model.output(model.head(pooled))
        shares = model.log_probabilities(scores).exp() if model.classes else scores
        return list(shares[:, 0].cpu()), shares[:, 0].argmax(-1).tolist(), memory
    scores = model.output(model.head(outputs)).float()
    held = model.held_back(scores)
    if model.crf is None:
        return list(scores.softmax(-1)[:, 0].cpu()), held.argmax(-1)[:, 0].tolist(), None
    shares, memory = model.crf.filtered(held, row.memory)
    return list(shares[:, 0].cpu()), shares[:, 0].argmax(-1).tolist(), memory
