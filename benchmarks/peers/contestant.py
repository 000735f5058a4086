"""A contestant: something that can be called again and again, and whose numbers can be compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.task import Task

Numbers = Mapping[str, np.ndarray]
Forward = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]
"""x and the initial states, each (1, B, H), to the output and the final states."""


class Unavailable(Exception):
    """This contestant does not do this task; the message says why."""


@dataclass(frozen=True)
class Contestant:
    """What is timed.

    Attributes:
        run: does all the work once, and returns what it likes.
        numbers: turns that into arrays by name: "output", "final 0", ..., and "gradient of ..." in training.
        about: the engine inside, or how it was set up; may be empty.
        tolerance: how far its numbers may be from ours, relative to the largest.
    """

    run: Callable[[], Any]
    numbers: Callable[[Any], Numbers]
    about: str = ""
    tolerance: float = 3e-4


def wrong(contestant: Contestant, reference: Numbers) -> tuple[float, str | None]:
    """Run it once: the largest difference relative to the array's largest number, and what is wrong, or None.

    A forgotten bias, another gate order or a missing gradient is off by tenths; a float32 sum over thousands of
    timesteps by some 1e-5.
    """
    numbers = contestant.numbers(contestant.run())
    if set(numbers) != set(reference):
        return float("inf"), f"it returns {sorted(numbers)}, not {sorted(reference)}"
    worst = 0.0
    for name, expected in reference.items():
        if numbers[name].shape != expected.shape:
            return float("inf"), f"{name} has shape {numbers[name].shape}, not {expected.shape}"
        difference = float(np.abs(numbers[name] - expected).max() / max(np.abs(expected).max(), 1e-6))
        if not difference <= contestant.tolerance:
            return difference, f"{name} differs by {difference:.1e} of its largest number"
        worst = max(worst, difference)
    return worst, None


def named(task: Task, output: np.ndarray, finals: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> Numbers:
    """A result's arrays by name; the gradients in the order of x, states, weights, or none."""
    names = ["x", *(f"state {place}" for place in range(len(task.states))), *task.weights]
    numbers = {"output": output, **{f"final {place}": final for place, final in enumerate(finals)}}
    return numbers | {
        f"gradient of {name}": gradient for name, gradient in zip(names, gradients, strict=False) if task.training
    }


def in_torch(task: Task, forward: Forward, weights: Sequence[Tensor], **details: Any) -> Contestant:
    """A contestant whose forward pass is PyTorch's business, and whose gradient is autograd's.

    `weights` are its parameters, in the order of the task's.
    """

    def infer() -> list[Tensor]:
        with torch.inference_mode():
            output, finals = forward(task.x, task.states)
        return [output, *finals]

    if not task.training:
        return Contestant(infer, lambda result: _arrays(task, result, []), **details)
    x, states = task.x.requires_grad_(), tuple(state.requires_grad_() for state in task.states)

    def train() -> tuple[list[Tensor], tuple[Tensor, ...]]:
        output, finals = forward(x, states)
        results = [output, *finals]
        return results, torch.autograd.grad(results, [x, *states, *weights], task.cotangents)

    return Contestant(train, lambda result: _arrays(task, *result), **details)


def _arrays(task: Task, results: Sequence[Tensor], gradients: Sequence[Tensor]) -> Numbers:
    arrays = [tensor.detach().numpy() for tensor in results]
    return named(task, arrays[0], arrays[1:], [gradient.numpy() for gradient in gradients])
