"""Units that track something, over a stretch of the text: what they track above, the unit below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unrolled.inspecting.cell_search import CellSearch, TrackingUnit
from unrolled.inspecting.heat_map import longest_of, width_for, write_symbols, write_title
from unrolled.pictures import drawing, new_figure, save_figure


@drawing
def draw_cells(found: CellSearch, path: Path, *, count: int = 8, length: int = 110) -> None:
    """Draw the best unit of each of the `count` features that are tracked best, over `length` symbols; PNG or SVG.

    Raises:
        UserError: the ending is another, or the picture cannot be written.
    """
    shown = [units[0] for units in found.found[:count]]
    stretches = [found.stretch(one.feature, length) for one in shown]
    long = max((longest_of(found.symbols[part]) for part in stretches), default=1)
    width = width_for(found.symbols[stretches[0]]) if shown else 6.0
    figure = new_figure(width, max(1, len(shown)) * (0.95 + 0.06 * long))
    if not shown:
        figure.text(0.5, 0.5, "the text has no feature that changes often enough", ha="center")
    grids = figure.subfigures(max(1, len(shown)), 1, squeeze=False)[:, 0]
    for grid, one, part in zip(grids, shown, stretches, strict=False):
        _draw(grid, found, one, part)
    save_figure(figure, path)


def _draw(figure: Any, found: CellSearch, one: TrackingUnit, part: slice) -> None:
    above, below = figure.subplots(2, 1, height_ratios=[1.2, 1])
    feature, values = found.features[one.feature][part], one.values[part]
    above.fill_between(range(len(feature)), feature, step="mid", color="#8d99ae", linewidth=0)
    write_title(above, f"{one.feature}: {one.unit}, r = {one.correlation:.2f}")
    above.set_axis_off()
    above.set_xlim(-0.5, len(feature) - 0.5)
    most = max(1e-9, float(np.abs(one.values).max()))
    below.imshow(values[None, :], aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-most, vmax=most)
    below.set_yticks([])
    write_symbols(below, found.symbols[part])
