"""`inspect --gates`: every gate and state of every timestep."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, refuse_unless, table
from unrolled.cli.looks.look import ClassOption, LayerOption, Look, PictureOption, say
from unrolled.cli.looks.sequence import sequence_given
from unrolled.errors import UserError
from unrolled.inspecting.order import UnitOrder

if TYPE_CHECKING:
    from unrolled.inspecting.observation import ObservedLayer


def show(
    common: Common,
    run: Any,
    text: str,
    *,
    picture: PictureOption = None,
    layer: LayerOption = 0,
    backwards: Annotated[bool, typer.Option("--backwards", help="The direction that reads from the end.")] = False,
    units: Annotated[UnitOrder, typer.Option(help="The order of the units in the picture.")] = UnitOrder.memory,
    show: Annotated[
        str, typer.Option(metavar="NAMES", help="Which gates and states to draw, as in update,c; otherwise all.")
    ] = "",
    label: ClassOption = None,
) -> None:
    """Show a layer's gates in numbers, and draw them."""
    from unrolled.inspecting.gates import summary_dict, unit_order
    from unrolled.inspecting.heat_map import draw_gates

    refuse_unless(run, label is not None, "--class", generate="generators")
    found = run.observe(sequence_given(run, text), **({} if label is None else {"label": label}))
    try:
        seen = found.layer(layer, reverse=backwards)
    except IndexError as error:
        raise UserError(str(error)) from None
    if picture is not None:
        names = [name.strip() for name in show.split(",") if name.strip()]
        draw_gates(seen, found.symbols, unit_order(seen, units), picture, names=names)
    numbers = {**found.as_dict(), "summary": [summary_dict(one) for one in found.layers]} if common.json else {}
    say(common, numbers, gates_text(seen), picture)


def gates_text(layer: "ObservedLayer") -> str:
    """The gates of a layer in numbers, and the units that remember longest."""
    from unrolled.inspecting.gates import gate_summaries, longest

    parts = []
    if summaries := gate_summaries(layer):
        rows = [[one.name, f"{one.mean:.3f}", f"{one.shut:.1%}", f"{one.open:.1%}"] for one in summaries]
        parts.append(table(rows, header=["gate", "mean", "near 0", "near 1"], right="-rrr"))
    else:
        parts.append("the cell has no gates")
    for state, units in longest(layer).items():
        rows = [[str(unit), f"{life:.1f}" if math.isfinite(life) else "all kept"] for unit, life in units]
        parts.append(f"{state} is remembered longest by\n\n" + table(rows, header=["unit", "half-life"], right="rr"))
    return f"{layer.name}\n\n" + "\n\n".join(parts)


GATES = Look("gates", "Every gate and state while the text is read.", show)
