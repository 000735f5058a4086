"""`inspect --next`: what a language model expected at each symbol, and the surprise."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, say_json, table
from unrolled.cli.looks.look import Look

if TYPE_CHECKING:
    from unrolled.inspecting.surprise import Surprise

COLOURS = ("", "on grey23", "on rgb(70,50,0)", "on rgb(120,60,0)", "on rgb(160,30,20)")
"""Of a symbol that cost less than 1, 2, 4, 8 bits, or more."""


def show(
    common: Common,
    run: Any,
    text: str,
    *,
    top: Annotated[int, typer.Option(min=1, help="How many of those expected.")] = 3,
) -> None:
    """Show the text by its surprise, and a line for each symbol."""
    found = run.surprises(text, top=top)
    if common.json:
        say_json([one.as_dict() for one in found])
        return
    print(coloured(found, " " if run.vocabulary.level == "word" else ""))
    print()
    print(surprises_text(found))


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


NEXT = Look(
    "next", "Language models: what was expected at each symbol, and the surprise.", show,
    tasks={"language-model": "language models"},
)  # fmt: skip
