"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.pictures import new_figure, save_figure

NUMBERED = 30
"""Up to so many classes the cells show their counts."""


def draw_confusions(table: Sequence[Sequence[int]], names: Sequence[str], path: Path, *, title: str = "") -> None:
    """Draw how often each true class (row) was taken for each class (column), shaded by the share of the row.

    Raises:
        UserError: the ending is none of .png and .svg, or the picture cannot be written.
    """
    counts = np.array(table)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(16.0, 3.2 + 0.42 * len(names))
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 5 else 0)
    axes.set_yticks(
        range(len(names)), [f"{name} ({total:,})" for name, total in zip(names, counts.sum(axis=1), strict=True)]
    )
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class (examples)")
    if title:
        axes.set_title(title, loc="left", fontsize=10)
    if len(names) <= NUMBERED:
        _number(axes, counts, shares)
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the true class")
    save_figure(figure, path)


def _number(axes: Any, counts: Any, shares: Any) -> None:
    size = 9 if len(counts) <= 12 else 6.5
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.55 else "#1d3557"
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=size, color=colour)
