"""A program and its adjoint, carried out one instruction after another on tensors: what kernels are derived from.

It knows nothing of levels, tiles or buffers, so it tells a wrong derivation from a wrong kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from unrolled.cells import Cell
from unrolled.nn import Recurrent
from unrolled.recurrence import eager
from unrolled.recurrence.adjoint import KEEP, Adjoint, differentiate, takers, value_seen, with_zoneout
from unrolled.recurrence.eager import POINTWISE
from unrolled.recurrence.layout import Block, Layout, bias_of, layout_of
from unrolled.recurrence.program import Argument, Constant, Instruction, Program, trace
from unrolled.recurrence.request import Direction, Request

Moment = dict[int, Tensor]
"""Every value of one timestep, by its number."""


@dataclass
class Interpreter:
    """One direction of a layer, all sequences T timesteps long.

    Attributes:
        program: with zoneout, if there is any.
        layout, parameters: where the parameters live, and what they are.
        mask: (B, H) factors on recurrent vectors that enter affine maps, or None.
        keep: (T, B, H), or None.
        nearest: how close any choice came to its other side: results that differ by more than that may well differ.
    """

    program: Program
    layout: Layout
    parameters: Mapping[str, Tensor]
    mask: Tensor | None = None
    keep: Tensor | None = None
    moments: list[Moment] = field(default_factory=list)
    nearest: float = float("inf")

    def forward(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs (T, B, H) and final states."""
        outputs = []
        for t, inputs in enumerate(x):
            moment = dict(enumerate((inputs, *states)))
            for number, made in enumerate(self.program.instructions, self.program.first):
                moment[number] = self._value(made, moment, t, states[0])
            states = tuple(moment[number].expand_as(states[0]) for number in self.program.outputs)
            outputs.append(states[0])
            self.moments.append(moment)
        return torch.stack(outputs), states

    def seen(self, name: str) -> Tensor:
        """A gate or state of every timestep."""
        number = value_seen(self.program, name)
        return torch.stack([moment[number].expand_as(moment[1]) for moment in self.moments])

    def _value(self, made: Instruction, moment: Moment, t: int, like: Tensor) -> Tensor:
        if made.operation == "affine":
            return self._affine(made, moment, like)
        if made.operation == "vector":
            return self._rows(made.gate or "", made.name)
        if made.operation == KEEP:
            assert self.keep is not None
            return self.keep[t]
        arguments = [self._argument(argument, moment, like) for argument in made.arguments]
        self._look_for_choices(made.operation, arguments)
        return pointwise(made, arguments)

    def _argument(self, argument: Argument, moment: Moment, like: Tensor) -> Tensor:
        return like.new_tensor(argument.value) if isinstance(argument, Constant) else moment[argument]

    def _look_for_choices(self, operation: str, arguments: list[Tensor]) -> None:
        if operation in ("less", "less_equal", "maximum", "minimum"):
            distance = arguments[0] - arguments[1]
        elif operation in ("relu", "where"):
            distance = arguments[0]
        elif operation == "softplus":
            distance = arguments[0] - 20
        else:
            return
        apart = distance[distance != 0].abs()
        self.nearest = min(self.nearest, *apart.flatten().tolist(), float("inf"))

    def _affine(self, made: Instruction, moment: Moment, like: Tensor) -> Tensor:
        bias = bias_of(self.layout, made.name, self.parameters)
        total = torch.zeros_like(like) if bias is None else bias.expand_as(like)
        for operand in made.arguments:
            total = total + self._operand(int(operand), moment) @ self._weights(made.name, int(operand)).T
        return total

    def _operand(self, number: int, moment: Moment) -> Tensor:
        """A vector as it enters affine maps."""
        if number == 0:
            return moment[0]
        value = moment[number].expand_as(moment[1])
        return value if self.mask is None else value * self.mask

    def _block(self, gate: str, entry: str) -> Block:
        block = self.layout.find(gate, entry)
        assert block is not None, f"{gate} has no {entry}"
        return block

    def _rows(self, gate: str, entry: str) -> Tensor:
        block = self._block(gate, entry)
        return block.rows(self.parameters[block.parameter])

    def _weights(self, gate: str, operand: int) -> Tensor:
        return self._rows(gate, self.program.label(operand) or "")

    def backward(
        self, outputs: Tensor, finals: tuple[Tensor, ...], seen: Mapping[str, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        """The gradients of x, of the initial states and of the parameters, by the adjoint.

        Args:
            outputs, finals, seen: the gradients of outputs, final states, and gates and states that were observed.
        """
        adjoint = differentiate(self.program, tuple(seen))
        gradients = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
        after, inputs = list(finals), []
        for t in reversed(range(len(self.moments))):
            after[0] = after[0] + outputs[t]
            given = dict(zip(self.program.states, after, strict=True))
            moment = self._moment_backwards(
                adjoint, self.moments[t], given, {name: one[t] for name, one in seen.items()}
            )
            self._add_parameters(adjoint, moment, gradients)
            inputs.append(self._total(adjoint, moment, 0, adjoint.x))
            after = [self._total(adjoint, moment, number, own) for number, own in enumerate(adjoint.states, 1)]
        return torch.stack(inputs[::-1]), tuple(after), gradients

    def _moment_backwards(
        self, adjoint: Adjoint, moment: Moment, given: Mapping[str, Tensor], seen: Mapping[str, Tensor]
    ) -> Moment:
        moment, affine_of = dict(moment), {delta: affine for affine, delta in adjoint.deltas.items()}
        for number, made in enumerate(adjoint.instructions, adjoint.first):
            if made.operation == "gradient":
                moment[number] = given[made.name]
            elif made.operation == "gradient_seen":
                moment[number] = seen[made.name]
            elif made.operation == "transposed":
                moment[number] = self._transposed(
                    [affine_of[delta] for delta in made.arguments], made.name, moment, adjoint
                )
            else:
                arguments = [self._argument(argument, moment, moment[1]) for argument in made.arguments]
                moment[number] = pointwise(made, arguments)
        return moment

    def _delta(self, adjoint: Adjoint, affine: int, moment: Moment) -> Tensor:
        delta = adjoint.deltas[affine]
        assert delta is not None
        return self._argument(delta, moment, moment[1]).expand_as(moment[1])

    def _transposed(self, affines: list[int], entry: str, moment: Moment, adjoint: Adjoint) -> Tensor:
        total = torch.zeros_like(moment[1])
        for affine in affines:
            made = self.program.instructions[affine - self.program.first]
            total = total + self._delta(adjoint, affine, moment) @ self._rows(made.name, entry)
        return total if self.mask is None else total * self.mask

    def _total(self, adjoint: Adjoint, moment: Moment, number: int, own: Argument | None) -> Tensor:
        """The gradient of x or a state: the part that comes unit by unit, and that through affine maps."""
        total = torch.zeros_like(moment[number])
        for affine in takers(self.program, number):
            if adjoint.deltas.get(affine) is not None:
                made = self.program.instructions[affine - self.program.first]
                product = self._delta(adjoint, affine, moment) @ self._weights(made.name, number)
                total = total + (product if number == 0 or self.mask is None else product * self.mask)
        return total if own is None else total + self._argument(own, moment, total)

    def _add_parameters(self, adjoint: Adjoint, moment: Moment, gradients: Mapping[str, Tensor]) -> None:
        def add(gate: str, entry: str, value: Tensor) -> None:
            block = self._block(gate, entry)
            block.rows(gradients[block.parameter]).add_(value)

        for affine in adjoint.deltas:
            if adjoint.deltas[affine] is None:
                continue
            made, delta = self.program.instructions[affine - self.program.first], self._delta(adjoint, affine, moment)
            for operand in made.arguments:
                add(made.name, self.program.label(int(operand)) or "", delta.T @ self._operand(int(operand), moment))
            for entry in ("bias", "bias_hidden"):
                if self.layout.find(made.name, entry):
                    add(made.name, entry, delta.sum(0))
        for (gate, name), value in adjoint.vectors.items():
            add(gate, name, self._argument(value, moment, moment[1]).expand_as(moment[1]).sum(0))


def pointwise(made: Instruction, arguments: list[Tensor]) -> Tensor:
    if made.operation == "named":
        return arguments[0]
    return POINTWISE[made.operation](*arguments).to(torch.float64)


@dataclass(frozen=True)
class Problem:
    """One cell on some input, (T, B, I), forwards and all sequences T timesteps long: its gradient is wanted."""

    cell: Cell
    bias: bool
    parameters: Mapping[str, Tensor]
    x: Tensor
    states: tuple[Tensor, ...]
    mask: Tensor | None = None
    keep: Tensor | None = None

    @classmethod
    def of(
        cls, layer: Recurrent, x: Tensor, states: tuple[Tensor, ...], mask: Tensor | None, keep: Tensor | None
    ) -> Self:
        """With the parameters of a layer's first direction."""
        parameters = {
            name.removesuffix("_l0"): parameter.detach().requires_grad_()
            for name, parameter in layer.named_parameters()
            if name.endswith("_l0")
        }
        inputs = [value.detach().clone().requires_grad_() for value in (x, *states)]
        return cls(layer.cell, layer.bias, parameters, inputs[0], tuple(inputs[1:]), mask, keep)

    @property
    def layout(self) -> Layout:
        return layout_of(trace(self.cell), self.bias)

    def interpreter(self) -> Interpreter:
        """An interpreter of this problem's program, before it has run."""
        program = trace(self.cell) if self.keep is None else with_zoneout(trace(self.cell))
        return Interpreter(program, self.layout, self.parameters, self.mask, self.keep)


def factors_of(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients to begin with: different ones for every number, so that no error can cancel."""
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(one.shape, generator=generator, dtype=one.dtype) for name, one in values.items()}


def computed(
    problem: Problem, output: Tensor, finals: tuple[Tensor, ...], seen: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    names = problem.cell.states
    final = {f"final {name}": value for name, value in zip(names, finals, strict=True)}
    return {"output": output, **final, **{f"seen {name}": value for name, value in seen.items()}}


def by_autograd(problem: Problem, observe: bool) -> dict[str, Tensor]:
    """Everything that the eager engine computes, and its gradients by autograd, by name."""
    direction = Direction(problem.parameters, problem.states, mask=problem.mask, keep=problem.keep)
    program = trace(problem.cell)
    answer = eager.run(Request(problem.cell, program, problem.layout, problem.x, (direction,), observe=observe))
    values = computed(problem, answer.output, answer.states[0], answer.seen[0] if observe else {})
    factors = factors_of(values)
    wanted = dict(zip(problem.cell.states, problem.states, strict=True)) | {"x": problem.x, **problem.parameters}
    loss = sum((value * factors[name]).sum() for name, value in values.items())
    gradients = [None] * len(wanted)
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    return values | {
        f"gradient of {name}": torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(wanted.items(), gradients, strict=True)
    }


@torch.no_grad()
def interpret(problem: Problem, interpreter: Interpreter, observe: bool) -> dict[str, Tensor]:
    """The same by the program and its adjoint."""
    output, finals = interpreter.forward(problem.x, problem.states)
    names = [*interpreter.program.observed, *problem.cell.states] if observe else []
    values = computed(problem, output, finals, {name: interpreter.seen(name) for name in names})
    factors = list(factors_of(values).values())
    last = 1 + len(finals)
    seen = dict(zip(names, factors[last:], strict=True))
    x, states, parameters = interpreter.backward(factors[0], tuple(factors[1:last]), seen)
    gradients = {**dict(zip(problem.cell.states, states, strict=True)), "x": x, **parameters}
    return values | {f"gradient of {name}": value for name, value in gradients.items()}
