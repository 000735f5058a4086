"""`unrolled next`: what comes next, ranked."""

from typing import TYPE_CHECKING, Annotated

import typer

from unrolled.cli.common import Common, RunFolder, bar, say_json, table, verb

if TYPE_CHECKING:
    from unrolled.decoding.scores import Candidate

EXAMPLES = ("unrolled next runs/demo 'The funct'", "unrolled next runs/demo 'class ' --top 5 --json")


@verb
def next_symbols(
    common: Common,
    run: RunFolder,
    prefix: Annotated[str, typer.Argument(help="What came before; nothing: the beginning of a sequence.")] = "",
    top: Annotated[int, typer.Option(min=1, help="How many symbols.")] = 10,
) -> None:
    """The most probable next symbols after a prefix, most probable first."""
    found = common.load(run, "next").next(prefix, top=top)
    if common.json:
        say_json([{"symbol": candidate.symbol, "probability": candidate.probability} for candidate in found])
    else:
        print(ranking(found))


def ranking(found: "list[Candidate]") -> str:
    """One candidate a line, with a bar."""
    largest = max(candidate.probability for candidate in found)
    rows = [
        [str(place), candidate.shown, f"{candidate.probability:.2%}", bar(candidate.probability / largest)]
        for place, candidate in enumerate(found, start=1)
    ]
    return table(rows, right="r-r-")
