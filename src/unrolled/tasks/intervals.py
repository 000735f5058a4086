"""How much of a figure is luck: the interval that resampling of what was measured gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOOTSTRAPS = 1000
LEAST = 10
"""Of fewer items resamplings are too much alike to say anything."""
MOST_DRAWS = 4_000_000
"""Numbers of items that are held at once."""

Figures = Callable[[NDArray[np.int64]], ArrayLike]
"""From the numbers of drawn items, (N, count), to the figure of each of the N resamplings."""


def interval(count: int, figures: Figures, seed: int = 0) -> list[float] | None:
    """The middle 95 % of a figure over `BOOTSTRAPS` resamplings of `count` independent items.

    None where resampling says nothing: of fewer than `LEAST` items, or where every resampling has the same figure.

    figures: the estimator itself. Given every item once, it must return the figure that the interval stands beside.
    """
    if count < LEAST:
        return None
    generator, rows = np.random.default_rng(seed), max(1, MOST_DRAWS // count)
    found: list[float] = []
    while len(found) < BOOTSTRAPS:
        size = min(rows, BOOTSTRAPS - len(found))
        found += np.asarray(figures(generator.integers(count, size=(size, count))), dtype=np.float64).tolist()
    low, high = np.quantile(found, [0.025, 0.975]).tolist()
    return [low, high] if low < high else None
