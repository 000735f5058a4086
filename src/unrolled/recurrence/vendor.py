"""The vendor engine: PyTorch's own kernels (oneDNN on CPU, cuDNN on GPU) for the cells that torch.nn has."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled.cells import cell_named
from unrolled.recurrence.gate import direct, forward_mode
from unrolled.recurrence.program import Program, trace
from unrolled.recurrence.request import Answer, Request

KERNELS: dict[str, Callable[..., Any]] = {
    "rnn": torch.rnn_tanh,
    "rnn-relu": torch.rnn_relu,
    "gru-torch": torch.gru,
    "lstm": torch.lstm,
}
"""The kernel of each cell that torch.nn has, by the cell's name."""


@lru_cache(maxsize=256)
def kernel_of(program: Program) -> str:
    """The cell whose kernel computes a program, or "". A name is not enough: anyone may call a cell "lstm"."""
    same = program.cell in KERNELS and program == trace(cell_named(program.cell))
    return program.cell if same else ""


def refuses(request: Request) -> str | None:
    """Why this engine cannot run the request, or None if it can."""
    if not request.vendor:
        return f"torch.nn has no kernel for the equations of {request.cell.name}"
    if request.observe:
        return "torch.nn's kernels do not give their gates"
    if not request.x.is_floating_point():
        return "torch.nn's kernels take vectors, not symbol ids"
    if any(direction.mask is not None or direction.keep is not None for direction in request.directions):
        return "torch.nn's kernels have no recurrent dropout and no zoneout"
    if forward_mode():
        return "torch.nn's kernels do not all have forward-mode derivatives"
    lengths = request.lengths
    if lengths is not None and (lengths.is_meta or not direct((lengths,))):
        return "torch.nn's kernels need to look at the lengths"
    if lengths is not None and bool((lengths == 0).any()):
        return "torch.nn's kernels refuse sequences of length 0"
    return None


def run(request: Request) -> Answer:
    """Run one layer, both directions at once."""
    weights = [direction.parameters[name] for direction in request.directions for name in request.layout.parameters]
    states = [torch.stack(pair) for pair in zip(*(direction.states for direction in request.directions), strict=True)]
    packed = None
    if request.lengths is not None:
        packed = pack_padded_sequence(request.x, request.lengths.cpu(), enforce_sorted=False)
        states = [state[:, packed.sorted_indices] for state in states]
    output, after = _call(request, packed, states, weights)
    if packed is not None:
        after = [state[:, packed.unsorted_indices] for state in after]
    # Under autocast the kernels answer in half precision; the state that is carried stays in the weights' type.
    after = [state.to(weights[0].dtype) for state in after]
    return Answer(output, tuple(zip(*(state.unbind(0) for state in after), strict=True)))


def _call(
    request: Request, packed: PackedSequence | None, states: list[Tensor], weights: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    kernel = KERNELS[request.vendor]
    hx = states if len(states) > 1 else states[0]
    two_ways, biased = len(request.directions) == 2, "bias_ih" in request.layout.parameters
    options = (weights, biased, 1, 0.0, request.training, two_ways)
    if packed is None:
        output, *after = kernel(request.x, hx, *options, False)
        return output, after
    data, *after = kernel(packed.data, packed.batch_sizes, hx, *options)
    sequences = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    output, _ = pad_packed_sequence(sequences, total_length=request.x.shape[0])
    return output, after
