"""Ours: `unrolled.nn.Recurrent` as a user calls it, weights unpacked at every call; and two variants for inference."""

import inspect
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from benchmarks.peers.contestant import Contestant, Forward, Unavailable, in_torch
from benchmarks.peers.task import Task, layer_for
from unrolled.nn import Recurrent


def contestant(task: Task) -> Contestant:
    """The layer as it stands."""
    return in_torch(task, forward_of(task.layer), list(task.weights.values()), about=engine_of(task))


def packed(task: Task) -> Contestant:
    """Inside `layer.packed()`: the weights are promised unchanged, as ONNX Runtime takes it for granted."""
    if task.training:
        raise Unavailable("packed weights do not change, so they do not train")
    layer, block = packed_layer(task)
    return _held(in_torch(task, forward_of(layer), []), block)


def packed_layer(task: Task) -> tuple[Recurrent, AbstractContextManager[Any]]:
    """A layer with the task's weights, and the block in which they are packed."""
    layer = _copy(task)
    return layer, layer.packed()


def bfloat16(task: Task) -> Contestant:
    """Weights stored half as wide, packed: what is left of batch 1 once reading weights is all of it."""
    if task.training or task.shape.batch > 1:
        raise Unavailable("bfloat16 weights are for inference at batch 1")
    layer, block = half_width(task)
    return _held(in_torch(task, forward_of(layer), [], tolerance=5e-2), block)


def half_width(task: Task) -> tuple[Recurrent, AbstractContextManager[Any]]:
    """A layer with the task's weights in bfloat16, and the block to run it in.

    Raises:
        Unavailable: the layer has no such option.
    """
    if "weights" in inspect.signature(Recurrent.packed).parameters:
        layer = _copy(task)
        return layer, layer.packed(weights="bfloat16")
    if "weights" not in inspect.signature(Recurrent).parameters:
        raise Unavailable('the layer has no weights="bfloat16" yet')
    layer = _copy(task, weights="bfloat16")
    return layer, layer.packed()


def _copy(task: Task, **options: str) -> Recurrent:
    """A layer of its own with the task's weights: a block that one contestant is in is nothing for the others."""
    layer = layer_for(task.cell, task.shape, **options)
    layer.load_state_dict(task.layer.state_dict())
    return layer


def forward_of(layer: Recurrent) -> Forward:
    """A layer's call, with its states as a tuple whatever their number."""
    single = len(layer.cell.states) == 1

    def forward(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, final = layer(x, states[0] if single else states)
        return output, (final,) if single else final

    return forward


def engine_of(task: Task) -> str:
    """The engine that runs the task, and why.

    Raises:
        Unavailable: the engine refuses the cell.
    """
    try:
        found = task.layer.engine_for(task.x)
    except ValueError as refusal:
        raise Unavailable(str(refusal)) from refusal
    return f"{found.name}: {found.reason}"


def _held(made: Contestant, block: AbstractContextManager[Any]) -> Contestant:
    """The contestant, whose every run is inside a block that is entered at the first one and then stays open."""
    entered = False

    def run() -> Any:
        nonlocal entered
        if not entered:
            block.__enter__()
            entered = True
        return made.run()

    return Contestant(run, made.numbers, made.about, made.tolerance)
