"""What every engine is asked: one layer's tensors, in one or both directions; and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from unrolled.cells.cell import Cell
from unrolled.recurrence.layout import Layout
from unrolled.recurrence.program import Program

PACKED_WEIGHTS = (None, "bfloat16")
"""The types that packed weights may be stored in: their own, or half as wide."""


@dataclass(eq=False)
class PackedWeights:
    """One direction's weights, rearranged once and kept while they are promised to stay as they are.

    Attributes:
        half: stored half as wide, as bfloat16.
        weights: by the kernel that packed them.
        columns: the weights on one-hot vectors, a row a symbol.
    """

    half: bool = False
    weights: dict[int, Tensor] = field(default_factory=dict)
    columns: Tensor | None = None


@dataclass(frozen=True)
class Direction:
    """One direction's part of a layer.

    Attributes:
        parameters: the tensors of the layout, by name without layer and direction.
        states: the initial states, each (B, H), in the cell's order.
        reverse: run from the last true timestep to the first.
        mask: (B, H) factors on every recurrent vector that enters an affine map, the same at every timestep, or None.
        keep: (T, B, H) zoneout: the share of the old state that each new one keeps, or None.
        packed: where an engine may keep weights that it rearranged, or None.
    """

    parameters: Mapping[str, Tensor]
    states: tuple[Tensor, ...]
    reverse: bool = False
    mask: Tensor | None = None
    keep: Tensor | None = None
    packed: PackedWeights | None = None


@dataclass(frozen=True)
class Request:
    """One layer of a recurrent stack, to be run.

    Attributes:
        cell, program, layout: the equations, as written, traced, and where their parameters live.
        x: (T, B, I) vectors, or (T, B) integer ids, which mean one-hot vectors, -1 being zero.
        directions: one or two.
        lengths: (B,) true lengths, or None if every sequence has T timesteps.
        observe: whether every gate and state of every timestep is wanted.
        training: whether the layer is being trained.
        checkpoint: how many timesteps lie between states that are kept for the gradient, the rest being computed again;
            True for the root of T, 0 to keep everything. Engines that cannot keep less keep everything.
        key: the program as text, for the compiled engine's operator; "" if it is not complete.
        vendor: the cell whose kernel of torch.nn's computes the program; "" if there is none.
    """

    cell: Cell
    program: Program
    layout: Layout
    x: Tensor
    directions: tuple[Direction, ...]
    lengths: Tensor | None = None
    observe: bool = False
    training: bool = False
    checkpoint: int | bool = 0
    key: str = ""
    vendor: str = ""


@dataclass(frozen=True)
class Answer:
    """What a layer computed.

    Attributes:
        output: (T, B, directions · H), zero past each sequence's end.
        states: for each direction, the states after each sequence's last true timestep, each (B, H).
        seen: for each direction, every gate and state by name, each (T, B, H); empty unless observed.
    """

    output: Tensor
    states: tuple[tuple[Tensor, ...], ...]
    seen: tuple[Mapping[str, Tensor], ...] = field(default=())
