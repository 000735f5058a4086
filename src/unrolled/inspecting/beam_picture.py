"""A beam search as a picture: a column for each step, the best hypothesis on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unrolled.inspecting.beam_tree import BeamNode, BeamTree
from unrolled.lettering import MONO, lettering
from unrolled.pictures import drawing, new_figure, save_figure

COLOURS = {
    "answer": "#2a6f97",
    "finished": "#2e9e5b",
    "continued": "#5c677d",
    "pruned": "#b8bfcc",
    "stopped": "#b8bfcc",
    "cut": "#c98a1b",
}
LONGEST = 12
"""Characters of a symbol; of longer ones the beginning."""
HIGH = 0.42
"""Inches between the hypotheses of a step."""
WIDEST = 90.0
"""Inches."""


@drawing
def draw_tree(tree: BeamTree, path: Path) -> None:
    """Draw the search; PNG or SVG. Under each symbol stands the score of what ended.

    Raises:
        UserError: the ending is another, or the picture cannot be written.
    """
    letters = lettering([node.symbol for node in tree.nodes], MONO)
    texts = [letters.short(node.symbol, LONGEST) for node in tree.nodes]
    column = min(0.42 + 0.085 * max(map(len, texts)), WIDEST / (tree.steps + 1))
    rows = max(node.rank for node in tree.nodes) + 1
    figure = new_figure(max(5.2, column * (tree.steps + 0.7)), HIGH * (rows + 0.4) + 0.9)
    axes = figure.subplots()
    best = {node.number for node in tree.path(tree.answer)}
    for node in tree.nodes[1:]:
        _line(axes, tree, node, node.number in best)
    for node, text in zip(tree.nodes[1:], texts[1:], strict=True):
        _symbol(axes, node, text, node.number in best, letters.families)
    axes.set_xlim(-0.15, tree.steps + 0.55)
    axes.set_ylim(rows - 0.3, -0.6)
    axes.set_yticks([])
    axes.set_xticks(range(1, tree.steps + 1) if tree.steps <= 40 else range(5, tree.steps + 1, 5))
    axes.tick_params(axis="x", labelsize=7, length=2)
    axes.set_xlabel("step; the best hypothesis of a step is on top", fontsize=8)
    axes.spines[["left", "right", "top"]].set_visible(False)
    _legend(axes)
    save_figure(figure, path)


def _line(axes: Any, tree: BeamTree, node: BeamNode, best: bool) -> None:
    assert node.parent is not None
    parent = tree.nodes[node.parent]
    height = 0.0 if node.step == 1 else parent.rank
    colour = COLOURS["answer"] if best else COLOURS["pruned"]
    bend = parent.step + (0.15 if node.step == 1 else 0.42), node.step - 0.42  # symbols hide the ends
    axes.plot(
        [parent.step, *bend, node.step], [height, height, node.rank, node.rank],
        color=colour, linewidth=2.0 if best else 0.9, zorder=2 if best else 1, solid_joinstyle="round",
    )  # fmt: skip


def _symbol(axes: Any, node: BeamNode, text: str, best: bool, families: list[str]) -> None:
    colour = COLOURS["answer" if best else node.fate]
    face = colour if best or node.fate == "finished" else "white"
    axes.text(
        node.step, node.rank, text, ha="center", va="center", fontsize=7.5, family=families, zorder=3,
        color="white" if face == colour else "#8d99ae" if node.fate in ("pruned", "stopped") else "#1d3557",
        bbox={"boxstyle": "round,pad=0.22", "facecolor": face, "edgecolor": colour, "linewidth": 0.9},
    )  # fmt: skip
    if node.fate in ("finished", "cut"):
        axes.text(
            node.step, node.rank + 0.29, f"{node.score:.2f}", ha="center", va="top", fontsize=6, color=colour, zorder=3
        )


def _legend(axes: Any) -> None:
    words = {"answer": "the answer", "finished": "finished, its score", "continued": "went on", "pruned": "pruned"}
    words |= {"cut": "cut off"}
    marks = [
        axes.plot([], [], "s", color=COLOURS[name], label=text, markersize=6)[0] for name, text in words.items()
    ]  # fmt: skip
    axes.figure.legend(
        handles=marks, loc="outside upper left", ncols=len(marks), fontsize=7, frameon=False, handletextpad=0.2,
        columnspacing=1.0,
    )  # fmt: skip
