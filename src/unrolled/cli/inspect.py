"""`unrolled inspect`: look inside a run."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, path_of, refuse_unless, say_json, verb
from unrolled.cli.search import AlphaOption, search_of
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.decoding.error_analysis import Analysis

EXAMPLES = (
    "unrolled inspect runs/demo 'def step(x, a):' --gates --picture gates.png",
    "unrolled inspect runs/demo 'The functions' --next",
    "unrolled inspect runs/dates --beam",
    "unrolled inspect runs/dates --beam pairs.tsv --width 2 --wider 20",
)


class Units(StrEnum):
    """The order of the units in a picture."""

    memory = "memory"
    similar = "similar"
    none = "none"


@verb
def inspect(
    common: Common,
    run: RunFolder,
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT|DATA]",
            help="What to read; for --beam a file of pairs, otherwise the run's test part.",
        ),
    ] = None,
    gates: Annotated[bool, typer.Option("--gates", help="Every gate and state while the text is read.")] = False,
    next_symbols: Annotated[
        bool, typer.Option("--next", help="Language models: what was expected at each symbol, and the surprise.")
    ] = False,
    beam: Annotated[
        bool, typer.Option("--beam", help="Translators: where an answer is wrong, blame the search or the model.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE", help="Gates: a heat map, .png or .svg.")
    ] = None,
    layer: Annotated[int, typer.Option(min=0, help="Gates: which layer; the first is 0.")] = 0,
    backwards: Annotated[
        bool, typer.Option("--backwards", help="Gates: the direction that reads from the end.")
    ] = False,
    units: Annotated[Units, typer.Option(help="Gates: the order of the units in the picture.")] = Units.memory,
    show: Annotated[
        str, typer.Option(metavar="NAMES", help="Gates: which gates and states to draw, as in update,c; otherwise all.")
    ] = "",
    top: Annotated[int, typer.Option(min=1, help="Next symbols: how many of those expected.")] = 3,
    width: Annotated[int | None, typer.Option(min=1, help="The beam's width; otherwise the recipe's.")] = None,
    alpha: AlphaOption = None,
    wider: Annotated[
        int | None, typer.Option(min=2, help="The wider beam to compare with; otherwise four times the width.")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Beam: so many sources at most; 0: all.")] = 0,
) -> None:
    """Look inside a run: its gates, what it expected, who is to blame for wrong translations."""
    if gates + next_symbols + beam != 1:
        raise UserError("say what to look at: --gates, --next, or --beam, which judges a translator's search")
    opened = common.load(run, "inspect")
    if beam:
        refuse_unless(opened, True, "--beam", translate="translators")
        file = None if given is None else path_of(given)
        _beam(common, opened.blame(file, wider=wider, most=most, **search_of(opened, beam=width, alpha=alpha)))
        return
    if not given:
        raise UserError('give the text to look at, as in: unrolled inspect RUN "The cat was full" --gates')
    if gates:
        names = [name.strip() for name in show.split(",") if name.strip()]
        _gates(common, opened, given, picture, layer, backwards, units.value, names)
    else:
        refuse_unless(opened, True, "--next", **{"language-model": "language models"})
        _next(common, opened, given, top)


def _beam(common: Common, found: "Analysis") -> None:
    from unrolled.cli.inspect_beam import analysis_text

    if common.json:
        say_json(found.as_dict())
    else:
        print(analysis_text(found))


def _gates(
    common: Common, run: Any, text: str, picture: Path | None, number: int, backwards: bool, order: Any,
    names: list[str],
) -> None:  # fmt: skip
    from unrolled.cli.inspect_steps import gates_text
    from unrolled.inspecting.gates import summary_dict, unit_order
    from unrolled.inspecting.heat_map import draw_gates

    found = run.observe(text)
    try:
        layer = found.layer(number, reverse=backwards)
    except IndexError as error:
        raise UserError(str(error)) from None
    if picture is not None:
        draw_gates(layer, found.symbols, unit_order(layer, order), picture, names=names)
    if common.json:
        say_json({**found.as_dict(), "summary": [summary_dict(one) for one in found.layers]})
        return
    print(gates_text(layer))
    if picture is not None:
        print(f"\npicture  {picture}")


def _next(common: Common, run: Any, text: str, top: int) -> None:
    from unrolled.cli.inspect_steps import coloured, surprises_text

    found = run.surprises(text, top=top)
    if common.json:
        say_json([one.as_dict() for one in found])
        return
    print(coloured(found, " " if run.vocabulary.level == "word" else ""))
    print()
    print(surprises_text(found))
