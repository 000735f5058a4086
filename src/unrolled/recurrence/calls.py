"""From tensors as torch has them to calls of kernels: what both the operator and the Function do in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ShapeError
from unrolled.recurrence import gate
from unrolled.recurrence.keys import recurrence_of
from unrolled.recurrence.native import DTYPES, Call, Kernels, run_backward, run_forward
from unrolled.recurrence.plan import Form
from unrolled.recurrence.request import PackedWeights


@dataclass(frozen=True)
class Options:
    """What a call says beside its tensors. (Not a tuple: torch.func would take it apart.)

    Attributes:
        key: the cell, see `keys`.
        reverse, observe: see `Direction` and `Request`.
        checkpoint: how many timesteps lie between kept states; 0 keeps everything.
    """

    key: str
    reverse: bool
    observe: bool
    checkpoint: int


_kernels: dict[tuple[Any, ...], Kernels] = {}


def kernels_of(key: str, dtype: torch.dtype, *options: Any) -> Kernels:
    """The kernels of a form; `options` are saving, observing, masked, zoneout, projected, half-wide weights."""
    found = _kernels.get((key, dtype, options))
    if found is None:
        saving, observing, masked, zoneout, projected, half = options
        recurrence = recurrence_of(key)
        seen = recurrence.seen if observing else ()
        form = Form(
            recurrence.program, recurrence.layout, DTYPES[dtype], saving, seen, masked, zoneout, projected, half
        )
        found = _kernels.setdefault((key, dtype, options), Kernels(form))
    return found


def make_call(
    options: Options, x: Tensor, mask: Tensor | None, keep: Tensor | None, lengths: Tensor | None,
    parameters: Sequence[Tensor], states: Sequence[Tensor], packed: PackedWeights | None = None,
    known: bool = False,
) -> Call:  # fmt: skip
    """A call of a cell's kernels. `known`: ids and lengths were looked at before.

    Raises:
        ShapeError: shapes, types or numbers that the kernel would read past its memory with.
        RuntimeError: a tensor without memory.
    """
    recurrence = recurrence_of(options.key)
    names = recurrence.layout.parameters
    gate.counted(parameters, len(names), "parameters")
    if options.checkpoint < 0:
        raise ShapeError(f"checkpoint={options.checkpoint} must be a number of timesteps, or 0")
    named = {name: gate.dense(value, name).contiguous() for name, value in zip(names, parameters, strict=True)}
    x, states = gate.dense(x, "x"), [gate.dense(state, "a state") for state in states]
    mask, keep, lengths = (value if value is None else gate.dense(value, "a mask") for value in (mask, keep, lengths))
    gate.checked(recurrence, x, named, states, mask, keep, lengths)
    if not known:
        gate.within(lengths, 0, x.shape[0], "lengths")
        if not x.is_floating_point():
            gate.within(x, -1, named["weight_ih"].shape[1] - 1, "ids")
    half = packed is not None and packed.half
    rest = (options.observe, mask is not None, keep is not None, not x.is_floating_point(), half)
    kernels = {saving: kernels_of(options.key, states[0].dtype, saving, *rest) for saving in (False, True)}
    return Call(kernels, x, named, tuple(states), mask, keep, lengths, options.reverse, options.checkpoint, packed)


def gradients_of(
    call: Call, given: Sequence[Tensor], kept: Tensor | None, want_x: bool, want_weights: bool
) -> list[Tensor]:
    """The gradient of x (if wanted), the parameters (if wanted) and the initial states.

    Args:
        given: the gradients of the output, the final states and what was observed.
        kept: what the forward pass kept; None where it kept nothing, so that it runs again.
    """
    given = [gate.dense(value, "a gradient") for value in given]
    shape, states = (call.steps, call.batch, call.hidden), call.states
    expected = [shape, *(state.shape for state in states), *[shape] * len(call.form.seen)]
    gate.counted(given, len(expected), "gradients")
    gate.fits(given, expected, states[0].dtype)
    if kept is None:
        kept = run_forward(call, True)[-1]
    kept = gate.kept(kept, states[0], call.kept_size())
    found = run_backward(
        call, given[0], given[1 : 1 + len(states)], given[1 + len(states) :], kept, want_x, want_weights
    )
    x_part = [found.x if found.x is not None else torch.zeros_like(call.x)] if want_x else []
    return [*x_part, *found.parameters.values(), *found.states]
