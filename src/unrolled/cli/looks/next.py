"""`inspect --next`: what a language model expected at each symbol, and the surprise."""

from typing import TYPE_CHECKING, Any

from unrolled.cli.common import Common, say_json, table
from unrolled.cli.looks.colours import HEAT, painted
from unrolled.cli.looks.look import Look, TopOption

if TYPE_CHECKING:
    from unrolled.inspecting.surprise import Surprise


def show(
    common: Common,
    run: Any,
    text: str,
    *,
    top: TopOption = 3,
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
    """The text, each symbol on a ground that is the warmer the more it surprised."""
    pieces = []
    for place, one in enumerate(found):
        grade = sum(one.bits >= bits for bits in (1, 2, 4, 8))
        pieces += [(between if place else "", ""), (one.shown, HEAT[grade])]
    return painted(pieces)


NEXT = Look(
    "next", "Language models: what was expected at each symbol, and the surprise.", show,
    tasks={"language-model": "language models"},
)  # fmt: skip
