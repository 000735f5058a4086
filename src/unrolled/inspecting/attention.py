"""Where a model looked: the weights of its attention, α⟨t,t'⟩."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from unrolled.inspecting.heat_map import WIDEST, longest_of, width_for, write_rows, write_symbols
from unrolled.pictures import drawing, new_figure, save_figure


class AttentionMap(NamedTuple):
    """How much each timestep of what was read counted for each symbol that was written.

    Attributes:
        source: what was read, T_x symbols as people see them. target: what was written, T_y.
        weights: (T_y, T_x) α⟨t,t'⟩; each row is 1 in sum.
    """

    source: list[str]
    target: list[str]
    weights: Tensor

    def most(self, count: int = 3) -> list[list[tuple[int, float]]]:
        """Of each row the timesteps t' that counted most, with their weights."""
        best = self.weights.topk(min(count, self.weights.shape[1]), -1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [list(zip(places, shares, strict=True)) for places, shares in pairs]

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {"source": self.source, "target": self.target, "weights": self.weights.tolist()}


@drawing
def draw_attention(found: AttentionMap, path: Path) -> None:
    """Draw the map, a row for each symbol that was written; PNG or SVG.

    Raises:
        UserError: the ending is another, or the picture cannot be written.
    """
    rows = len(found.target)
    height = float(np.clip(1.1 + 0.19 * rows + 0.06 * longest_of(found.source), 1.9, WIDEST))
    figure = new_figure(width_for(found.source) + 0.08 * longest_of(found.target), height)
    axes = figure.subplots()
    weights = found.weights.numpy()  # of a long source the largest is far below 1
    image = axes.imshow(
        weights, aspect="auto", interpolation="nearest", cmap="Blues", vmin=0, vmax=max(float(weights.max()), 1e-9)
    )
    write_symbols(axes, found.source)
    write_rows(axes, found.target)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    save_figure(figure, path)
