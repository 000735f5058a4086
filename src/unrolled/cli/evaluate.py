"""`unrolled evaluate`: how well a run predicts a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, path_of, say_json, verb
from unrolled.cli.figures import COUNTING, figures_table
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.data.streams import Stream
    from unrolled.tasks.language_model.run import LanguageModelRun

EXAMPLES = ("unrolled evaluate runs/demo", "unrolled evaluate runs/demo README.md")
MANY_UNKNOWN = 0.2
"""From this share of unknown symbols on, the figures say more about <unk> than about the text."""


@verb
def evaluate(
    common: Common,
    run: RunFolder,
    file: Annotated[
        Path | None, typer.Argument(parser=path_of, help="A text file; without one, the run's own test part.")
    ] = None,
) -> None:
    """Perplexity, bits a character and accuracy of the next symbol, beside a bigram of the same training text."""
    opened = common.load(run, "evaluate")
    stream = opened.text(file)

    from unrolled.tasks.language_model.evaluation import evaluate_stream

    spell = opened.recipe.model.characters > 0
    figures = evaluate_stream(opened.model, stream, accuracy=True, spell=spell).as_dict()
    bigram, reason = bigram_of(opened, stream)
    if common.json:
        say_json({"text": stream.name, **figures, "bigram": bigram, **({"no_bigram": reason} if reason else {})})
    else:
        print(evaluation_text(stream.name, figures, bigram, reason))


def evaluation_text(name: str, figures: dict[str, Any], bigram: dict[str, Any] | None, reason: str) -> str:
    """The figures as people read them."""
    missing = f"\nno bigram: the training text cannot be read: {reason}" if bigram is None else ""
    sizes = f"{figures['symbols']:,} predicted symbols, {figures['characters']:,} characters"
    return f"{name}: {sizes}\n\n{figures_table(figures, bigram)}\n\n{COUNTING}{_warning(figures)}{missing}"


def _warning(figures: dict[str, Any]) -> str:
    if figures["unknown_share"] < MANY_UNKNOWN:
        return ""
    return (
        f"\nwarning: {figures['unknown_share']:.0%} of the symbols are unknown to the run's vocabulary; <unk> stands "
        "for all of them at once and is easy to predict, so these figures compare with no other text's"
    )


def bigram_of(run: "LanguageModelRun", stream: "Stream") -> tuple[dict[str, Any] | None, str]:
    """What a bigram of the run's training text makes of a text, or None and why there is none."""
    from unrolled.tasks.language_model.baseline import Bigram

    try:
        return Bigram(run.corpus.train).figures(stream), ""
    except UserError as error:
        return None, str(error)
