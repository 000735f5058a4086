"""Gates in few numbers: how far open, how often shut, and which units remember longest; and an order for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inspecting.observation import Numbers, ObservedLayer
from unrolled.inspecting.order import UnitOrder

SHUT, OPEN = 0.1, 0.9
"""A gate below the one is near 0, above the other near 1."""


@dataclass(frozen=True)
class GateSummary:
    """One gate over all units and timesteps: its mean, and which share of its values is near 0 and near 1."""

    name: str
    mean: float
    shut: float
    open: float


def gate_summaries(layer: ObservedLayer) -> list[GateSummary]:
    """Of every gate of a layer, in the cell's order."""
    found = []
    for name in layer.gates:
        values = layer.values[name]
        found.append(
            GateSummary(name, float(values.mean()), float((values < SHUT).mean()), float((values > OPEN).mean()))
        )
    return found


def longest(layer: ObservedLayer, count: int = 5) -> dict[str, list[tuple[int, float]]]:
    """Of every state that is kept, the units with the longest half-lives: (unit, timesteps), the longest first."""
    found = {}
    for state, lives in layer.half_lives.items():
        found[state] = [(int(unit), float(lives[unit])) for unit in np.argsort(-lives, kind="stable")[:count]]
    return found


def unit_order(layer: ObservedLayer, order: UnitOrder | str = UnitOrder.memory) -> NDArray[np.int64]:
    """The units in an order that shows something.

    memory: the longest half-life first (of a cell that keeps nothing: similar). similar: units that do alike stand side
    by side, by their angle in the plane of the first two principal components of the first state. none: as they are.
    """
    states = layer.values[layer.states[0]]
    if order == UnitOrder.memory and layer.half_lives:
        lives = layer.half_lives[max(layer.half_lives, key=lambda name: float(np.median(layer.half_lives[name])))]
        return np.argsort(-lives, kind="stable")
    if order == UnitOrder.none or len(states) < 2:
        return np.arange(states.shape[1])
    return np.argsort(_angles(states), kind="stable")


def _angles(states: Numbers) -> Numbers:
    centred = states - states.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred / np.maximum(centred.std(axis=0), 1e-12), full_matrices=False)
    second = directions[1] * sizes[1] if len(sizes) > 1 else np.zeros(states.shape[1])
    return np.asarray(np.arctan2(second, directions[0] * sizes[0]))


def summary_dict(layer: ObservedLayer) -> dict[str, Any]:
    """The numbers of a layer, for JSON."""
    return {
        "layer": layer.layer,
        "reverse": layer.reverse,
        "gates": [
            {"gate": one.name, "mean": one.mean, "near_0": one.shut, "near_1": one.open}
            for one in gate_summaries(layer)
        ],
        "longest": {
            state: [{"unit": unit, "half_life": life} for unit, life in units]
            for state, units in longest(layer).items()
        },
    }
