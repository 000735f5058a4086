"""A piece of several sequences, run in one call of the layer: what rows that read have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from unrolled.nn import Recurrent
from unrolled.serving.loaded import Rows, stacked, stepped, unstacked

PIECE = 256
"""Timesteps of a row in one turn, at most."""
Seen = list[dict[str, Tensor]]
"""What was seen of one sequence, layer by layer: (T, H) each."""


class Reads(Protocol):
    """A row that reads."""

    state: Any
    observe: bool

    @property
    def left(self) -> int: ...


def lengths_of(rows: Sequence[Reads], most: int) -> list[int]:
    """How many timesteps of each row a turn reads, of at most so many timesteps times rows."""
    piece = max(1, min(PIECE, most // len(rows)))
    return [min(row.left, piece) for row in rows]


def run_piece(
    layer: Recurrent, rows: Sequence[Reads], vectors: Tensor, lengths: list[int]
) -> tuple[Tensor, list[Rows], list[Seen] | None]:
    """The outputs (T, B, H), the state of each row after its own length, and what was seen, where that is wanted."""
    state = stacked([row.state for row in rows])
    ragged = None if len(set(lengths)) == 1 else torch.tensor(lengths, device=vectors.device)
    if not rows[0].observe:
        outputs, after = stepped(layer, vectors, state, ragged)
        return outputs, unstacked(after, len(rows)), None
    outputs, after, seen = layer(vectors, state, lengths=ragged, observe=True)
    return outputs, unstacked(after, len(rows)), [_of_row(seen, steps, row) for row, steps in enumerate(lengths)]


def _of_row(seen: Any, steps: int, row: int) -> Seen:
    layers = (seen.layer(layer) for layer in range(seen.num_layers))
    return [{name: value[:steps, row].clone() for name, value in layer.items()} for layer in layers]
