"""`inspect --embeddings`: the symbols' vectors, near ones and in a plane."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, table
from unrolled.cli.looks.look import Given, Look, PictureOption, TopOption, say
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.inspecting.embeddings import Embeddings

FREQUENT = 20
"""So many symbols are shown where none is asked for."""


def show(
    common: Common,
    run: Any,
    given: str | None,
    *,
    picture: PictureOption = None,
    top: TopOption = 8,
    points: Annotated[int, typer.Option(min=2, help="How many symbols in the picture, the most frequent.")] = 150,
    target: Annotated[
        bool, typer.Option("--target", help="Translators: the target's symbols instead of the source's.")
    ] = False,
) -> None:
    """Show the neighbours of the symbols that a text has, or of the most frequent, and draw them all."""
    from unrolled.inspecting.scatter import draw_embeddings

    found = run.embeddings(target=target)
    wanted = list(found.texts[:FREQUENT]) if given is None else _asked(found, given)
    if picture is not None:
        draw_embeddings(found, picture, count=points)
    numbers = found.as_dict(wanted, top) if common.json else {}
    say(common, numbers, embeddings_text(found, wanted, top), picture)


def _asked(found: "Embeddings", given: str) -> list[str]:
    """A symbol that may hold blanks, or several that are parted by them."""
    asked = [given] if given in found.texts else given.split()
    if not asked:
        raise UserError('name symbols, as in: unrolled inspect RUN "cat dog" --embeddings')
    return asked


def embeddings_text(found: "Embeddings", wanted: list[str], count: int) -> str:
    """A line for each symbol with those nearest to it."""
    rows = [
        [found.shown[found.place(text)], "  ".join(f"{name} {cosine:.2f}" for name, cosine in near)]
        for text in wanted
        for near in [found.neighbours(text, count)]
    ]
    size = found.vectors.shape[1]
    what = f"vectors of {size} numbers"
    if found.one_hot:
        what = f"one-hot input: a symbol's vector is its column of the input weights, {size} numbers"
    head = f"{len(found.texts):,} symbols, {what}"
    return f"{head}\n\n{table(rows, header=['symbol', 'nearest by cosine'])}"


EMBEDDINGS = Look(
    "embeddings", "The symbols' vectors: the nearest of some, and a plane with the most frequent.", show,
    given=Given.may,
)  # fmt: skip
