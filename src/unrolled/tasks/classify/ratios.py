"""Embeddings that know from the start which class a symbol speaks for: log-count ratios of the training part.

For symbol w and class c, n_c(w) examples of c hold w:

    r_c(w) = log p_c(w) - mean over the classes of log p(w),    p_c(w) = (n_c(w) + 1) / Σ_v (n_c(v) + 1)

A linear model of these numbers is naive Bayes, so a network that starts with them begins where counting ends, and
learns what counting cannot: which words belong together. After Wang and Manning (2012), Baselines and bigrams, who
weight features by these ratios, and Li et al. (2016), Weighted neural bag-of-n-grams model, who start embeddings so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHARE = 0.2
"""The share of an embedding's numbers that start as ratios, the classes by turns; the others start at random."""


def log_count_ratios(
    sequences: Sequence[NDArray[Any]], classes: Sequence[int], *, vocabulary: int, count: int
) -> NDArray[np.float64]:
    """(C, V) how much each symbol speaks for each class.

    Args:
        sequences: (T,) ids of each example. classes: its class, 0 to C - 1.
        vocabulary: V. count: C.

    >>> log_count_ratios([np.array([0, 1]), np.array([0])], [0, 1], vocabulary=2, count=2).round(2)
    array([[-0.14,  0.2 ],
           [ 0.14, -0.2 ]])
    """
    counts = np.ones((count, vocabulary))
    for sequence, label in zip(sequences, classes, strict=True):
        counts[label, np.unique(sequence)] += 1
    logs = np.log(counts / counts.sum(axis=1, keepdims=True))
    ratios: NDArray[np.float64] = logs - logs.mean(axis=0)
    return ratios


@torch.no_grad()
def put_ratios(weight: Tensor, ratios: NDArray[np.float64]) -> None:
    """Start an embedding (V, E) with ratios (C, V), in the first of its numbers."""
    classes = ratios.shape[0]
    columns = min(weight.shape[1], max(classes, round(SHARE * weight.shape[1])))
    own = torch.from_numpy(ratios[np.arange(columns) % classes].T.copy())
    weight[:, :columns] = own.to(weight)
