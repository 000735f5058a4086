"""`inspect --curves`: how several runs learned."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.cli.common import Common, table
from unrolled.cli.looks.look import Given, Look, PictureOption, WithOption, say

if TYPE_CHECKING:
    from unrolled.inspecting.learning_curves import LearningCurve


def show(
    common: Common, run: Path, given: None, *, picture: PictureOption = None, others: WithOption = None
) -> None:  # fmt: skip
    """Show the best validation of each, and draw the curves."""
    from unrolled.inspecting.learning_curves import draw_learning_curves, learning_curves

    found = learning_curves([run, *(others or [])])
    if picture is not None:
        draw_learning_curves(found, picture)
    say(common, [one.as_dict() for one in found], curves_text(found), picture)


def curves_text(found: "list[LearningCurve]") -> str:
    """A line for each run, in the order given."""
    settings = found[0].recipe
    unit = settings.task == "language-model"
    bits = unit and settings.data.level in ("character", "byte")
    header = ["run", "cell", "hidden", "best valid loss", "at step", "of", "minutes", "of"]
    if unit:
        header.insert(4, f"bits per {settings.data.level}" if bits else "perplexity")
    rows = []
    for one in found:
        model = one.recipe.model
        row = [one.name, model.cell, f"{model.hidden} × {model.layers}"]
        step, loss, seconds = one.best or (0, math.nan, 0.0)
        row += [f"{loss:.4f}" if one.best else "none yet", f"{step:,}" if one.best else "", f"{one.steps:,}"]
        row += [f"{seconds / 60:.1f}", f"{one.minutes:.1f}"]
        if unit:
            shown = f"{loss / math.log(2):.3f}" if bits else f"{math.exp(min(loss, 700.0)):,.2f}"
            row.insert(4, shown if one.best else "")
        rows.append(row)
    return table(rows, header=header, right="---rrrrrr")


CURVES = Look(
    "curves", "How runs of one task learned, in one picture.", show, given=Given.never, opened=False
)  # fmt: skip
