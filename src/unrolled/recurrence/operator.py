"""The recurrence as an operator of torch's, `unrolled::recurrence`: one node in graphs, with a backward of its own.

torch.compile, torch.export, torch.jit.trace, make_fx, FakeTensorMode and every other dispatch mode, tensor subclasses
and hooks on saved tensors see this one operator. It is known as soon as both torch and `unrolled` are imported, so that
a graph that was saved runs in a process that never made a layer: its key holds the whole cell. That is why this module
imports nothing but torch, and the rest of the package when the operator is first called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Not torch.library.custom_op: its first call imports torch's compiler, which takes longer than compiling our kernels.
_library: Any = torch.library.Library("unrolled", "DEF")  # type: ignore[no-untyped-call]
_INPUTS = (
    "str key, Tensor x, Tensor[] parameters, Tensor[] states, Tensor? mask, Tensor? keep, Tensor? lengths, "
    "bool reverse, bool observe"
)
_library.define(f"recurrence({_INPUTS}, bool saving, int checkpoint) -> Tensor[]")
_library.define(
    f"recurrence_backward({_INPUTS}, int checkpoint, Tensor? kept, Tensor[] gradients, bool want_x, bool want_weights)"
    " -> Tensor[]"
)
recurrence = torch.ops.unrolled.recurrence.default
"""One direction of a layer over whole sequences.

Returns the output (T, B, H), the final states (B, H), if observing every gate and state (T, B, H), and if saving, what
the backward pass needs: one tensor of no meaning to others.
"""
recurrence_backward = torch.ops.unrolled.recurrence_backward.default
"""The gradient of x (if wanted), the parameters (if wanted) and the initial states."""


def _forward(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, saving: bool, checkpoint: int,
) -> list[Tensor]:  # fmt: skip
    from unrolled.recurrence.calls import Options, make_call
    from unrolled.recurrence.native import run_forward

    with torch._C.DisableTorchFunctionSubclass():
        call = make_call(Options(key, reverse, observe, checkpoint), x, mask, keep, lengths, parameters, states)
        if not call.batch:
            return _fake(key, x, parameters, states, mask, keep, lengths, reverse, observe, saving, checkpoint)
        return run_forward(call, saving)


def _fake(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, saving: bool, checkpoint: int,
) -> list[Tensor]:  # fmt: skip
    from unrolled.recurrence.calls import kernels_of
    from unrolled.recurrence.keys import recurrence_of

    steps, batch, hidden = x.shape[0], x.shape[1], states[0].shape[-1]
    seen = len(recurrence_of(key).seen) if observe else 0
    results = [x.new_empty((steps, batch, hidden), dtype=states[0].dtype)]
    results += [state.new_empty((batch, hidden)) for state in states]
    results += [torch.empty_like(results[0]) for _ in range(seen)]
    if saving and checkpoint:
        parts = -(-steps // checkpoint)
        results.append(states[0].new_empty((parts * len(states), batch, hidden)))
    elif saving:
        kinds = (True, observe, mask is not None, keep is not None, not x.is_floating_point(), False)
        kernels = kernels_of(key, states[0].dtype, *kinds)
        results.append(states[0].new_empty(kernels.arena_size(steps, batch, hidden)))
    return results


def _run_backward(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, checkpoint: int, kept: Tensor | None,
    gradients: Sequence[Tensor], want_x: bool, want_weights: bool,
) -> list[Tensor]:  # fmt: skip
    from unrolled.recurrence.calls import Options, gradients_of, make_call

    with torch._C.DisableTorchFunctionSubclass():
        call = make_call(Options(key, reverse, observe, checkpoint), x, mask, keep, lengths, parameters, states)
        if not call.batch:
            inputs = [*([x] if want_x else []), *(parameters if want_weights else []), *states]
            return [torch.zeros_like(value) for value in inputs]
        return gradients_of(call, gradients, kept, want_x, want_weights)


def _fake_backward(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, checkpoint: int, kept: Tensor | None,
    gradients: Sequence[Tensor], want_x: bool, want_weights: bool,
) -> list[Tensor]:  # fmt: skip
    x_part = [x.new_empty(x.shape)] if want_x else []
    found = [value.new_empty(value.shape) for value in parameters] if want_weights else []
    return [*x_part, *found, *(state.new_empty(state.shape) for state in states)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    from unrolled.recurrence.calls import Options

    key, x, parameters, states, mask, keep, lengths, reverse, observe, saving, checkpoint = inputs
    # A graph that was recorded where no gradient was needed keeps nothing: the forward pass is run again.
    kept = output[-1] if saving else None
    ctx.set_materialize_grads(False)
    if saving:
        ctx.mark_non_differentiable(kept)
    ctx.save_for_backward(kept, x, mask, keep, lengths, *parameters, *states)
    ctx.types = [value.dtype for value in (x, *parameters, *states)]
    ctx.weights, ctx.saving, ctx.options = len(parameters), saving, Options(key, reverse, observe, checkpoint)


def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    from unrolled.recurrence.differentiable import found_gradients, given_gradients

    kept, x, mask, keep, lengths, *tensors = ctx.saved_tensors
    if [value.dtype for value in (x, *tensors)] != ctx.types:
        raise RuntimeError(
            "a tensor that was saved for the gradient came back as another type; hooks on saved tensors must return "
            "what they were given"
        )
    parameters, states = tensors[: ctx.weights], tensors[ctx.weights :]
    given = given_gradients(gradients[:-1] if ctx.saving else gradients, x, states)
    want_x, want_weights = ctx.needs_input_grad[1], any(ctx.needs_input_grad[2])
    extra = mask, keep, lengths
    found = found_gradients(ctx.options, want_x, want_weights, kept, x, extra, parameters, states, given)
    return None, found[0], list(found[1]), list(found[2]), *[None] * 7


_library.impl("recurrence", _forward, "CPU")
_library.impl("recurrence_backward", _run_backward, "CPU")
torch.library.register_fake("unrolled::recurrence", _fake, lib=_library)
torch.library.register_fake("unrolled::recurrence_backward", _fake_backward, lib=_library)
torch.library.register_autograd("unrolled::recurrence", _backward, setup_context=_setup, lib=_library)
