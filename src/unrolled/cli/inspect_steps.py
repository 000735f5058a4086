"""`unrolled inspect --gates` and `--next` as people read them."""

import math
from typing import TYPE_CHECKING

from unrolled.cli.common import table
from unrolled.inspecting.gates import gate_summaries, longest

if TYPE_CHECKING:
    from unrolled.inspecting.observation import ObservedLayer
    from unrolled.inspecting.surprise import Surprise

COLOURS = ("", "on grey23", "on rgb(70,50,0)", "on rgb(120,60,0)", "on rgb(160,30,20)")
"""Of a symbol that cost less than 1, 2, 4, 8 bits, or more."""


def gates_text(layer: "ObservedLayer") -> str:
    """The gates of a layer in numbers, and the units that remember longest."""
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


def surprises_text(found: "list[Surprise]") -> str:
    """A line for each symbol: what it cost, how sure the model was, how much it changed its mind, what it expected."""
    rows = [
        [
            one.shown, f"{one.bits:.2f}", f"{one.entropy:.2f}", f"{one.change:.2f}",
            "  ".join(f"{guess.shown} {guess.probability:.0%}" for guess in one.best),
        ]
        for one in found
    ]  # fmt: skip
    return table(rows, header=["symbol", "surprise", "entropy", "change", "expected"], right="-rrr-")


def coloured(found: "list[Surprise]", between: str) -> str:
    """The text, each symbol on a ground that is the warmer the more it surprised; plain where there are no colours."""
    from rich.console import Console
    from rich.text import Text

    text = Text()
    for place, one in enumerate(found):
        grade = sum(one.bits >= bits for bits in (1, 2, 4, 8))
        text.append(("" if place == 0 else between) + one.shown, style=COLOURS[grade])
    console = Console(soft_wrap=True)
    with console.capture() as capture:
        console.print(text)
    return capture.get().rstrip("\n")
