"""How far back the loss of one timestep reaches: ‖∂L⟨t⟩/∂a⟨s⟩‖ against the distance t - s.

a⟨s⟩ is all that a recurrent stack hands from timestep s to the next: every state of every layer. The stack is run one
timestep at a time, so that each of these is a value of its own in autograd's graph; all of it in float64, since what
vanishes would otherwise be rounded to nothing long before it is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.errors import UserError
from unrolled.inspecting.observation import Numbers
from unrolled.nn.recurrent import Recurrent
from unrolled.pictures import curve_style, drawing, legend, new_figure, plain_axes, powers_of_ten, save_figure

MOMENTS = 6
"""Timesteps whose loss is looked back from, in each sequence."""


@dataclass(frozen=True)
class Watched:
    """Sequences of one length, and what a model makes of them.

    Attributes:
        vectors: (T, B, I) what the recurrence reads.
        state: before the first timestep; None for the layer's own.
        loss: of a timestep t, given the outputs (B, H) of all timesteps up to t: (B,).
        ends: whether only the last timestep has a loss, as of classifiers.
    """

    vectors: Tensor
    state: Any
    loss: Callable[[int, Sequence[Tensor]], Tensor]
    ends: bool = False


@dataclass(frozen=True)
class GradientDecay:
    """Norms of ∂L⟨t⟩/∂a⟨s⟩ by distance.

    Attributes:
        name: whose. distances: t - s, from 1 on.
        median, low, high: of each distance, over timesteps and sequences; low and high are the quartiles.
        count: how many norms the first distance has.
    """

    name: str
    distances: tuple[int, ...]
    median: Numbers
    low: Numbers
    high: Numbers
    count: int

    @property
    def factor(self) -> float:
        """What a timestep more multiplies the norm by, in the mean over all distances; below 1 it vanishes, above 1 it
        explodes. NaN where it cannot be said."""
        known = np.flatnonzero((self.median > 0) & np.isfinite(self.median))
        if len(known) < 2:
            return math.nan
        first, last = int(known[0]), int(known[-1])
        fall = math.log(float(self.median[last])) - math.log(float(self.median[first]))
        return math.exp(fall / (self.distances[last] - self.distances[first]))

    @property
    def reach(self) -> int | None:
        """The distance at which a hundredth of the first norm is left; None where more is left throughout."""
        below = np.flatnonzero(self.median < 0.01 * self.median[0])
        return self.distances[int(below[0])] if len(below) else None

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            "name": self.name, "distances": list(self.distances), "median": self.median.tolist(),
            "low": self.low.tolist(), "high": self.high.tolist(), "count": self.count, "factor": self.factor,
            "reach": self.reach,
        }  # fmt: skip


def gradient_decay(name: str, layer: Recurrent, watched: Iterable[Watched]) -> GradientDecay:
    """Look back from several timesteps of every sequence.

    Args:
        layer: a stack in one direction, in float64.
        watched: the sequences, in batches of one length each.
    """
    found: dict[int, list[float]] = {}
    for one in watched:
        for distance, norms in _norms(layer, one):
            found.setdefault(distance, []).extend(norms)
    distances = tuple(sorted(found))
    quartiles = np.array([np.quantile(found[distance], (0.25, 0.5, 0.75)) for distance in distances])
    low, median, high = quartiles.T
    return GradientDecay(name, distances, median, low, high, len(found[distances[0]]))


@torch.no_grad()
def multiply_recurrent(model: nn.Module, gain: str) -> None:
    """Multiply a model's weights on states by a number, in place: too large ones make gradients explode.

    Raises:
        UserError: it is no positive number.
    """
    try:
        number = float(gain)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"the gain {gain!r} is no positive number; give one as in rnn:orthogonal:1.5")
    for layer in model.modules():
        if isinstance(layer, Recurrent):
            for name, weight in layer.named_parameters():
                if "weight_hh" in name:
                    weight.mul_(number)


def _norms(layer: Recurrent, watched: Watched) -> Iterable[tuple[int, list[float]]]:
    """(distance, the norms of all sequences), of each timestep that is looked back from."""
    steps, batch = watched.vectors.shape[:2]
    state = layer.begin(batch) if watched.state is None else watched.state
    outputs: list[Tensor] = []
    states: list[tuple[Tensor, ...]] = []
    vectors = watched.vectors.detach()
    for step in range(steps):
        state = tuple(part.requires_grad_() for part in (state if isinstance(state, tuple) else (state,)))
        output, state = layer(vectors[step : step + 1], state if len(state) > 1 else state[0])
        outputs.append(output[0])
        states.append(state if isinstance(state, tuple) else (state,))
    for moment in _moments(steps, watched.ends):
        loss = watched.loss(moment, outputs[: moment + 1]).sum()
        flat = [part for own in states[:moment] for part in own]
        gradients = torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True, materialize_grads=True)
        count = len(states[0])
        for step in range(moment):
            parts = gradients[step * count : (step + 1) * count]
            squares = sum(part.detach().square().sum(dim=(0, 2)) for part in parts)
            assert isinstance(squares, Tensor)
            yield moment - step, squares.sqrt().tolist()


def _moments(steps: int, ends: bool) -> list[int]:
    """The timesteps whose losses are looked back from: the last ones, in which everything before could matter."""
    if ends:
        return [steps - 1]
    first = max(1, steps // 2)
    return sorted({round(moment) for moment in np.linspace(first, steps - 1, MOMENTS)})


@drawing
def draw_gradients(decays: Sequence[GradientDecay], path: Path) -> None:
    """Draw the medians on a logarithmic axis, the quartiles as bands; PNG or SVG.

    Raises:
        UserError: the ending is another, or the picture cannot be written.
    """
    figure = new_figure(8.0, 4.8)
    axes = figure.subplots()
    curves, names = [], []
    for place, one in enumerate(decays):
        colour, style = curve_style(place)
        shown = np.where(one.median > 0, one.median, np.nan)
        marker = "o" if len(one.distances) < 3 else ""
        names.append(one.name if math.isnan(one.factor) else f"{one.name}: × {one.factor:.3g} a timestep")
        curves += axes.plot(one.distances, shown, color=colour, linestyle=style, linewidth=1.8, marker=marker)
        low = np.where(one.low > 0, one.low, np.nan)
        axes.fill_between(one.distances, low, one.high, color=colour, alpha=0.13, linewidth=0)
    if any((one.median > 0).any() for one in decays):
        powers_of_ten(axes)
    else:
        axes.text(0.5, 0.5, "vanished altogether", transform=axes.transAxes, ha="center", color="#5c677d")
    axes.set_xlabel("distance t - s, in timesteps", fontsize=9)
    axes.set_ylabel("‖∂L⟨t⟩/∂a⟨s⟩‖", fontsize=9)
    plain_axes(axes)
    legend(axes, curves, names, frameon=False)
    save_figure(figure, path)
