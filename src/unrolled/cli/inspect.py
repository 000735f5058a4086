"""`unrolled inspect`: look inside a run. What there is to look at is in `looks`."""

from typing import Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, refuse_unless, verb
from unrolled.cli.looks.look import Given, Look
from unrolled.cli.looks.registry import chosen_look, with_looks
from unrolled.errors import UserError

EXAMPLES = (
    "unrolled inspect runs/demo 'def step(x, a):' --gates --picture gates.png",
    "unrolled inspect runs/demo 'The functions' --next",
    "unrolled inspect runs/demo --cell-search --most 5000",
    "unrolled inspect runs/reviews 'a fine film' --saliency --picture words.svg",
    "unrolled inspect runs/dates '11. may 1999' --tree --width 3",
    "unrolled inspect runs/dates --beam",
    "unrolled inspect runs/dates --beam pairs.tsv --width 2 --wider 20",
)


@verb
@with_looks
def inspect(
    common: Common,
    run: RunFolder,
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT|DATA]",
            help="What to read; of a model of frames FILE:3, the third sequence of a file. For --beam a file of pairs "
            "and for --cell-search a text file, otherwise the run's own data; for --embeddings symbols, otherwise the "
            "most frequent.",
        ),
    ] = None,
    **chosen: Any,
) -> None:
    """Look inside a run: what it remembers, expects, looks at, searches through; in numbers and pictures."""
    look, options = chosen_look(chosen)
    if options.get("picture") is not None:
        from unrolled.pictures import picture_kind

        picture_kind(options["picture"])  # before anything is computed
    _check_given(look, given)
    opened: Any = run
    if look.opened:
        opened = common.load(run, "inspect")
        refuse_unless(opened, bool(look.tasks), look.flag, **look.tasks)
    look.show(common, opened, given, **options)


def _check_given(look: Look, given: str | None) -> None:
    if look.given is Given.must and not given:
        raise UserError(f'give the text to look at, as in: unrolled inspect RUN "The cat was full" {look.flag}')
    if look.given is Given.never and given is not None:
        raise UserError(f"{look.flag} reads no text: leave {given!r} out")
