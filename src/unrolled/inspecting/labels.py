"""What a tagger thought of every label at every timestep; with a CRF also how it scores neighbouring labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inspecting.heat_map import longest_of, width_for, write_rows, write_symbols
from unrolled.nn.crf import LinearChainCRF
from unrolled.pictures import drawing, new_figure, save_figure

Numbers = NDArray[np.float64]
BEFORE, AFTER = "(start)", "(end)"
"""The row of what may begin a sequence, the column of what may end one."""


@dataclass(frozen=True)
class LabelTable:
    """Of one sequence of T timesteps and a tagger of L labels.

    Attributes:
        symbols: what was read. labels: the names of the labels, as the model learned them.
        probabilities: (T, L) of each label at each timestep by itself: a CRF's marginals, otherwise the softmax.
        chosen: (T,) the labels that the model answers: of a CRF those of the most probable sequence.
        transitions: (L + 1, L + 1) the CRF's scores of a label (row) followed by another (column); the last row is
            that of the start, the last column that of the end; NaN where the tag scheme forbids it. None without a CRF.
    """

    symbols: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: Numbers
    chosen: tuple[int, ...]
    transitions: Numbers | None

    def ranked(self, step: int) -> list[tuple[str, float]]:
        """The labels of one timestep with their probabilities, the most probable first."""
        order = np.argsort(-self.probabilities[step], kind="stable")
        return [(self.labels[place], float(self.probabilities[step, place])) for place in order]

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON; a forbidden transition is null."""
        transitions = None if self.transitions is None else self.transitions.tolist()
        return {
            "symbols": list(self.symbols),
            "labels": list(self.labels),
            "probabilities": self.probabilities.tolist(),
            "chosen": [self.labels[place] for place in self.chosen],
            "transitions": transitions,
        }


def transitions_of(crf: LinearChainCRF) -> Numbers:
    """(L + 1, L + 1) see `LabelTable`."""
    found = np.full((crf.labels + 1, crf.labels + 1), np.nan)
    for place, weight, forbidden in (
        ((slice(-1), slice(-1)), crf.transitions, crf.forbidden),
        ((-1, slice(-1)), crf.start, crf.not_first),
        ((slice(-1), -1), crf.end, crf.not_last),
    ):
        own = weight.detach().double().masked_fill(forbidden, np.nan)
        found[place] = own.cpu().numpy()
    return found


@drawing
def draw_labels(found: LabelTable, path: Path) -> None:
    """Draw the probabilities, labels × timesteps, with a dot on each that was chosen; of a CRF the transitions below.

    Raises:
        UserError: the ending is none of .png and .svg, or the picture cannot be written.
    """
    labels = len(found.labels)
    long = 0.075 * longest_of(found.labels)
    high = max(1.1, 0.19 * labels + 0.07 * longest_of(found.symbols) + 0.3)
    square = 0 if found.transitions is None else max(1.8, 0.24 * (labels + 1)) + long
    width = max(width_for(found.symbols) + long, square + long + 1.4 if square else 0)
    figure = new_figure(width, high + square + 0.6)
    rows = figure.add_gridspec(2 if square else 1, 1, height_ratios=[high, square] if square else [high])
    axes = figure.add_subplot(rows[0])
    image = axes.imshow(found.probabilities.T, aspect="auto", interpolation="nearest", cmap="Blues", vmin=0, vmax=1)
    size = float(np.clip(400 / len(found.symbols), 1.5, 14))
    axes.scatter(range(len(found.chosen)), found.chosen, s=size, color="#d1495b", zorder=2)
    axes.set_title("P(label), • chosen", loc="left", fontsize=9)
    write_symbols(axes, found.symbols)
    write_rows(axes, found.labels)
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01).ax.tick_params(labelsize=7)
    if found.transitions is not None:
        own = min(width, square + long + 1.4)  # as wide as it needs, however long the text is
        cells = rows[1].subgridspec(1, 2, width_ratios=[own, max(width - own, 1e-3)])
        _draw_transitions(figure, figure.add_subplot(cells[0]), found.transitions, found.labels)
    save_figure(figure, path)


def _draw_transitions(figure: Any, axes: Any, scores: Numbers, labels: tuple[str, ...]) -> None:
    most = max(1e-9, float(np.nanmax(np.abs(scores))))
    axes.set_facecolor("#d9d9d9")  # seen where nothing is drawn: what is forbidden, and (start) before (end)
    image = axes.imshow(scores, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    axes.set_title("CRF: a label (row) before another (column)", loc="left", fontsize=9)
    write_rows(axes, [*labels, BEFORE])
    write_symbols(axes, [*labels, AFTER])
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01).ax.tick_params(labelsize=7)
