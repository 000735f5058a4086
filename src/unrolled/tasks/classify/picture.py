"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.lettering import lettering
from unrolled.pictures import drawing, new_figure, save_figure

NUMBERED = 30
"""Up to so many classes the cells show their counts."""


@drawing
def draw_confusions(table: Sequence[Sequence[int]], names: Sequence[str], path: Path, *, title: str = "") -> None:
    """Draw how often each true class (row) was taken for each class (column), shaded by the share of the row.

    Raises:
        UserError: the ending is none of .png and .svg, or the picture cannot be written.
    """
    counts = np.array(table)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(16.0, 3.2 + 0.42 * len(names))
    letters = lettering([*names, title])
    short = [letters.short(name) for name in names]
    beside = 0.09 * max(map(len, short), default=0)
    turned = sum(map(len, short)) > 40
    figure = new_figure(size + 0.8 + beside, size + beside * turned)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    rows = [f"{name} ({total:,})" for name, total in zip(short, counts.sum(axis=1), strict=True)]
    axes.set_xticks(range(len(names)), short, rotation=90 * turned, family=letters.families)
    axes.set_yticks(range(len(names)), rows, family=letters.families)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class (examples)")
    if title:
        axes.set_title(letters(title), loc="left", fontsize=10, family=letters.families)
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
