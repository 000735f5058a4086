"""Gates and states as a picture: units × timesteps, the symbols on the axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UserError
from unrolled.inspecting.observation import ObservedLayer
from unrolled.lettering import MONO, lettering
from unrolled.pictures import drawing, new_figure, save_figure

WIDEST, NARROWEST = 22.0, 4.5
"""Inches."""
READABLE = 130
"""So many symbols can be written side by side; of more the axis has the numbers."""


@drawing
def draw_gates(
    layer: ObservedLayer, symbols: Sequence[str], units: NDArray[np.int64], path: Path, *, names: Sequence[str] = ()
) -> None:
    """Draw the gates and states of a layer one below another; PNG or SVG, by the file's ending.

    names: which of them; none for all, gates first.

    Raises:
        UserError: there is nothing of such a name, the ending is another, or the picture cannot be written.
    """
    shown = list(names) or [*layer.gates, *(name for name in layer.values if name not in layer.gates)]
    for name in shown:
        if name not in layer.values:
            raise UserError(f"nothing is called {name!r} in {layer.name}; there are {', '.join(layer.values)}")
    width = width_for(symbols)
    height = float(np.clip(0.014 * len(units), 0.9, 2.2))
    figure = new_figure(width, 0.9 + (height + 0.25) * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, shown, strict=True):
        _panel(figure, axes, name, layer, units)
    write_symbols(panels[-1], symbols)
    save_figure(figure, path)


def width_for(symbols: Sequence[str]) -> float:
    """Inches that so many timesteps take side by side."""
    return float(np.clip(1.8 + 0.17 * len(symbols), NARROWEST, WIDEST))


def longest_of(symbols: Sequence[str]) -> int:
    """Characters of the longest symbol on an axis; few where the timesteps are numbered."""
    letters = lettering(symbols if len(symbols) <= READABLE else (), MONO)
    return max(len(letters.short(symbol)) for symbol in symbols) if len(symbols) <= READABLE else 4


def write_symbols(axes: Any, symbols: Sequence[str]) -> None:
    """Write a symbol under each timestep, or where they are too many to be read, number the timesteps."""
    if len(symbols) <= READABLE:
        letters = lettering(symbols, MONO)
        labels = [letters.short(symbol) for symbol in symbols]
        axes.set_xticks(range(len(symbols)), labels, fontsize=8, family=letters.families)
        for label in axes.get_xticklabels():
            label.set_rotation(90 if len(label.get_text()) > 1 else 0)
    else:
        axes.set_xlabel("timestep", fontsize=8)
    axes.tick_params(axis="x", length=2, labelsize=8)


def write_rows(axes: Any, names: Sequence[str]) -> None:
    """Write a name beside each row, or where they are too many to be read, number the rows."""
    if len(names) <= READABLE:
        letters = lettering(names, MONO)
        labels = [letters.short(name) for name in names]
        axes.set_yticks(range(len(names)), labels, fontsize=8, family=letters.families)
    axes.tick_params(axis="y", length=2, labelsize=8)


def write_title(axes: Any, text: str) -> None:
    """Write a title that has a name of the user's in it."""
    letters = lettering([text])
    axes.set_title(letters(text), loc="left", fontsize=9, family=letters.families)


def _panel(figure: Any, axes: Any, name: str, layer: ObservedLayer, units: NDArray[np.int64]) -> None:
    values = layer.values[name][:, units].T
    gate = name in layer.gates
    most = 1.0 if gate else max(1e-9, float(np.quantile(np.abs(values), 0.995)))
    image = axes.imshow(
        values, aspect="auto", interpolation="nearest", cmap="viridis" if gate else "RdBu_r",
        vmin=0.0 if gate else -most, vmax=most,
    )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylabel("units", fontsize=8)
    write_title(axes, name + (" gate" if gate else ""))
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01).ax.tick_params(labelsize=7)
