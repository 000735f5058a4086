"""The recurrence as an autograd Function: kernels forwards and backwards, and what torch.func asks of one.

For small layers torch's dispatcher, which an operator goes through, takes longer than the kernels; and torch.func
transforms Functions, but no operator with lists of tensors. Under vmap, examples run one after the other.

Second derivatives come from the eager engine: a gradient that is itself to be differentiated is computed by kernels,
and its own gradient by running the cell there again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.recurrence import eager, gate
from unrolled.recurrence.calls import Options, gradients_of, make_call
from unrolled.recurrence.keys import recurrence_of
from unrolled.recurrence.native import run_forward
from unrolled.recurrence.request import Direction, Request

Extra = tuple[Tensor | None, Tensor | None, Tensor | None]
"""A mask, the shares that zoneout keeps, and lengths."""


class Differentiable(torch.autograd.Function):
    """Options, how many parameters there are, x, mask, keep, lengths, parameters and states come in; out come the
    output, the final states, what is observed, and what the gradient needs."""

    @staticmethod
    def forward(options: Options, weights: int, x: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        (mask, keep, lengths), inner = tensors[:3], tensors[3:]
        extra, parameters, states = (mask, keep, lengths), inner[:weights], inner[weights:]
        if gate.direct((x, *tensors)):
            return tuple(run_forward(make_call(options, x, *extra, parameters, states, known=True), True))
        inputs = (options.key, x, parameters, states, *extra, options.reverse, options.observe)
        return tuple(torch.ops.unrolled.recurrence.default(*inputs, True, options.checkpoint))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        options, weights, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[-1])
        ctx.save_for_backward(output[-1], *tensors)
        ctx.options, ctx.weights = options, weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        kept, x, *tensors = ctx.saved_tensors
        mask, keep, lengths, *inner = tensors
        extra, parameters, states = (mask, keep, lengths), inner[: ctx.weights], inner[ctx.weights :]
        given = given_gradients(gradients[:-1], x, states)
        needs = ctx.needs_input_grad
        want_x, want_weights = needs[2], any(needs[6 : 6 + ctx.weights])
        found = found_gradients(ctx.options, want_x, want_weights, kept, x, extra, parameters, states, given)
        return None, None, found[0], None, None, None, *found[1], *found[2]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
        return _one_by_one(Differentiable.apply, info, in_dims, inputs)


def given_gradients(gradients: Sequence[Tensor | None], x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of the output, the final states and what was observed: where none arrives, zeros of one vector."""
    like, shape = states[0], (x.shape[0], *states[0].shape)
    shapes = [shape, *(state.shape for state in states), *[shape] * (len(gradients) - 1 - len(states))]
    return [
        like.new_zeros(wanted[-1]).expand(wanted) if value is None else value
        for value, wanted in zip(gradients, shapes, strict=True)
    ]


Found = tuple[Tensor | None, Sequence[Tensor | None], Sequence[Tensor | None]]
"""The gradients of x, the parameters and the initial states."""


def found_gradients(
    options: Options, want_x: bool, want_weights: bool, kept: Tensor | None, x: Tensor, extra: Extra,
    parameters: Sequence[Tensor], states: Sequence[Tensor], given: Sequence[Tensor],
) -> Found:  # fmt: skip
    """The gradients of x and the parameters, if wanted, and of the initial states."""
    if any(torch._C._functorch.is_legacy_batchedtensor(value) for value in given):
        return _batched(options, want_x, want_weights, kept, x, extra, parameters, states, given)
    tensors = (kept, x, *extra, *parameters, *states, *given)
    if not torch.compiler.is_compiling() and (torch.is_grad_enabled() or gate.transformed()):
        sizes = _Sizes(want_x, want_weights, len(parameters), len(states))
        found = list(_Gradients.apply(options, sizes, *tensors))  # type: ignore[no-untyped-call]
    else:
        found = _run(options, want_x, want_weights, kept, x, extra, parameters, states, given)
    dx = found.pop(0) if want_x else None
    dweights: list[Tensor | None] = [found.pop(0) for _ in parameters] if want_weights else [None] * len(parameters)
    return dx, dweights, found


def _batched(
    options: Options, want_x: bool, want_weights: bool, kept: Tensor | None, x: Tensor, extra: Extra,
    parameters: Sequence[Tensor], states: Sequence[Tensor], given: Sequence[Tensor],
) -> Found:  # fmt: skip
    """`found_gradients` where autograd was asked for a batch of them (is_grads_batched), one after the other.

    Autograd has a vmap of its own for this, which knows no Functions: batches are taken apart and put together here.
    """
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    batched = next(value for value in given if torch._C._functorch.is_legacy_batchedtensor(value))
    size = torch._remove_batch_dim(batched, level, 1, 0).shape[0]
    rows = zip(*(torch._remove_batch_dim(value, level, size, 0).unbind(0) for value in given), strict=True)
    fixed = options, want_x, want_weights, kept, x, extra, parameters, states
    results = [found_gradients(*fixed, row) for row in rows]

    def together(parts: Sequence[Tensor | None]) -> Tensor | None:
        tensors = [part for part in parts if part is not None]
        return torch._add_batch_dim(torch.stack(tensors), 0, level) if tensors else None

    dx, *others = zip(*results, strict=True)
    dweights, dstates = ([together(parts) for parts in zip(*part, strict=True)] for part in others)
    return together(dx), dweights, dstates


