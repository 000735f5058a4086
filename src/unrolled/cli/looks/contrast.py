"""`inspect --contrast`: which units tell two texts apart, and what their gates do meanwhile."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, table
from unrolled.cli.looks.look import LayerOption, Look, TopOption, say
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.inspecting.contrast import Contrast

AgainstOption = Annotated[str, typer.Option(metavar="TEXT", help="The other text, of as many symbols.")]


def show(
    common: Common, run: Any, text: str, *, against: AgainstOption = "",
    layer: LayerOption = 0, top: TopOption = 3,
) -> None:  # fmt: skip
    """Show the units that remember the difference, and the best one symbol by symbol."""
    from unrolled.inspecting.contrast import contrast

    if run.reads_frames:
        raise UserError(f"--contrast compares texts symbol by symbol, and {run.folder} reads frames")
    if not against:
        raise UserError(
            'say what to compare with, as in: unrolled inspect RUN "The cat" --contrast --against "The cats"'
        )
    try:
        found = contrast(run.observe(text), run.observe(against), layer)
    except IndexError as error:
        raise UserError(str(error)) from None
    say(common, found.as_dict(top), contrast_text(found, top))


def contrast_text(found: "Contrast", top: int) -> str:
    """The units, and a line for each symbol with the gates and the state of the best unit on both texts."""
    units = ", ".join(
        f"{unit} ({kept:.2f})" for unit, kept in list(zip(found.units, found.kept, strict=True))[:top]
    )  # fmt: skip
    best = found.units[0]
    names = [*found.one.gates, found.state]
    rows = []
    for step, (own, other) in enumerate(found.symbols):
        shown = own if own == other else f"{own} / {other}"
        numbers = [f"{values[step]:+.2f}" if name == found.state else f"{values[step]:.2f}"
                   for name in names for values in found.of_unit(name, best)]  # fmt: skip
        rows.append([shown, *numbers])
    header = ["unit " + str(best), *(title for name in names for title in (name, ""))]
    span = f"from {found.symbols[found.first][0]} on" + (
        f" to before {found.symbols[found.last][0]}" if found.last < len(found.symbols) else ""
    )
    head = f"{found.one.name}: units of {found.state} that are apart {span}, at least by so much: {units}"
    return f"{head}\n\n{table(rows, header=header, right='-' + 'r' * (len(header) - 1))}"


CONTRAST = Look("contrast", "Which units tell two texts apart, and remember it.", show)
