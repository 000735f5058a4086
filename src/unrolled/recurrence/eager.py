"""The eager engine: the cell's own step, on tensors, one timestep after another; autograd does the rest.

It is the reference that every other engine must equal, so it is kept plain. It runs any cell on any device. Only the
products with x are taken out of the loop, which is also where one-hot vectors become a gather of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.cells.operators import Operand, Value
from unrolled.recurrence.layout import Block, Layout, bias_of
from unrolled.recurrence.program import KEPT, OpenValue, TraceError, refusal, replaced, values_in
from unrolled.recurrence.request import Answer, Direction, Request

POINTWISE: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "negate": torch.neg,
    "square": torch.square,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "softplus": functional.softplus,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "less": torch.lt,
    "less_equal": torch.le,
    "where": lambda condition, then, otherwise: torch.where(condition != 0, then, otherwise),
}
"""What each pointwise operator is on tensors."""

NEEDS_TENSORS = {"maximum", "minimum", "subtract", "divide", "less", "less_equal", "where"}


def pointwise(operation: str, arguments: Sequence[Tensor | float], dtype: torch.dtype) -> Tensor:
    """A pointwise operation of a program on tensors and constants, of which the latter become tensors of `dtype`."""
    if operation in NEEDS_TENSORS or not isinstance(arguments[0], Tensor):
        arguments = [torch.as_tensor(argument, dtype=dtype) for argument in arguments]
    return POINTWISE[operation](*arguments)


def run(request: Request) -> Answer:
    """Run one layer, step by step."""
    directions = [_Direction(request, direction) for direction in request.directions]
    answers = [direction.run() for direction in directions]
    outputs, states, seen = zip(*answers, strict=True)
    return Answer(torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0], states, seen if request.observe else ())


class TensorValue(OpenValue):
    """A value of the step that is a tensor (B, H), and knows the timestep whose parameters it meets.

    `tensor` is what operators take, numbers of the state's type. `raw` is what torch's functions take: the same, but a
    comparison is boolean there, and a result of such a function has the type that the function gave it.
    """

    __slots__ = ("label", "moment", "raw", "tensor")

    def __init__(self, tensor: Tensor, moment: _Moment, label: str = "", raw: Tensor | None = None) -> None:
        self.tensor, self.moment, self.label = tensor, moment, label
        self.raw = tensor if raw is None else raw

    def carry_out(self, operation: str, arguments: tuple[Operand, ...], **attributes: Any) -> TensorValue:
        moment = self.moment
        if operation == "affine":
            result = moment.affine(attributes["name"], arguments)
        elif operation == "vector":
            result = moment.vector(attributes["name"], attributes["gate"])
        elif operation == "named":
            result = arguments[0].raw
        else:
            result = moment.pointwise(operation, arguments)
        return moment.keep(result)

    def apply(
        self, what: str, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> TensorValue:
        return self.moment.apply(what, function, arguments, keywords)


class _Moment:
    """One timestep of one direction: finds the parameters of each operation, and keeps every value by its number."""

    def __init__(self, direction: _Direction, t: int) -> None:
        self.direction = direction
        self.t = t
        self.values: list[Tensor] = []

    def keep(self, result: Tensor) -> TensorValue:
        """A result as the step's next value. To operators a comparison is a number: 1 or 0."""
        tensor = result.to(self.direction.dtype)
        self.values.append(tensor)
        return TensorValue(tensor, self, raw=result)

    def apply(
        self, what: str, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> TensorValue:
        """Call a function of torch, or one like it, on tensors."""
        inputs = [self._raw(value) for value in values_in((arguments, keywords))]
        result = function(*replaced(arguments, self._raw), **replaced(keywords, self._raw))
        self._check(what, result, max(tensor.dim() for tensor in inputs))
        return self.keep(result)

    def _raw(self, value: Value) -> Tensor:
        if not isinstance(value, TensorValue) or value.moment is not self:
            raise TraceError(KEPT)
        return value.raw

    def _check(self, what: str, result: Any, dimensions: int) -> None:
        """Refuse what is not one number a unit and sequence, or the same for all units or all sequences."""
        if not isinstance(result, Tensor):
            kind = "several results" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
            raise TraceError(f"{what} gives {kind}, and not one tensor")
        if result.is_complex():
            raise TraceError(f"{what} gives complex numbers, and a state is real")
        batch, hidden = self.direction.states[0].shape
        allowed: list[tuple[int, ...]] = [(rows, units) for rows in (batch, 1) for units in (hidden, 1)]
        # (B,) made of (B, H) would pass for (H,) whenever B happens to be H
        allowed += [(), (hidden,), (1,)] if dimensions < 2 else [()]
        if tuple(result.shape) not in allowed:
            raise TraceError(
                f"{what} gives a tensor of shape {tuple(result.shape)}, and a value has shape {(batch, hidden)}, or 1 "
                "in the place of one of the two (keepdim=True)"
            )

    def affine(self, name: str, vectors: tuple[Operand, ...]) -> Tensor:
        direction = self.direction
        total = direction.projected[name][self.t] if name in direction.projected else direction.biases[name]
        number = 0
        for vector in vectors:
            if vector.label != "x":
                masked = vector.tensor if direction.mask is None else vector.tensor * direction.mask
                product = functional.linear(masked, direction.recurrent[name][number]).to(direction.dtype)
                total = product if total is None else total + product
                number += 1
        if total is None:
            raise AssertionError(f'affine("{name}") has no vector')
        return total

    def vector(self, name: str, gate: str | None) -> Tensor:
        return self.direction.vectors[gate or "", name]

    def pointwise(self, operation: str, arguments: tuple[Operand, ...]) -> Tensor:
        like = self.direction.states[0]
        # as a program has them: torch refuses an int of more than 64 bits
        tensors = [argument.tensor if isinstance(argument, TensorValue) else float(argument) for argument in arguments]
        if operation in NEEDS_TENSORS:
            tensors = [like.new_tensor(value) if isinstance(value, float) else value for value in tensors]
        if operation in ("add", "multiply") and isinstance(tensors[0], float):
            tensors.reverse()
        return POINTWISE[operation](*tensors)


class _Direction:
    def __init__(self, request: Request, direction: Direction) -> None:
        self.request = request
        self.x = _without_padding(request)
        self.reverse, self.mask, self.keep = direction.reverse, direction.mask, direction.keep
        self.states = direction.states
        self.dtype = direction.states[0].dtype
        parameters, layout = direction.parameters, request.layout
        names = [affine.name for affine in request.program.affines]
        self.recurrent = {name: _recurrent(layout, name, parameters) for name in names}
        self.vectors = {
            (block.gate, block.entry): block.rows(parameters[block.parameter])
            for block in layout.blocks
            if block.entry not in ("x", "bias", "bias_hidden") and block.parameter != "weight_hh"
        }
        self.biases = {name: bias_of(layout, name, parameters) for name in names}
        self.projected = self._project(parameters)

    def _project(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W x + b of all timesteps at once, for every affine map that x enters: {name: (T, B, H)}."""
        blocks = [block for block in self.request.layout.blocks if block.parameter == "weight_ih"]
        if not blocks:
            return {}
        x, weight = self.x, parameters["weight_ih"]
        if x.is_floating_point():
            product = functional.linear(x, weight).to(self.dtype)
        else:  # one-hot vectors, or zero (-1): the product is a gather of columns
            product = functional.embedding(x.clamp(min=0), weight.t()) * (x >= 0).unsqueeze(-1)
        parts = product.chunk(len(blocks), -1)
        biases = [self.biases[block.gate] for block in blocks]
        return {
            block.gate: part if bias is None else part + bias
            for block, part, bias in zip(blocks, parts, biases, strict=True)
        }

    def run(self) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        steps = self.request.x.shape[0]
        states = self.states
        outputs: list[Tensor] = [states[0]] * steps
        seen: list[dict[str, Tensor]] = [{}] * steps
        for t in reversed(range(steps)) if self.reverse else range(steps):
            moment = _Moment(self, t)
            active = None if self.request.lengths is None else (t < self.request.lengths).unsqueeze(-1)
            new = self._step(moment, states, t)
            states = (
                new
                if active is None
                else tuple(torch.where(active, after, before) for after, before in zip(new, states, strict=True))
            )
            outputs[t] = _inside(active, new[0])
            if self.request.observe:
                seen[t] = {name: _inside(active, value) for name, value in self._seen(moment, new).items()}
        stacked = {name: torch.stack([moment[name] for moment in seen]) for name in seen[0]}
        return torch.stack(outputs), states, stacked

    def _step(self, moment: _Moment, states: tuple[Tensor, ...], t: int) -> tuple[Tensor, ...]:
        inputs = TensorValue(self._input(t), moment, "x")
        try:
            results: Any = self.request.cell.step(inputs, *(TensorValue(state, moment) for state in states))
        except TypeError as error:
            raise refusal(self.request.cell, error) from error
        results = results if isinstance(results, tuple) else (results,)
        results = tuple(result.resolve(inputs) if not isinstance(result, TensorValue) else result for result in results)
        new = tuple(result.tensor.expand_as(states[0]) for result in results)
        if self.keep is not None:
            new = tuple(torch.lerp(after, before, self.keep[t]) for after, before in zip(new, states, strict=True))
        return new

    def _input(self, t: int) -> Tensor:
        x = self.x[t]
        if x.is_floating_point():
            return x
        if not self.request.program.pointwise_input:
            return self.states[0]  # a stand-in: only affine maps take x, and they have W x already
        return (x.unsqueeze(-1) == torch.arange(self.states[0].shape[-1], device=x.device)).to(self.dtype)

    def _seen(self, moment: _Moment, new: tuple[Tensor, ...]) -> dict[str, Tensor]:
        program = self.request.program
        gates = {name: moment.values[number - program.first] for name, number in program.observed.items()}
        return {name: value.expand_as(new[0]) for name, value in gates.items()} | dict(
            zip(program.states, new, strict=True)
        )


def _without_padding(request: Request) -> Tensor:
    """x with zeros past each sequence's end: whatever is there, NaN too, must not reach the weights' gradient."""
    x, lengths = request.x, request.lengths
    if lengths is None or not x.is_floating_point():
        return x
    past = torch.arange(x.shape[0], device=x.device).unsqueeze(1) >= lengths
    return x.masked_fill(past.unsqueeze(-1), 0)


def _recurrent(layout: Layout, name: str, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    blocks: list[Block] = [block for block in layout.of(name) if block.parameter == "weight_hh"]
    return [block.rows(parameters["weight_hh"]) for block in blocks]


def _inside(active: Tensor | None, value: Tensor) -> Tensor:
    return value if active is None else torch.where(active, value, value.new_zeros(()))
