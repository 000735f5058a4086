"""Symbols in a plane, each with its name where there is room for it: no two names overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unrolled.inspecting.embeddings import Embeddings
from unrolled.lettering import MONO, lettering
from unrolled.pictures import drawing, new_figure, save_figure

PLACES = (
    ((4, 0), "left", "center"), ((-4, 0), "right", "center"), ((0, 4), "center", "bottom"), ((0, -4), "center", "top"),
    ((3, 3), "left", "bottom"), ((-3, 3), "right", "bottom"), ((3, -3), "left", "top"), ((-3, -3), "right", "top"),
)  # fmt: skip
"""Where a name may stand beside its point, in the order of preference."""


@drawing
def draw_embeddings(found: Embeddings, path: Path, *, count: int = 150) -> None:
    """Draw the `count` most frequent symbols in the plane of their first two principal components; PNG or SVG.

    The more frequent symbol has its name first; of names that would overlap another, the point alone is drawn.

    Raises:
        UserError: the ending is another, or the picture cannot be written.
    """
    points, shares = found.plane(count)
    figure = new_figure(9.0, 7.2)
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=9, color="#2a6f97", zorder=2)
    axes.margins(0.08)
    axes.set_xlabel(f"first principal component, {shares[0]:.0%} of the variance", fontsize=8)
    axes.set_ylabel(f"second, {shares[1]:.0%}", fontsize=8)
    axes.tick_params(labelsize=7, length=2)
    axes.set_title("columns of the input weights" if found.one_hot else "embedding", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    _name(figure, axes, points, found.shown[: len(points)])
    save_figure(figure, path)


def _name(figure: Any, axes: Any, points: Any, names: tuple[str, ...]) -> None:
    from matplotlib.transforms import Bbox

    letters = lettering(names, MONO)
    figure.draw_without_rendering()  # the layout is known from here on
    renderer = figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    dots = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in dots]
    for place, (point, name) in enumerate(zip(points, names, strict=True)):
        others = taken[:place] + taken[place + 1 :]
        for offset, across, along in PLACES:
            text = axes.annotate(
                letters.short(name), point, xytext=offset, textcoords="offset points", ha=across, va=along,
                fontsize=8, family=letters.families, color="#1d3557",
            )  # fmt: skip
            box = text.get_window_extent(renderer)
            if frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) and not box.count_overlaps(others):
                taken.append(box)
                break
            text.remove()
