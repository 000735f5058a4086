"""Single hidden units that keep track of something simple, found by correlation over a text.

Karpathy et al. (2015) found theirs by eye. A feature's units are chosen on the first half of the text, and the
correlation that is told is that of the second half: of thousands of units some fit by chance what they were chosen on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
LEAST_DEVIATION = 1e-3
"""A unit that moves less, tracks nothing."""
LEAST_CHANGES = 8
"""A feature that changes less often in a half of the text, is no evidence."""


@dataclass(frozen=True)
class UnitName:
    """A hidden unit: which layer, which state, which of its units."""

    layer: int
    state: str
    unit: int

    def __str__(self) -> str:
        return f"layer {self.layer} {self.state}[{self.unit}]"


@dataclass(frozen=True)
class TrackingUnit:
    """A unit that tracks a feature.

    Attributes:
        feature, unit: which.
        correlation: Pearson's r in the second half of the text. chosen_by: in the first half.
        values: (T,) the unit after each symbol.
    """

    feature: str
    unit: UnitName
    correlation: float
    chosen_by: float
    values: Numbers


@dataclass(frozen=True)
class CellSearch:
    """What was found.

    Attributes:
        name: of the text. symbols: its T symbols as people see them.
        features: (T,) of each feature that changes often enough.
        found: units of each feature, the best first, by falling |r| of the features' best.
        units: how many units were searched.
    """

    name: str
    symbols: tuple[str, ...]
    features: Mapping[str, Numbers]
    found: tuple[tuple[TrackingUnit, ...], ...]
    units: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the units by feature; of the best unit of each its values."""
        return {
            "text": self.name,
            "symbols": list(self.symbols),
            "features": [
                {
                    "feature": units[0].feature,
                    "units": [
                        {
                            "layer": one.unit.layer, "state": one.unit.state, "unit": one.unit.unit,
                            "correlation": one.correlation, "chosen_by": one.chosen_by,
                        }
                        for one in units
                    ],
                    "feature_values": self.features[units[0].feature].tolist(),
                    "unit_values": units[0].values.tolist(),
                }
                for units in self.found
            ],
        }  # fmt: skip

    def stretch(self, feature: str, length: int) -> slice:
        """A stretch of the text in which a feature changes much."""
        values = self.features[feature]
        starts = range(0, max(1, len(values) - length + 1), max(1, length // 4))
        best = max(starts, key=lambda start: float(values[start : start + length].std()))
        return slice(best, min(best + length, len(values)))


def search_cells(
    name: str, symbols: Sequence[str], features: Mapping[str, Numbers], states: NDArray[np.float32],
    names: Sequence[UnitName], *, top: int = 3,
) -> CellSearch:  # fmt: skip
    """The units that track each feature best.

    Args:
        features: (T,) each. states: (T, U) every unit after each symbol. names: of the U units.
        top: units of each feature.
    """
    half = len(symbols) // 2
    kept = {key: value for key, value in features.items() if _changes(value[:half]) and _changes(value[half:])}
    found = []
    for feature, values in kept.items():
        first = correlations(values[:half], states[:half])
        second = correlations(values[half:], states[half:])
        best = np.argsort(-np.abs(first), kind="stable")[:top]
        found.append(
            tuple(
                TrackingUnit(
                    feature, names[unit], float(second[unit]), float(first[unit]), states[:, unit].astype(float)
                )
                for unit in best
            )
        )
    found.sort(key=lambda units: -abs(units[0].correlation))
    return CellSearch(name, tuple(symbols), kept, tuple(found), states.shape[1])


def _changes(values: Numbers) -> bool:
    return int((np.diff(values) != 0).sum()) >= LEAST_CHANGES


def correlations(values: Numbers, states: NDArray[np.float32]) -> Numbers:
    """(U,) Pearson's r of a feature (T,) with every unit (T, U); 0 for a unit that hardly moves."""
    centred = values - values.mean()
    means = states.mean(axis=0, dtype=np.float64)
    deviations = np.sqrt(np.maximum((states.astype(np.float64) ** 2).mean(axis=0) - means**2, 0.0))
    products = centred @ states / len(values)
    spread = max(float(centred.std()), 1e-12)
    found: Numbers = np.where(
        deviations > LEAST_DEVIATION, products / (np.maximum(deviations, LEAST_DEVIATION) * spread), 0.0
    )
    return found
