"""What is to be computed: a cell over a whole batch of sequences, from the same weights for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

import unrolled
from unrolled.cells import Cell, Value, affine, cell_named, sigmoid, tanh
from unrolled.nn import Recurrent
from unrolled.recurrence import engines


@unrolled.cell
def minimal(x: Value, h: Value) -> Value:
    """A cell of a user's own, that no library has."""
    forget = sigmoid(affine("forget", h, x))
    candidate = tanh(affine("candidate", forget * h, x))
    return (1 - forget) * h + forget * candidate


CELLS: dict[str, Cell] = {
    **{name: cell_named(name) for name in ("rnn", "gru-simplified", "gru", "gru-torch", "lstm", "lstm-peephole")},
    "minimal": minimal,
}
"""The cells that are measured, by name."""

GATES = {"rnn": 1, "gru-simplified": 2, "gru": 3, "gru-torch": 3, "lstm": 4, "lstm-peephole": 4, "minimal": 2}
"""How many (H, I + H) matrices a cell multiplies with at every timestep."""


@dataclass(frozen=True, order=True)
class Shape:
    """Batch size, input size, hidden size, timesteps."""

    batch: int
    input: int
    hidden: int
    steps: int

    @classmethod
    def of(cls, text: str) -> Shape:
        """From "32,256,256,100"."""
        return cls(*map(int, text.split(",")))

    def __str__(self) -> str:
        return f"{self.batch},{self.input},{self.hidden},{self.steps}"


SHAPES = tuple(
    map(
        Shape.of,
        (
            "1,64,64,100", "1,256,256,100", "1,512,512,100", "8,256,256,1000", "20,650,650,35",
            "32,128,128,100", "32,256,256,100", "64,512,512,50", "128,128,128,200",
        ),
    )
)  # fmt: skip
"""The shapes that are measured."""


class Task:
    """One cell, one shape, forward alone or with its gradient, on some threads.

    Attributes:
        layer: ours, on the engine measured; its weights are everybody's.
        x, states: the input (T, B, I), and every initial state (1, B, H), not zero.
        cotangents: the gradients that come back for the output and the final states.
    """

    def __init__(self, cell: str, shape: Shape, *, training: bool, threads: int, seed: int = 0) -> None:
        self.cell, self.shape, self.training, self.threads = cell, shape, training, threads
        generator = torch.Generator().manual_seed(seed)

        def draw(*sizes: int) -> Tensor:
            return torch.randn(*sizes, generator=generator)

        self.layer = layer_for(cell, shape)
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.uniform_(-1, 1, generator=generator).mul_(shape.hidden**-0.5)
        self.x = draw(shape.steps, shape.batch, shape.input)
        self.states = tuple(0.5 * draw(1, shape.batch, shape.hidden) for _ in CELLS[cell].states)
        self.cotangents = [draw(shape.steps, shape.batch, shape.hidden), *(draw(*state.shape) for state in self.states)]

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The layer's parameters, without the number of the layer in their names."""
        return {name.removesuffix("_l0"): parameter for name, parameter in self.layer.named_parameters()}

    @property
    def flops(self) -> int:
        """Operations of the matrix products: 2 T B G H (I + H), and with the gradient thrice as many."""
        shape = self.shape
        forward = 2 * shape.steps * shape.batch * GATES[self.cell] * shape.hidden * (shape.input + shape.hidden)
        return forward * (3 if self.training else 1)


def engine() -> tuple[str, str]:
    """The engine that ours is measured on, and a remark if it is not the one that this is about."""
    if "compiled" in engines.NAMES:
        return "compiled", ""
    return "auto", 'there is no engine "compiled" yet: ours is engine="auto"'


def layer_for(cell: str, shape: Shape, **options: object) -> Recurrent:
    """A layer of ours for a task."""
    return Recurrent(CELLS[cell], shape.input, shape.hidden, engine=engine()[0], **options)
