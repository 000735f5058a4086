"""How much of a figure is luck: the interval that resampling of what was measured gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOOTSTRAPS = 1000


def interval(count: int, figures: Callable[[NDArray[np.int64]], ArrayLike], seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of a figure over `BOOTSTRAPS` resamplings of `count` items.

    figures: from the numbers of the drawn items, (BOOTSTRAPS, count), to the figure of each resampling.
    """
    draws = np.random.default_rng(seed).integers(count, size=(BOOTSTRAPS, count))
    low, high = np.quantile(np.asarray(figures(draws)), [0.025, 0.975])
    return float(low), float(high)