def _run(
    options: Options, want_x: bool, want_weights: bool, kept: Tensor | None, x: Tensor, extra: Extra,
    parameters: Sequence[Tensor], states: Sequence[Tensor], given: Sequence[Tensor],
) -> list[Tensor]:  # fmt: skip
    """Kernels where there is memory, the operator otherwise."""
    if gate.direct((kept, x, *extra, *parameters, *states, *given)):
        return gradients_of(make_call(options, x, *extra, parameters, states), given, kept, want_x, want_weights)
    inputs = (options.key, x, list(parameters), list(states), *extra, options.reverse, options.observe)
    rest = (options.checkpoint, kept, list(given), want_x, want_weights)
    found: list[Tensor] = torch.ops.unrolled.recurrence_backward.default(*inputs, *rest)
    return found


@dataclass(frozen=True)
class _Sizes:
    """What is wanted, and how many tensors of each kind there are."""

    want_x: bool
    want_weights: bool
    weights: int
    states: int


class _Gradients(torch.autograd.Function):
    """The backward pass as a function that can itself be differentiated, and vmapped."""

    @staticmethod
    def forward(options: Options, sizes: _Sizes, kept: Tensor | None, x: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        return tuple(_run(options, sizes.want_x, sizes.want_weights, kept, x, *_parts(tensors, sizes)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.options, ctx.sizes, _, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        x, *tensors = ctx.saved_tensors
        sizes: _Sizes = ctx.sizes
        extra, *inner = _parts(tensors, sizes)
        inputs = [value for values in inner for value in values]
        vectors = x.is_floating_point()

        def first(*values: Tensor) -> tuple[Tensor, ...]:
            """The eager engine's gradient, as a function of everything that it depends on."""
            inside, rest = (values[0], values[1:]) if vectors else (x, values)
            return _eager(ctx.options, sizes, inside, extra, rest)

        if sizes.want_x and not vectors:
            gradients = gradients[1:]
        values, pull = torch.func.vjp(first, *([x] if vectors else []), *inputs)  # type: ignore[misc]
        found = pull(tuple(
            torch.zeros_like(value) if gradient is None else gradient
            for value, gradient in zip(values, gradients, strict=True)
        ))  # fmt: skip
        dx, rest = (found[0], found[1:]) if vectors else (None, found)
        return None, None, None, dx, None, None, None, *rest

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
        return _one_by_one(_Gradients.apply, info, in_dims, inputs)


def _parts(tensors: Sequence[Any], sizes: _Sizes) -> tuple[Extra, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    """Mask, keep and lengths; parameters; states; the gradients that came in."""
    mask, keep, lengths, *inner = tensors
    weights, count = sizes.weights, sizes.weights + sizes.states
    return (mask, keep, lengths), inner[:weights], inner[weights:count], inner[count:]


def _eager(options: Options, sizes: _Sizes, x: Tensor, extra: Extra, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradients that `_Gradients` computes, by plain operators; none of ids."""
    known, (mask, keep, lengths), count = recurrence_of(options.key), extra, sizes.weights + sizes.states

    def outputs(x: Tensor, *inner: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(known.layout.parameters, inner[: sizes.weights], strict=True))
        direction = Direction(named, tuple(inner[sizes.weights :]), options.reverse, mask, keep)
        request = Request(known.cell, known.program, known.layout, x, (direction,), lengths, options.observe)
        answer = eager.run(request)
        seen = [answer.seen[0][name] for name in known.seen] if options.observe else []
        return (answer.output, *answer.states[0], *seen)

    inner, given = tensors[:count], tuple(tensors[count:])
    if sizes.want_x and x.is_floating_point():
        _, pull = torch.func.vjp(outputs, x, *inner)  # type: ignore[misc]
        dx, *found = pull(given)
        return (dx, *(found if sizes.want_weights else found[sizes.weights :]))
    _, pull = torch.func.vjp(lambda *values: outputs(x, *values), *inner)  # type: ignore[misc]
    found = pull(given)
    return tuple(found if sizes.want_weights else found[sizes.weights :])


def _one_by_one(
    function: Callable[..., tuple[Tensor, ...]], info: Any, in_dims: Sequence[Any], inputs: Sequence[Any]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """A batch of calls, one after the other."""
    rows = [
        [value if place is None else value.select(place, row) for value, place in zip(inputs, in_dims, strict=True)]
        for row in range(info.batch_size)
    ]
    results = [function(*row) for row in rows]
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])
