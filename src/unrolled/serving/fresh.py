"""A cell with weights just drawn, in float64: its values timestep by timestep, and how far gradients reach."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.cells import cell_named
from unrolled.nn.recurrent import Recurrent
from unrolled.recurrence.eager import pointwise
from unrolled.recurrence.program import Constant, Instruction, trace

SEQUENCES = 16
"""Random sequences whose gradients are averaged."""

DRAWING = threading.Lock()
"""Initialisers draw from the process's one generator: a seed means the same weights only to one thread at a time."""


class FreshCell:
    """One layer of a built-in cell.

    Args:
        name: the cell's. inputs, hidden: I and H. seed: what the weights are drawn by.
        initialiser, forget_bias, chrono: see `unrolled.nn.Recurrent`.

    Raises:
        ValueError: there is no such cell or initialiser, or the cell has no gate of that kind.
    """

    def __init__(
        self, name: str, inputs: int, hidden: int, *, seed: int, initialiser: str,
        forget_bias: float | None = None, chrono: int = 0,
    ) -> None:  # fmt: skip
        self.cell = cell_named(name)
        self.inputs, self.hidden = inputs, hidden
        self.program = trace(self.cell)
        with DRAWING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layer = Recurrent(
                self.cell, inputs, hidden, dtype=torch.float64, initialiser=initialiser, forget_bias=forget_bias,
                chrono=chrono,
            )  # fmt: skip
        gates = {one.gate or one.name for one in self.program.instructions if one.operation in ("affine", "vector")}
        self.parameters = {gate: self.layer.parameters_of(gate) for gate in gates}

    def step(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        """Every value of one timestep by its number: x (B, I), the states before (B, H), and what is computed."""
        values = [x, *states]
        for instruction in self.program.instructions:
            values.append(self._value(instruction, values))
        return values

    def _value(self, instruction: Instruction, values: list[Tensor]) -> Tensor:
        given: list[Any] = [one.value if isinstance(one, Constant) else values[one] for one in instruction.arguments]
        if instruction.operation == "affine":
            return self._affine(instruction, given)
        if instruction.operation == "vector":
            own = self.parameters[instruction.gate or instruction.name]
            return own[instruction.name].expand_as(values[1])
        if instruction.operation == "named":
            kept: Tensor = given[0]
            return kept
        return pointwise(instruction.operation, given, torch.float64)

    def _affine(self, instruction: Instruction, vectors: list[Tensor]) -> Tensor:
        own = self.parameters[instruction.name]
        total = sum(own[name] for name in ("bias", "bias_hidden") if name in own)
        for number, vector in zip(instruction.arguments, vectors, strict=True):
            assert type(number) is int
            total = total + vector @ own[self.program.label(number) or ""].T
        assert isinstance(total, Tensor)
        return total

    def run(self, inputs: Sequence[Sequence[float]]) -> list[list[list[float]]]:
        """Every value of every timestep, from states of zeros."""
        states = [torch.zeros(1, self.hidden, dtype=torch.float64) for _ in self.program.states]
        found = []
        with torch.no_grad():
            for row in inputs:
                values = self.step(torch.tensor([list(row)], dtype=torch.float64), states)
                states = [values[number] for number in self.program.outputs]
                found.append([value[0].tolist() for value in values])
        return found

    def gradient_by_distance(self, length: int, seed: int) -> dict[str, list[float]]:
        """‖∂L⟨T⟩/∂s⟨T-d⟩‖ for d = 0, 1, ..., T - 1, of each state s.

        Of each state by itself, and with what happens inside timestep T (d = 0), which a layer's own outputs do not
        show: `unrolled.inspecting.gradients` looks at whole stacks of trained models, from d = 1 on.

        L⟨T⟩ is the product of the output a⟨T⟩ with a random unit vector; the root of the mean square over 16 sequences
        of inputs from N(0, 1).
        """
        generator = torch.Generator().manual_seed(seed + 1)
        x = torch.randn(length, SEQUENCES, self.inputs, dtype=torch.float64, generator=generator)
        way = torch.randn(SEQUENCES, self.hidden, dtype=torch.float64, generator=generator)
        way = way / way.norm(dim=1, keepdim=True)
        states = [torch.zeros(SEQUENCES, self.hidden, dtype=torch.float64).requires_grad_() for _ in self.cell.states]
        history = []
        for t in range(length):
            values = self.step(x[t], states)
            states = [values[number] for number in self.program.outputs]
            history.append(states)
        loss = (states[0] * way).sum()
        flat = [state for moment in history for state in moment]
        gradients = torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True)
        count = len(self.cell.states)
        return {
            name: [float(part.square().sum(1).mean().sqrt()) for part in gradients[place::count]][::-1]
            for place, name in enumerate(self.cell.states)
        }
