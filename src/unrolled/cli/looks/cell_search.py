"""`inspect --cell-search`: single units that keep track of something."""

from typing import TYPE_CHECKING, Any

from unrolled.cli.common import Common, path_of, table
from unrolled.cli.looks.colours import painted, signed
from unrolled.cli.looks.look import Given, Look, MostOption, PictureOption, say

if TYPE_CHECKING:
    from unrolled.inspecting.cell_search import CellSearch, TrackingUnit

PAINTED = 4
"""The best unit of so many features is shown over the text."""
STRETCH = 300
"""Characters of the text that it is shown over."""


def show(
    common: Common,
    run: Any,
    data: str | None,
    *,
    picture: PictureOption = None,
    most: MostOption = 20_000,
) -> None:
    """Find the units, and show the best of them over the text."""
    from unrolled.inspecting.cell_picture import draw_cells

    found = run.cell_search(None if data is None else path_of(data), most=most)
    if picture is not None:
        draw_cells(found, picture)
    between = " " if run.recipe.data.level == "word" else ""
    say(common, found.as_dict() if common.json else {}, cells_text(found, between), picture)


def cells_text(found: "CellSearch", between: str) -> str:
    """A line for each feature, then the text on the grounds of the best units."""
    rows = [
        [units[0].feature, *(f"{one.unit} {one.correlation:+.2f}" for one in units), *[""] * (3 - len(units))]
        for units in found.found
    ]
    head = f"{found.name}: {len(found.symbols):,} symbols, {found.units:,} units; r of the second half, where the "
    head += "units were chosen on the first"
    if not rows:
        return f"{head}\n\nno feature changes often enough in this text: give a longer one"
    parts = [head, table(rows, header=["feature", "tracked best by", "second", "third"])]
    best = [units[0] for units in found.found[:PAINTED]]
    parts += [f"{one.feature}: {one.unit}\n{_painted(found, one, between)}" for one in best]
    return "\n\n".join(parts)


def _painted(found: "CellSearch", one: "TrackingUnit", between: str) -> str:
    """A stretch of the text by the unit's value, from its middle."""
    part = found.stretch(one.feature, STRETCH // (1 + 5 * len(between)))
    low, high = sorted(one.values)[len(one.values) // 50], sorted(one.values)[-1 - len(one.values) // 50]
    middle, reach = (low + high) / 2, max((high - low) / 2, 1e-9)
    pieces = []
    for place, (symbol, value) in enumerate(zip(found.symbols[part], one.values[part], strict=True)):
        text = symbol.replace("␣", " ") if not between else symbol
        style = signed(max(-1.0, min(1.0, (value - middle) / reach)))
        pieces += [(between if place else "", ""), (text, style)]
        if symbol in ("\\n", "<eos>"):
            pieces.append(("\n", ""))
    return painted(pieces)


CELL_SEARCH = Look(
    "cell-search", "Language models: single units that track quotes, brackets, line length and the like.", show,
    tasks={"language-model": "language models"}, given=Given.may,
)  # fmt: skip
